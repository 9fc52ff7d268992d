/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/channel.h"

#include <stdlib.h>
#include <string.h>

qs_err qs_channel_new(struct qs_channel **out, uint32_t queue, uint8_t prio, size_t ring_bytes)
{
    *out = NULL;
    struct qs_channel *ch = aligned_alloc(64, sizeof *ch);
    if (!ch)
        return QS_ERR_NOMEM;
    memset(ch, 0, sizeof *ch);
    ch->queue = queue;
    ch->prio = prio;
    ch->waiting = ch->starved = (struct qs_slot_list){QS_NO_SLOT, QS_NO_SLOT};
    qs_err err = qs_ring_init(&ch->events, ring_bytes);
    if (!err)
        err = qs_ring_init(&ch->commands, ring_bytes);
    if (err) {
        qs_channel_free(ch);
        return err;
    }
    *out = ch;
    return 0;
}

void qs_channel_free(struct qs_channel *ch)
{
    if (!ch)
        return;
    qs_ring_fini(&ch->events);
    qs_ring_fini(&ch->commands);
    free(ch);
}
