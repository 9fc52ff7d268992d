/* SPDX-License-Identifier: Apache-2.0 */
/* How messages are told, the same on all queues: qs_stack_messages(). */
#include "runtime/guard.h"
#include "runtime/stack.h"

#include "io/diag.h"

/* The function behind a guard, or NULL when there is none to guard. @return false without memory.
 */
static bool guard(struct qs_stack *s, qs_framing_fn framing, qs_classify_fn classify, void *ctx,
                  struct qs_guard **out, struct qs_diag *diag)
{
    *out = NULL;
    if (!framing && !classify)
        return true;
    if (!s->guards)
        s->guards = qs_guards_new(diag);
    if (s->guards)
        *out = qs_guard_new(s->guards, framing, classify, ctx);
    return *out != NULL;
}

static int add_to_queues(struct qs_stack *s, const struct qs_framing_opts *f,
                         const struct qs_classifier_opts *k, struct qs_diag *diag)
{
    int number = 0;
    for (uint32_t q = 0; q < s->opts.n_queues; q++) {
        number = qs_engine_messages(s->queues[q].engine, f, k);
        if (number < 0) /* so do all engines: they know the same */
            return qs_fail(diag, number, "%s: framing or classifier: %s", s->ifname,
                           qs_strerror(number));
    }
    return number;
}

int qs_stack_messages(qs_stack *s, const struct qs_framing_opts *framing,
                      const struct qs_classifier_opts *classifier, struct qs_diag *diag)
{
    struct qs_framing_opts f;
    struct qs_classifier_opts k;
    struct qs_guard *length = NULL, *class = NULL;
    if (s->running)
        return qs_fail(diag, QS_ERR_STATE, "%s: framings are made before the stack runs",
                       s->ifname);
    if (framing) {
        f = *framing;
        qs_framing_fn fn = f.kind == QS_FRAMING_FUNCTION ? f.fn : NULL;
        if (!guard(s, fn, NULL, f.ctx, &length, diag))
            return QS_ERR_NOMEM;
        if (length) {
            f.fn = qs_guarded_framing;
            f.ctx = length;
        }
    }
    if (classifier) {
        k = *classifier;
        if (!guard(s, NULL, k.fn, k.ctx, &class, diag))
            return QS_ERR_NOMEM;
        if (class) {
            k.fn = qs_guarded_classify;
            k.ctx = class;
        }
    }
    int number = add_to_queues(s, framing ? &f : NULL, classifier ? &k : NULL, diag);
    if (number > 0) {
        s->functions[number].framing = length;
        s->functions[number].classifier = class;
        s->n_messages = (uint32_t)number;
    }
    return number;
}

qs_err qs_stack_function_stats(const qs_stack *s, int number, bool classifier,
                               struct qs_function_stats *out)
{
    *out = (struct qs_function_stats){0};
    if (number < 1 || (uint32_t)number > s->n_messages)
        return QS_ERR_ARG;
    const struct qs_functions *f = &s->functions[number];
    const struct qs_guard *g = classifier ? f->classifier : f->framing;
    if (g)
        qs_guard_stats(g, out);
    return 0;
}
