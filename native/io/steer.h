/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF side of a device: its program, the software NIC's memory shared with it, the sockets it
 * hands frames to and the ports it takes from the kernel. Everything in here is gone when the
 * process ends. */
#ifndef QS_IO_STEER_H
#define QS_IO_STEER_H

#include "qstack/qs_base.h"

struct qs_softnic;
struct qs_steer;

enum qs_steer_kind {
    QS_STEER_TAP,     /* socket filter for TUNSETSTEERINGEBPF: returns the queue */
    QS_STEER_XDP_NIC, /* XDP on a NIC: claimed frames go to the socket of their own queue */
    QS_STEER_XDP_SOFT /* XDP on veth: the software NIC chooses among sockets on one queue */
};

/* Loads the programs and maps. For TAP and XDP_SOFT the software NIC is initialised for `n_queues`.
 * QS_ERR_PERM, QS_ERR_NOTSUP or QS_ERR_SYS with words (the verifier's last line) in `diag`. */
QS_MUST_CHECK qs_err qs_steer_open(struct qs_steer **out, enum qs_steer_kind kind,
                                   uint32_t n_queues, struct qs_diag *diag);
void qs_steer_close(struct qs_steer *s);

/* Memory shared with the program, or NULL for XDP_NIC; lives as long as `s`. */
struct qs_softnic *qs_steer_softnic(const struct qs_steer *s);

/* Program for TUNSETSTEERINGEBPF; kept by `s`. */
int qs_steer_prog_fd(const struct qs_steer *s);

/* Program for TUNSETFILTEREBPF, which drops what a rule drops; kept by `s`. A tap needs both
 * programs. */
int qs_steer_filter_fd(const struct qs_steer *s);

/* Frames for `queue` go to the AF_XDP socket `fd`. */
QS_MUST_CHECK qs_err qs_steer_set_socket(struct qs_steer *s, uint32_t queue, int fd,
                                         struct qs_diag *diag);

/* Attaches XDP to the device through a bpf_link, native mode first, then generic; the link ends
 * with the process. QS_ERR_BUSY when another program is attached: it is left alone. */
QS_MUST_CHECK qs_err qs_steer_attach(struct qs_steer *s, uint32_t ifindex, bool *native,
                                     struct qs_diag *diag);

/* Takes TCP frames to `addr` (any if all zero) and `port` (host byte order) from the kernel. */
QS_MUST_CHECK qs_err qs_steer_claim(struct qs_steer *s, const qs_addr *addr, uint16_t port,
                                    struct qs_diag *diag);
void qs_steer_unclaim(struct qs_steer *s, const qs_addr *addr, uint16_t port);

/* XDP only: frames handed to a socket, left to the kernel, and dropped because their queue has no
 * socket. What rules drop is counted by the software NIC. */
struct qs_steer_counts {
    uint64_t to_socket, passed, no_socket;
};
QS_MUST_CHECK qs_err qs_steer_read_counts(const struct qs_steer *s, struct qs_steer_counts *out);

#endif
