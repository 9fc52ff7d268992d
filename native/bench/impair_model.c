/* SPDX-License-Identifier: Apache-2.0 */
#include "impair_model.h"

#include <stdlib.h>
#include <string.h>

enum { ETH_BYTES = 14 };

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double draw_unit(uint64_t *state)
{
    return (double)(draw(state) >> 11) * 0x1p-53;
}

/* --- specification ---------------------------------------------------------------------------- */

void impair_spec_init(struct impair_spec *spec)
{
    *spec = (struct impair_spec){.queue_frames = 4096, .reorder_us = 500e3};
}

static double *field_of(struct impair_spec *spec, const char *name, size_t len, double *factor,
                        double *most)
{
#define TRY(key, unit, limit)                                                                      \
    if (len == sizeof #key - 1 && memcmp(name, #key, len) == 0) {                                  \
        *factor = (unit);                                                                          \
        *most = (limit);                                                                           \
        return &spec->key;                                                                         \
    }
    IMPAIR_KEYS(TRY)
#undef TRY
    return NULL;
}

bool impair_spec_parse(struct impair_spec *spec, const char *text, const char **bad)
{
    while (*text) {
        *bad = text;
        size_t len = strcspn(text, "=,");
        double factor, most;
        double *field = field_of(spec, text, len, &factor, &most);
        if (!field || text[len] != '=')
            return false;
        char *end = NULL;
        double value = strtod(text + len + 1, &end);
        if (end == text + len + 1 || (*end && *end != ',') || !(value >= 0 && value <= most))
            return false;
        *field = value * factor;
        text = *end ? end + 1 : end;
    }
    return true;
}

/* --- frames under way ------------------------------------------------------------------------- */

void impair_wire_init(struct impair_wire *w, const struct impair_spec *spec, uint64_t seed,
                      uint32_t frame_bytes)
{
    *w = (struct impair_wire){.spec = *spec, .random = seed, .frame_bytes = frame_bytes};
}

void impair_wire_free(struct impair_wire *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->heap[i]);
    free(w->heap);
    for (struct impair_frame *f = w->free, *next; f; f = next) {
        next = f->next;
        free(f);
    }
}

static struct impair_frame *new_frame(struct impair_wire *w)
{
    struct impair_frame *f = w->free;
    if (!f)
        return malloc(sizeof *f + w->frame_bytes);
    w->free = f->next;
    return f;
}

static bool before(const struct impair_frame *a, const struct impair_frame *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static bool heap_push(struct impair_wire *w, struct impair_frame *f)
{
    if (w->n == w->room) {
        size_t room = w->room ? w->room * 2 : 256;
        struct impair_frame **heap = realloc(w->heap, room * sizeof(struct impair_frame *));
        if (!heap)
            return false;
        w->heap = heap;
        w->room = room;
    }
    size_t at = w->n++;
    for (; at && before(f, w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = f;
    return true;
}

static struct impair_frame *heap_pop(struct impair_wire *w)
{
    struct impair_frame *top = w->heap[0], *last = w->heap[--w->n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < w->n; at = child) {
        child += child + 1 < w->n && before(w->heap[child + 1], w->heap[child]);
        if (!before(w->heap[child], last))
            break;
        w->heap[at] = w->heap[child];
    }
    w->heap[at] = last;
    return top;
}

/* --- fate of a frame -------------------------------------------------------------------------- */

/* The draws of one frame, always all of them. */
struct fate {
    bool lost, duplicated, corrupted, reordered;
    double jitter;
    uint64_t corrupt_bit;
};

static struct fate decide(struct impair_wire *w)
{
    const struct impair_spec *s = &w->spec;
    struct fate fate;
    double turn = draw_unit(&w->random);
    w->bad = w->bad ? turn >= s->burst_leave : turn < s->burst_enter;
    bool lost_in_burst = draw_unit(&w->random) < s->burst_loss && w->bad;
    fate.lost = draw_unit(&w->random) < s->loss || lost_in_burst;
    fate.duplicated = draw_unit(&w->random) < s->duplicate;
    fate.corrupted = draw_unit(&w->random) < s->corrupt;
    fate.reordered = draw_unit(&w->random) < s->reorder;
    fate.jitter = draw_unit(&w->random);
    fate.corrupt_bit = draw(&w->random);
    return fate;
}

static bool is_ip(const uint8_t *data, uint32_t len)
{
    return len > ETH_BYTES &&
           ((data[12] == 0x08 && data[13] == 0x00) || (data[12] == 0x86 && data[13] == 0xdd));
}

/* The end of its transmission, the delay and the jitter. */
static uint64_t arrival(struct impair_wire *w, uint32_t len, double jitter, uint64_t now_ns)
{
    const struct impair_spec *s = &w->spec;
    uint64_t sent = now_ns;
    if (s->rate_mbit > 0) {
        uint64_t start = w->free_at_ns > now_ns ? w->free_at_ns : now_ns;
        sent = w->free_at_ns = start + (uint64_t)(len * 8000.0 / s->rate_mbit);
    }
    uint64_t due = sent + (uint64_t)(s->delay_us + jitter * s->jitter_us);
    if (due < w->last_due_ns)
        due = w->last_due_ns;
    return w->last_due_ns = due;
}

static void enqueue(struct impair_wire *w, const uint8_t *data, uint32_t len,
                    const struct fate *fate, uint64_t now_ns)
{
    struct impair_frame *f = w->n < (size_t)w->spec.queue_frames ? new_frame(w) : NULL;
    if (!f) {
        w->counters.queue_dropped++;
        return;
    }
    memcpy(f->data, data, len);
    f->len = len;
    f->order = w->order++;
    f->due_ns = arrival(w, len, fate->jitter, now_ns);
    if (fate->reordered) {
        f->due_ns += (uint64_t)w->spec.reorder_us;
        w->counters.reordered++;
    }
    if (fate->corrupted && is_ip(data, len)) {
        uint64_t bit = fate->corrupt_bit % ((uint64_t)(len - ETH_BYTES) * 8);
        f->data[ETH_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
        w->counters.corrupted++;
    }
    if (!heap_push(w, f)) {
        w->counters.queue_dropped++;
        impair_wire_give_back(w, f);
    }
}

void impair_wire_put(struct impair_wire *w, const uint8_t *data, uint32_t len, uint64_t now_ns)
{
    w->counters.frames_in++;
    if (len > w->frame_bytes) {
        w->counters.oversize++;
        return;
    }
    struct fate fate = decide(w);
    if (fate.lost) {
        w->counters.lost++;
        return;
    }
    enqueue(w, data, len, &fate, now_ns);
    if (fate.duplicated) {
        w->counters.duplicated++;
        fate.corrupted = fate.reordered = false;
        enqueue(w, data, len, &fate, now_ns);
    }
}

uint64_t impair_wire_due(const struct impair_wire *w)
{
    return w->n ? w->heap[0]->due_ns : UINT64_MAX;
}

struct impair_frame *impair_wire_take(struct impair_wire *w, uint64_t now_ns)
{
    return impair_wire_due(w) <= now_ns ? heap_pop(w) : NULL;
}

void impair_wire_give_back(struct impair_wire *w, struct impair_frame *f)
{
    f->next = w->free;
    w->free = f;
}
