/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#define TO(s) (1u << QS_TCP_##s)

/* Edges of RFC 9293 figure 5. CLOSED can be reached from everywhere; LISTEN is a listener, never a
 * block. */
static const uint16_t may_go_to[QS_TCP_STATES] = {
    [QS_TCP_CLOSED] = TO(SYN_SENT) | TO(SYN_RECEIVED),
    [QS_TCP_SYN_SENT] = TO(SYN_RECEIVED) | TO(ESTABLISHED),
    [QS_TCP_SYN_RECEIVED] = TO(ESTABLISHED),
    [QS_TCP_ESTABLISHED] = TO(FIN_WAIT_1) | TO(CLOSE_WAIT),
    [QS_TCP_FIN_WAIT_1] = TO(FIN_WAIT_2) | TO(CLOSING) | TO(TIME_WAIT),
    [QS_TCP_FIN_WAIT_2] = TO(TIME_WAIT),
    [QS_TCP_CLOSE_WAIT] = TO(LAST_ACK),
    [QS_TCP_CLOSING] = TO(TIME_WAIT),
};

void qs_tcp_set_state(struct qs_block *c, enum qs_tcp_state to)
{
    if (to != QS_TCP_CLOSED && !(may_go_to[c->state] & (1u << to)))
        __builtin_trap(); /* a bug here, not something a peer can cause */
    c->state = (uint8_t)to;
}
