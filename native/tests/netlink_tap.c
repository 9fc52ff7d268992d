/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: what a program sends by sendmsg() is also appended to the file $NETLINK_TAP,
 * each message after its length in four octets. So a test can see what ip or tc say to the kernel.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "qstack/qs_base.h"

static void tap(const struct msghdr *message)
{
    const char *path = getenv("NETLINK_TAP");
    FILE *file = path ? fopen(path, "ab") : NULL;
    uint32_t bytes = 0;
    if (!file)
        return;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        bytes += (uint32_t)message->msg_iov[i].iov_len;
    (void)fwrite(&bytes, sizeof bytes, 1, file);
    for (size_t i = 0; i < message->msg_iovlen; i++)
        (void)fwrite(message->msg_iov[i].iov_base, 1, message->msg_iov[i].iov_len, file);
    (void)fclose(file);
}

QS_API ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static ssize_t (*next)(int, const struct msghdr *, int);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sendmsg");
    tap(message);
    return next(fd, message, flags);
}
