/* SPDX-License-Identifier: Apache-2.0 */
#include "io/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

qs_err qs_fail(struct qs_diag *diag, qs_err code, const char *fmt, ...)
{
    if (diag) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(diag->text, sizeof diag->text, fmt, args);
        va_end(args);
    }
    return code;
}

qs_err qs_err_of_errno(int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        return QS_ERR_PERM;
    case ENODEV:
    case ENXIO:
        return QS_ERR_NODEV;
    case EBUSY:
        return QS_ERR_BUSY;
    case ENOMEM:
    case ENOBUFS:
        return QS_ERR_NOMEM;
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
    case ENOSYS:
        return QS_ERR_NOTSUP;
    default:
        return QS_ERR_SYS;
    }
}
