/* SPDX-License-Identifier: Apache-2.0 */
/* How long a thread without work polls before it sleeps, learned from how long work has let it
 * wait: docs/design/022-spin.md. No clock of its own; one thread's. */
#ifndef QS_RUNTIME_SPIN_H
#define QS_RUNTIME_SPIN_H

#include "qstack/qs_base.h"

#define QS_SPIN_BOUNDS 8

struct qs_spin {
    qs_dur max;
    qs_dur limit; /* so long it polls now, [0, max] */
    /* Lately, of all waits, in QS_SPIN_WHOLE: [i] those of at most max / 2^(7 - i), but not of
     * [i-1]; what is missing to the whole took longer than max. */
    uint32_t share[QS_SPIN_BOUNDS];
};

#define QS_SPIN_WHOLE 65536u

/* At first it polls for `max`. 0: never. */
void qs_spin_init(struct qs_spin *x, qs_dur max);

/* Work has come after so long without any; whether it polled or slept meanwhile does not matter. */
void qs_spin_learn(struct qs_spin *x, qs_dur waited);

#endif
