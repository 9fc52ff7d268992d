/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: the call by which AF_XDP is told to send fails three times out of four, before
 * it reaches the kernel, with each of the errors that the kernel may give. Other calls of sendto()
 * go through. Says at the end on standard error how many failed: "sendto_faults: N". */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "qstack/qs_base.h"

static unsigned calls, failed;

QS_API ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
                      socklen_t to_len)
{
    static const int errors[4] = {0, EAGAIN, ENOBUFS, EBUSY};
    static ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    if (!buf && len == 0 && !to) {
        int error = errors[__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) % 4];
        if (error) {
            __atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
            errno = error;
            return -1;
        }
    }
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sendto");
    return next(fd, buf, len, flags, to, to_len);
}

__attribute__((destructor)) static void report(void)
{
    fprintf(stderr, "sendto_faults: %u\n", failed);
}
