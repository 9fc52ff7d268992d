/* SPDX-License-Identifier: Apache-2.0 */
/* Two sockets: changes come on one that never blocks, dumps and requests go over another, so that
 * an answer is never mixed up with a change. A change that arrives during a dump is reported after
 * it and is the newer one. */
#include "io/neigh_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/diag.h"
#include "io/nl.h"

/* Room for a burst of changes before the kernel has to drop some, bytes. */
#define RCVBUF_BYTES (1 << 20)

struct qs_neigh_watch {
    struct qs_nl changes, requests;
    uint32_t ifindex;
    bool dump_due;
    qs_neigh_fn fn;
    void *ctx;
    char packet[QS_NL_ANSWER_BYTES];
};

static int take_neigh(const struct nlmsghdr *msg, void *ctx)
{
    struct qs_neigh_watch *w = ctx;
    if (msg->nlmsg_type != RTM_NEWNEIGH && msg->nlmsg_type != RTM_DELNEIGH)
        return MNL_CB_OK;
    const struct ndmsg *info = mnl_nlmsg_get_payload(msg);
    if ((uint32_t)info->ndm_ifindex != w->ifindex)
        return MNL_CB_OK;
    const struct nlattr *attrs[NDA_MAX + 1];
    qs_nl_attrs(msg, sizeof *info, attrs, NDA_MAX + 1);
    const struct nlattr *lladdr = attrs[NDA_LLADDR];
    bool has_mac = lladdr && mnl_attr_get_payload_len(lladdr) == 6;
    qs_addr addr;
    if (!qs_nl_addr(attrs[NDA_DST], info->ndm_family, &addr) || (info->ndm_state & NUD_NOARP))
        return MNL_CB_OK;
    if (msg->nlmsg_type == RTM_DELNEIGH || (info->ndm_state & NUD_FAILED))
        w->fn(w->ctx, &addr, NULL);
    else if (has_mac && !(info->ndm_state & NUD_INCOMPLETE))
        w->fn(w->ctx, &addr, mnl_attr_get_payload(lladdr));
    return MNL_CB_OK;
}

static int report_table(struct qs_neigh_watch *w)
{
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request = qs_nl_request(buf, RTM_GETNEIGH, NLM_F_DUMP);
    mnl_nlmsg_put_extra_header(request, sizeof(struct ndmsg));
    return qs_nl_run(&w->requests, request, take_neigh, w);
}

qs_err qs_neigh_watch_open(struct qs_neigh_watch **out, uint32_t ifindex, qs_neigh_fn fn, void *ctx,
                           struct qs_diag *diag)
{
    *out = NULL;
    struct qs_neigh_watch *w = calloc(1, sizeof *w);
    if (!w)
        return qs_fail(diag, QS_ERR_NOMEM, "out of memory");
    w->ifindex = ifindex;
    w->dump_due = true;
    w->fn = fn;
    w->ctx = ctx;
    int status = qs_nl_open(&w->changes, RTMGRP_NEIGH);
    if (!status)
        status = qs_nl_open(&w->requests, 0);
    if (status) {
        qs_neigh_watch_close(w);
        return qs_fail(diag, qs_err_of_errno(-status),
                       "cannot follow the kernel's neighbour table: netlink: %s",
                       strerror(-status));
    }
    int fd = qs_neigh_watch_fd(w), bytes = RCVBUF_BYTES;
    /* Less room only means more dumps. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    *out = w;
    return QS_OK;
}

void qs_neigh_watch_close(struct qs_neigh_watch *w)
{
    if (!w)
        return;
    qs_nl_close(&w->changes);
    qs_nl_close(&w->requests);
    free(w);
}

int qs_neigh_watch_fd(const struct qs_neigh_watch *w)
{
    return mnl_socket_get_fd(w->changes.sock);
}

qs_err qs_neigh_watch_run(struct qs_neigh_watch *w)
{
    for (;;) {
        if (w->dump_due) {
            int status = report_table(w);
            /* EINTR: the table changed while it was read. */
            if (status && status != -EINTR)
                return QS_ERR_SYS;
            w->dump_due = status != 0;
        }
        ssize_t n = mnl_socket_recvfrom(w->changes.sock, w->packet, sizeof w->packet);
        if (n < 0 && errno == ENOBUFS)
            w->dump_due = true;
        else if (n < 0)
            return errno == EAGAIN || errno == EINTR ? QS_OK : QS_ERR_SYS;
        else if (mnl_cb_run(w->packet, (size_t)n, 0, 0, take_neigh, w) < 0)
            return QS_ERR_SYS;
    }
}

qs_err qs_neigh_watch_ask(struct qs_neigh_watch *w, const qs_addr *addr)
{
    char buf[QS_NL_REQUEST_BYTES];
    struct nlmsghdr *request = qs_nl_request(buf, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE);
    struct ndmsg *info = mnl_nlmsg_put_extra_header(request, sizeof *info);
    info->ndm_family = qs_addr_is4(addr) ? AF_INET : AF_INET6;
    info->ndm_ifindex = (int)w->ifindex;
    info->ndm_flags = NTF_USE;
    qs_nl_put_addr(request, NDA_DST, addr);
    int status = qs_nl_run(&w->requests, request, NULL, NULL);
    return status ? qs_err_of_errno(-status) : QS_OK;
}
