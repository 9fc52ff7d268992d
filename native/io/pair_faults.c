/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pair_faults.h"

#include <stdlib.h>
#include <string.h>

#include "core/splitmix.h"

#define MILLION 1000000u
#define REORDER_BY_NS 1000000u

static bool happens(uint64_t *state, uint32_t ppm)
{
    return ppm > 0 && qs_splitmix64(state) % MILLION < ppm;
}

struct qs_pair_fate qs_pair_dice_roll(struct qs_pair_dice *dice, const struct qs_pair_faults *f,
                                      uint32_t queue, qs_time now)
{
    if (dice->faults != f) {
        dice->faults = f;
        dice->state = f->seed + queue * 0xd1342543de82ef95u;
    }
    struct qs_pair_fate fate = {.lost = happens(&dice->state, f->loss_ppm),
                                .duplicated = happens(&dice->state, f->duplicate_ppm),
                                .reordered = happens(&dice->state, f->reorder_ppm),
                                .corrupted = happens(&dice->state, f->corrupt_ppm),
                                .dice = qs_splitmix64(&dice->state)};
    uint64_t delay_ns = f->delay.ns;
    if (fate.reordered)
        delay_ns += f->reorder_by.ns > 0 ? f->reorder_by.ns : REORDER_BY_NS;
    fate.due_ns = delay_ns > 0 ? now.ns + delay_ns : 0;
    return fate;
}

/* Internet checksum of `len` octets. */
static uint16_t checksum(const uint8_t *data, uint32_t len)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i + 1 < len; i += 2)
        sum += (uint64_t)data[i] << 8 | data[i + 1];
    if (len & 1u)
        sum += (uint64_t)data[len - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffffu) + (sum >> 16);
    return (uint16_t)~sum;
}

static void complete_checksum(struct qs_frame *frame)
{
    uint32_t field = (uint32_t)frame->csum_start + frame->csum_offset;
    frame->flags &= (uint16_t)~QS_FRAME_CSUM_PARTIAL;
    if (field + 2u > frame->len)
        return;
    uint16_t sum = checksum(frame->data + frame->csum_start, frame->len - frame->csum_start);
    frame->data[field] = (uint8_t)(sum >> 8);
    frame->data[field + 1] = (uint8_t)sum;
}

void qs_pair_damage(struct qs_frame *frame, uint64_t dice)
{
    if (frame->flags & QS_FRAME_CSUM_PARTIAL)
        complete_checksum(frame);
    uint64_t bit = dice % ((uint64_t)frame->len * 8u);
    frame->data[bit / 8u] ^= (uint8_t)(1u << (bit % 8u));
}

static bool is_before(const struct qs_pair_late_frame *a, const struct qs_pair_late_frame *b)
{
    return a->desc.due_ns != b->desc.due_ns ? a->desc.due_ns < b->desc.due_ns : a->seq < b->seq;
}

bool qs_pair_late_put(struct qs_pair_late *late, const struct qs_wire_desc *desc, uint32_t tx)
{
    if (late->n == late->n_max) {
        uint32_t n_max = late->n_max ? late->n_max * 2u : QS_WIRE_SLOTS;
        void *heap = realloc(late->heap, n_max * sizeof *late->heap);
        if (!heap)
            return false;
        late->heap = heap;
        late->n_max = n_max;
    }
    struct qs_pair_late_frame frame = {.desc = *desc, .seq = late->next_seq++, .tx = tx};
    uint32_t at = late->n++;
    for (; at > 0 && is_before(&frame, &late->heap[(at - 1) / 2]); at = (at - 1) / 2)
        late->heap[at] = late->heap[(at - 1) / 2];
    late->heap[at] = frame;
    return true;
}

bool qs_pair_late_take(struct qs_pair_late *late, qs_time now, struct qs_pair_late_frame *out)
{
    if (late->n == 0 || late->heap[0].desc.due_ns > now.ns)
        return false;
    *out = late->heap[0];
    struct qs_pair_late_frame last = late->heap[--late->n];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < late->n && is_before(&late->heap[child + 1], &late->heap[child]))
            child++;
        if (child >= late->n || !is_before(&late->heap[child], &last))
            break;
        late->heap[at] = late->heap[child];
        at = child;
    }
    if (late->n > 0)
        late->heap[at] = last;
    return true;
}

qs_time qs_pair_late_next(const struct qs_pair_late *late)
{
    return late->n > 0 ? (qs_time){late->heap[0].desc.due_ns} : QS_NEVER;
}

void qs_pair_late_clear(struct qs_pair_late *late)
{
    late->n = 0;
}

void qs_pair_late_free(struct qs_pair_late *late)
{
    free(late->heap);
    *late = (struct qs_pair_late){0};
}
