/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends of a wire, and frames that can be told apart. */
#ifndef PAIR_RIG_H
#define PAIR_RIG_H

#include "io/clock.h"
#include "io/pair.h"
#include "qs_test.h"

#include <poll.h>
#include <unistd.h>

/* Sockets of a test go to a directory of its own, which goes away with rig_end(). */
static char rig_dir[64];

static inline void rig_begin(void)
{
    snprintf(rig_dir, sizeof rig_dir, "/tmp/qs-test-XXXXXX");
    REQUIRE(mkdtemp(rig_dir));
    REQUIRE(setenv("QSTACK_RUN_DIR", rig_dir, 1) == 0);
}

/* Also shows that nothing was left in it. */
static inline void rig_end(void)
{
    CHECK(rmdir(rig_dir) == 0);
}

static inline struct qs_driver_opts rig_opts(uint32_t side, uint32_t n_queues)
{
    return (struct qs_driver_opts){.ifname = "w", .n_queues = n_queues, .pair_side = side};
}

static inline struct qs_driver *rig_open_with(const struct qs_driver_opts *o)
{
    struct qs_driver *d;
    struct qs_diag diag = {""};
    if (qs_driver_pair.open(&d, o, &diag) != 0) {
        fprintf(stderr, "open: %s\n", diag.text);
        exit(1);
    }
    return d;
}

static inline struct qs_driver *rig_open(uint32_t side, uint32_t n_queues)
{
    struct qs_driver_opts o = rig_opts(side, n_queues);
    return rig_open_with(&o);
}

static inline void rig_close(struct qs_driver *d)
{
    d->ops->close(d);
}

/* Octet `i` of the frame with number `id`. */
static inline uint8_t rig_octet(uint64_t id, uint32_t i)
{
    return (uint8_t)(id * 31u + i * 7u + (i >> 8));
}

/* Ethernet, IPv4, TCP ports; then `id`; then octets that follow from it. At least 62 bytes. */
static inline void rig_fill(struct qs_frame *f, uint64_t id, uint32_t len, uint16_t sport,
                            uint16_t dport)
{
    REQUIRE(len >= 62 && len <= f->room);
    for (uint32_t i = 0; i < len; i++)
        f->data[i] = rig_octet(id, i);
    memset(f->data, 2, 12);
    const uint8_t head[] = {0x08, 0x00, 0x45, 0,  0, 0, 0, 0,  0, 0, 64,
                            6,    0,    0,    10, 0, 0, 1, 10, 0, 0, 2};
    memcpy(f->data + 12, head, sizeof head);
    f->data[34] = (uint8_t)(sport >> 8);
    f->data[35] = (uint8_t)sport;
    f->data[36] = (uint8_t)(dport >> 8);
    f->data[37] = (uint8_t)dport;
    memcpy(f->data + 54, &id, sizeof id);
    f->len = len;
}

static inline uint64_t rig_id(const struct qs_frame *f)
{
    uint64_t id;
    memcpy(&id, f->data + 54, sizeof id);
    return id;
}

/* Whether what lies behind the number is what rig_fill() wrote. */
static inline bool rig_intact(const struct qs_frame *f)
{
    uint64_t id = rig_id(f);
    for (uint32_t i = 62; i < f->len; i++) {
        if (f->data[i] != rig_octet(id, i))
            return false;
    }
    return true;
}

/* Sends one frame from `queue`; false when the device is full. */
static inline bool rig_send(struct qs_driver *d, uint32_t queue, uint64_t id, uint32_t len,
                            uint16_t sport)
{
    struct qs_frame f;
    if (d->ops->tx_reserve(d, queue, &f, 1) == 0)
        return false;
    rig_fill(&f, id, len, sport, 80);
    d->ops->tx_commit(d, queue, &f, 1, 1);
    return true;
}

#endif
