/* SPDX-License-Identifier: Apache-2.0 */
/* Queue of whole frames that belong to no connection. Bounded: a flood of causes costs replies,
 * nothing else. */
#include "engine.h"

uint8_t *qs_reply_new(struct qs_engine *e, uint32_t bytes, uint8_t prio)
{
    /* The driver's buffers hold the MTU, whatever length a request came with. */
    if (e->reply_tail - e->reply_head == QS_REPLIES_MAX || bytes > e->opts.mtu + QS_ETH_BYTES) {
        qs_count(e, QS_COUNT_DROP_REPLY_QUEUE);
        return NULL;
    }
    uint32_t slot = e->reply_tail++ % QS_REPLIES_MAX;
    e->replies[slot] = (struct qs_reply){.len = bytes, .prio = prio};
    return e->reply_data + (size_t)slot * e->reply_bytes;
}

bool qs_reply_pop(struct qs_engine *e, struct qs_frame *f)
{
    if (e->reply_head == e->reply_tail)
        return false;
    uint32_t slot = e->reply_head++ % QS_REPLIES_MAX;
    const struct qs_reply *r = &e->replies[slot];
    memcpy(f->data, e->reply_data + (size_t)slot * e->reply_bytes, r->len);
    f->len = r->len;
    f->flags = 0;
    f->gso_bytes = 0;
    f->prio = r->prio;
    return true;
}
