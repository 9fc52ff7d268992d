/* SPDX-License-Identifier: Apache-2.0 */
#include "io/nl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int qs_nl_open(struct qs_nl *nl, unsigned int groups)
{
    *nl = (struct qs_nl){0};
    nl->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl->sock)
        return -errno;
    if (mnl_socket_bind(nl->sock, groups, MNL_SOCKET_AUTOPID) < 0) {
        int err = errno;
        qs_nl_close(nl);
        return -err;
    }
    return 0;
}

void qs_nl_close(struct qs_nl *nl)
{
    if (nl->sock)
        mnl_socket_close(nl->sock);
    nl->sock = NULL;
}

struct nlmsghdr *qs_nl_request(void *buf, uint16_t type, uint16_t flags)
{
    memset(buf, 0, QS_NL_REQUEST_BYTES);
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    request->nlmsg_type = type;
    request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return request;
}

int qs_nl_run(struct qs_nl *nl, struct nlmsghdr *request, mnl_cb_t fn, void *ctx)
{
    char *answer = NULL;
    unsigned int portid = mnl_socket_get_portid(nl->sock);
    request->nlmsg_seq = ++nl->seq;
    if (mnl_socket_sendto(nl->sock, request, request->nlmsg_len) < 0)
        return -errno;
    answer = malloc(QS_NL_ANSWER_BYTES);
    if (!answer)
        return -ENOMEM;
    int status = MNL_CB_OK;
    while (status > MNL_CB_STOP) {
        ssize_t n = mnl_socket_recvfrom(nl->sock, answer, QS_NL_ANSWER_BYTES);
        status = n < 0 ? -1 : mnl_cb_run(answer, (size_t)n, request->nlmsg_seq, portid, fn, ctx);
    }
    int err = errno;
    free(answer);
    return status < 0 ? -err : 0;
}

int qs_nl_once(struct nlmsghdr *request, mnl_cb_t fn, void *ctx)
{
    struct qs_nl nl;
    int status = qs_nl_open(&nl, 0);
    if (status)
        return status;
    status = qs_nl_run(&nl, request, fn, ctx);
    qs_nl_close(&nl);
    return status;
}

struct attr_table {
    const struct nlattr **attrs;
    size_t n;
};

static int take_attr(const struct nlattr *attr, void *ctx)
{
    const struct attr_table *table = ctx;
    uint16_t type = mnl_attr_get_type(attr);
    if (type < table->n)
        table->attrs[type] = attr;
    return MNL_CB_OK;
}

void qs_nl_attrs(const struct nlmsghdr *msg, size_t header_bytes, const struct nlattr **table,
                 size_t n)
{
    memset(table, 0, n * sizeof *table);
    struct attr_table to = {table, n};
    (void)mnl_attr_parse(msg, (unsigned int)header_bytes, take_attr, &to);
}

bool qs_nl_addr(const struct nlattr *attr, int family, qs_addr *out)
{
    size_t bytes = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
    if (!attr || !bytes || mnl_attr_get_payload_len(attr) != bytes)
        return false;
    if (bytes == 4)
        memcpy(out->b, mapped4, sizeof mapped4);
    memcpy(out->b + 16 - bytes, mnl_attr_get_payload(attr), bytes);
    return true;
}

void qs_nl_put_addr(struct nlmsghdr *request, uint16_t type, const qs_addr *addr)
{
    size_t bytes = qs_addr_is4(addr) ? 4 : 16;
    mnl_attr_put(request, type, bytes, addr->b + 16 - bytes);
}

bool qs_addr_is4(const qs_addr *addr)
{
    return memcmp(addr->b, mapped4, sizeof mapped4) == 0;
}
