/* SPDX-License-Identifier: Apache-2.0 */
/* iface_tool IF [ADDRESS]: prints what qs_iface_read() finds as JSON, then asks the kernel for the
 * neighbour ADDRESS and prints each change of the table as a line of JSON, until its standard input
 * ends. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/iface.h"
#include "io/neigh_watch.h"

static void print_addr(const qs_addr *addr)
{
    char text[INET6_ADDRSTRLEN];
    printf("\"%s\"", inet_ntop(AF_INET6, addr->b, text, sizeof text));
}

static void print_mac(const uint8_t *mac)
{
    printf("\"%02x:%02x:%02x:%02x:%02x:%02x\"", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void print_iface(const struct qs_iface *iface)
{
    printf(
        "{\"index\": %u, \"mtu\": %u, \"up\": %s, \"driver\": \"%s\", \"rx_queues\": %u, \"mac\": ",
        iface->index, iface->mtu, iface->up ? "true" : "false", iface->driver, iface->rx_queues);
    print_mac(iface->mac);
    printf(", \"gateway4\": ");
    print_addr(&iface->gateway4);
    printf(", \"gateway6\": ");
    print_addr(&iface->gateway6);
    printf(", \"addrs\": [");
    for (uint32_t i = 0; i < iface->n_addrs; i++) {
        printf(i ? ", [" : "[");
        print_addr(&iface->addrs[i].addr);
        printf(", %u]", iface->addrs[i].prefix_len);
    }
    printf("]}\n");
}

static void print_change(void *ctx, const qs_addr *addr, const uint8_t *mac)
{
    (void)ctx;
    printf("{\"addr\": ");
    print_addr(addr);
    printf(", \"mac\": ");
    if (mac)
        print_mac(mac);
    else
        printf("null");
    printf("}\n");
    fflush(stdout);
}

static int watch(const struct qs_iface *iface, const char *address)
{
    struct qs_diag diag = {{0}};
    struct qs_neigh_watch *w;
    struct qs_iface_addr wanted;
    qs_err err = qs_cidr_parse(&wanted, address, &diag);
    if (!err)
        err = qs_neigh_watch_open(&w, iface->index, print_change, NULL, &diag);
    if (err) {
        fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    err = qs_neigh_watch_ask(w, &wanted.addr);
    struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {qs_neigh_watch_fd(w), POLLIN, 0}};
    while (!err && !fds[0].revents) {
        err = qs_neigh_watch_run(w);
        (void)poll(fds, 2, -1);
    }
    qs_neigh_watch_close(w);
    return err != QS_OK;
}

int main(int argc, char **argv)
{
    struct qs_diag diag = {{0}};
    struct qs_iface iface;
    if (argc < 2)
        return 2;
    if (qs_iface_read(&iface, argv[1], &diag) != QS_OK) {
        fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    print_iface(&iface);
    fflush(stdout);
    return argc > 2 ? watch(&iface, argv[2]) : 0;
}
