/* SPDX-License-Identifier: Apache-2.0 */
/* softnic_host NAME QUEUES: owns a software NIC in memory and serves its control socket until
 * standard input closes, so that the tests of nicprog run against the real thing. Prints "ready". A
 * line "frame QUEUE BYTES" counts a frame, as the packet path does. */
#include "io/softnic.h"
#include "io/softnic_ethtool.h"

#include <stdio.h>
#include <stdlib.h>

static struct qs_softnic nic;

static void serve_until_closed(void)
{
    char line[64];
    unsigned queue, bytes;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "frame %u %u", &queue, &bytes) != 2 || queue >= QS_SOFTNIC_QUEUES_MAX)
            continue;
        nic.queues[queue].packets++;
        nic.queues[queue].bytes += bytes;
        puts("counted");
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct qs_softnic_server *server;
    struct qs_diag diag = {""};
    if (argc != 3) {
        fprintf(stderr, "usage: softnic_host NAME QUEUES\n");
        return 2;
    }
    qs_softnic_init(&nic, (uint32_t)strtoul(argv[2], NULL, 10));
    if (qs_softnic_server_start(&server, &nic, argv[1], "memory", &diag) != 0) {
        fprintf(stderr, "softnic_host: %s\n", diag.text);
        return 1;
    }
    puts("ready");
    (void)fflush(stdout);
    serve_until_closed();
    qs_softnic_server_stop(server);
    return 0;
}
