/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of `qstack bench priority` agree on. A request is 200 octets, its reply 146; to
 * answer one takes a time that the server is told. */
#ifndef QS_BENCH_PRIORITY_H
#define QS_BENCH_PRIORITY_H

#include <stdint.h>

#include "io/clock.h"
#include "qstack/qs_message.h"

#define REQUEST_BYTES 200u
#define REPLY_BYTES 146u

/* Of both, when connections have messages: how many octets follow, and a mark of urgent ones. */
#define LENGTH_BYTES 4u
#define MARK_AT LENGTH_BYTES
#define URGENT_MARK 1u
/* Of a request that is made to hurt the server, and does if that is told to fall for it. Without
 * messages its first octet. */
#define POISON_MARK 2u

/* Writes them for a message of `bytes` octets. */
static inline void write_head(uint8_t *message, uint32_t bytes, uint8_t mark)
{
    uint32_t rest = bytes - LENGTH_BYTES;
    for (uint32_t i = 0; i < LENGTH_BYTES; i++)
        message[i] = (uint8_t)(rest >> (8 * (LENGTH_BYTES - 1 - i)));
    message[MARK_AT] = mark;
}

/* What an engine is told of them. */
static inline struct qs_framing_opts message_framing(void)
{
    struct qs_framing_opts f;
    qs_framing_opts_init(&f, QS_FRAMING_LENGTH);
    f.message_max = 1024;
    return f;
}

/* Those with the mark are of class `prio`. */
static inline struct qs_match message_match(uint32_t prio)
{
    return (struct qs_match){.what = QS_MATCH_OCTETS,
                             .prio = (uint8_t)prio,
                             .at = MARK_AT,
                             .n_octets = 1,
                             .octets = {URGENT_MARK},
                             .mask = {0xff}};
}

/* Works for `ns` nanoseconds. */
static inline void work_for(uint64_t ns)
{
    for (uint64_t end = ns ? qs_clock_now().ns + ns : 0; ns && qs_clock_now().ns < end;)
        ;
}

#endif
