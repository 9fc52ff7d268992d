/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the kernel over rtnetlink: send one message, see every answer. */
#ifndef QS_IO_NL_H
#define QS_IO_NL_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "qstack/qs_base.h"

/* Room for one request, and for one packet of answers to a dump. */
#define QS_NL_REQUEST_BYTES 512u
#define QS_NL_ANSWER_BYTES 32768u

struct qs_nl {
    struct mnl_socket *sock;
    unsigned int seq;
};

/* Opens a socket that listens to the multicast `groups` (a mask of RTMGRP_*, 0 for none). @return 0
 * or -errno. */
QS_MUST_CHECK int qs_nl_open(struct qs_nl *nl, unsigned int groups);
void qs_nl_close(struct qs_nl *nl);

/* Begins a request in `buf` of QS_NL_REQUEST_BYTES. */
struct nlmsghdr *qs_nl_request(void *buf, uint16_t type, uint16_t flags);

/* Sends `request` and hands each answer to `fn` until the kernel says that it is done. @return 0 or
 * the kernel's -errno. */
QS_MUST_CHECK int qs_nl_run(struct qs_nl *nl, struct nlmsghdr *request, mnl_cb_t fn, void *ctx);

/* The same on a socket of its own. */
QS_MUST_CHECK int qs_nl_once(struct nlmsghdr *request, mnl_cb_t fn, void *ctx);

/* Sorts the attributes after a header of `header_bytes` into `table`, by type; NULL where there is
 * none. */
void qs_nl_attrs(const struct nlmsghdr *msg, size_t header_bytes, const struct nlattr **table,
                 size_t n);

/* An address as the attribute of `family` carries it. */
bool qs_nl_addr(const struct nlattr *attr, int family, qs_addr *out);
void qs_nl_put_addr(struct nlmsghdr *request, uint16_t type, const qs_addr *addr);

/* True for an IPv4 address (::ffff:a.b.c.d). */
bool qs_addr_is4(const qs_addr *addr);

#endif
