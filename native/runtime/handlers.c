/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of active opens. Many connections share one (function, context): each pair is kept once
 * and lives as long as the stack. */
#include <stdlib.h>

#include "runtime/stack.h"

struct qs_handler_node {
    struct qs_handler handler;
    struct qs_handler_node *next;
};

struct qs_handler *qs_handler_for(struct qs_stack *s, uint32_t queue, qs_inline_fn fn, void *ctx)
{
    /* A list for each queue: only its worker adds to it. */
    struct qs_handler_node **list = &s->queues[queue].handlers;
    for (struct qs_handler_node *n = *list; n; n = n->next)
        if (n->handler.fn == fn && n->handler.ctx == ctx)
            return &n->handler;
    struct qs_handler_node *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->handler = (struct qs_handler){.fn = fn, .ctx = ctx, .listener = -1};
    n->next = *list;
    *list = n;
    return &n->handler;
}

void qs_handlers_free(struct qs_stack *s)
{
    for (uint32_t q = 0; q < QS_N_QUEUES_MAX; q++)
        while (s->queues[q].handlers) {
            struct qs_handler_node *n = s->queues[q].handlers;
            s->queues[q].handlers = n->next;
            free(n);
        }
}
