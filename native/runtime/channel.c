/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/channel.h"

#include <stdlib.h>
#include <string.h>

#include "io/mem.h"

/* ---- links ---- */

static uint32_t power_of_two(uint32_t least)
{
    uint32_t n = 1;
    while (n < least)
        n *= 2;
    return n;
}

static void *pages(size_t n, size_t bytes)
{
    return qs_mem_pages.alloc(NULL, n * bytes);
}

static void give_pages(void *block, size_t n, size_t bytes)
{
    if (block)
        qs_mem_pages.free(NULL, block, n * bytes);
}

qs_err qs_links_init(struct qs_links *l, uint32_t conns_max)
{
    memset(l, 0, sizeof *l);
    l->n_slots = conns_max;
    l->n_max = power_of_two(2 * conns_max);
    l->free = QS_NO_LINK;
    /* Backed where it is touched: only links that were in use at the same time cost memory. */
    l->worker = pages(l->n_max, sizeof *l->worker);
    l->app = pages(l->n_max, sizeof *l->app);
    l->of_slot = pages(l->n_slots, sizeof *l->of_slot);
    l->back = pages(l->n_max, sizeof *l->back);
    if (l->worker && l->app && l->of_slot && l->back)
        return 0;
    qs_links_fini(l);
    return QS_ERR_NOMEM;
}

void qs_links_fini(struct qs_links *l)
{
    give_pages(l->worker, l->n_max, sizeof *l->worker);
    give_pages(l->app, l->n_max, sizeof *l->app);
    give_pages(l->of_slot, l->n_slots, sizeof *l->of_slot);
    give_pages(l->back, l->n_max, sizeof *l->back);
    for (uint32_t q = 0; q < sizeof l->arrived / sizeof l->arrived[0]; q++)
        give_pages(l->arrived[q], l->n_max, sizeof *l->arrived[q]);
    memset(l, 0, sizeof *l);
}

uint32_t qs_link_take(struct qs_links *l)
{
    uint32_t link = l->free;
    if (link != QS_NO_LINK)
        l->free = l->worker[link].next;
    else if (l->back_seen != __atomic_load_n(&l->back_given, __ATOMIC_ACQUIRE))
        link = l->back[l->back_seen++ & (l->n_max - 1)];
    else if (l->n_used < l->n_max)
        link = l->n_used++;
    else
        return QS_NO_LINK;
    memset(&l->worker[link], 0, sizeof l->worker[link]);
    return link;
}

void qs_link_drop(struct qs_links *l, uint32_t link)
{
    l->worker[link].next = l->free;
    l->free = link;
}

void qs_link_return(struct qs_links *l, uint32_t link)
{
    l->back[l->back_given & (l->n_max - 1)] = link;
    __atomic_store_n(&l->back_given, l->back_given + 1, __ATOMIC_RELEASE);
}

/* ---- channels ---- */

qs_err qs_channel_new(struct qs_channel **out, struct qs_links *links, uint32_t queue, uint8_t prio,
                      size_t ring_bytes)
{
    *out = NULL;
    struct qs_channel *ch = aligned_alloc(64, sizeof *ch);
    if (!ch)
        return QS_ERR_NOMEM;
    memset(ch, 0, sizeof *ch);
    ch->links = links;
    ch->queue = queue;
    ch->prio = prio;
    ch->waiting = ch->urgent = ch->starved = (struct qs_link_list){QS_NO_LINK, QS_NO_LINK};
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
