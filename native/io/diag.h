/* SPDX-License-Identifier: Apache-2.0 */
/* Failing with words: one call fills the diagnosis and gives the code to return. */
#ifndef QS_IO_DIAG_H
#define QS_IO_DIAG_H

#include "qstack/qs_base.h"

/* Writes the sentence to `diag` (NULL is allowed) and returns `code`. */
qs_err qs_fail(struct qs_diag *diag, qs_err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The code that stands for `errnum`; QS_ERR_SYS for those without one of their own. */
qs_err qs_err_of_errno(int errnum);

#endif
