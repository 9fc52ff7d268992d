/* SPDX-License-Identifier: Apache-2.0 */
/* Edits of one field, and the frame of an edited segment. */
#include "sweep.h"

#define HALF 0x80000000u

/* Where a number is counted from, in the upper byte of its value; else from the valid one. */
#define FROM_LEFT 0x10000000u  /* SEQ: RCV.NXT; ACK: SND.UNA */
#define FROM_RIGHT 0x20000000u /* SEQ: right edge of the window; ACK: SND.MAX */
#define MINUS(v) (0x0fffffffu & (0u - (v)))

#define ALL_FLAGS (FIN | SYN | RST | PSH | ACK | URG | ECE | CWR)
#define EXACT 0x100u /* FLAGS: these, instead of those that differ */
#define NO_FLAG 0x200u
#define NO_URG 0x10000u

const struct edit sweep_edits[] = {
    {"seq -1", F_SEQ, MINUS(1)},
    {"seq +1", F_SEQ, 1},
    {"seq at RCV.NXT", F_SEQ, FROM_LEFT},
    {"seq far left of the window", F_SEQ, FROM_LEFT | MINUS(70000)},
    {"seq at the last octet of the window", F_SEQ, FROM_RIGHT | MINUS(1)},
    {"seq at the right edge", F_SEQ, FROM_RIGHT},
    {"seq right of the window", F_SEQ, FROM_RIGHT | 1},
    {"seq half around", F_SEQ, HALF},
    {"ack -1", F_ACK, MINUS(1)},
    {"ack +1", F_ACK, 1},
    {"ack at SND.UNA", F_ACK, FROM_LEFT},
    {"ack left of SND.UNA by a window", F_ACK, FROM_LEFT | MINUS(65535)},
    {"ack left of that", F_ACK, FROM_LEFT | MINUS(65536)},
    {"ack at SND.MAX", F_ACK, FROM_RIGHT},
    {"ack of octets not sent", F_ACK, FROM_RIGHT | 1},
    {"ack half around", F_ACK, HALF},
    {"FIN", F_FLAGS, FIN},
    {"SYN", F_FLAGS, SYN},
    {"RST", F_FLAGS, RST},
    {"PSH", F_FLAGS, PSH},
    {"ACK", F_FLAGS, ACK},
    {"ECE", F_FLAGS, ECE},
    {"CWR", F_FLAGS, CWR},
    {"reserved bit", F_FLAGS, NO_FLAG},
    {"no flag", F_FLAGS, EXACT},
    {"SYN alone", F_FLAGS, EXACT | SYN},
    {"RST alone", F_FLAGS, EXACT | RST},
    {"SYN and FIN", F_FLAGS, EXACT | SYN | FIN},
    {"all flags", F_FLAGS, EXACT | ALL_FLAGS},
    {"window 0", F_WND, 0},
    {"window 1", F_WND, 1},
    {"window 1000", F_WND, 1000},
    {"no payload", F_LEN, 0},
    {"1 octet", F_LEN, 1},
    {"a full segment", F_LEN, 1000},
    {"more than the window", F_LEN, 17000},
    {"no timestamp", F_TS, 0, "none"},
    {"timestamp 0", F_TS, 0, "zero"},
    {"timestamp older", F_TS, 999},
    {"timestamp newer", F_TS, 100000},
    {"timestamp half around", F_TS, 1000 + HALF},
    {"option of length 0", F_OPTS, 1, "hex fd00"},
    {"option of length 1", F_OPTS, 1, "hex fd01"},
    {"option past the header", F_OPTS, 1, "hex fd0c0000"},
    {"unknown option", F_OPTS, 0, "hex fd04abcd"},
    {"end of options, then rubbish", F_OPTS, 0, "eol hex 05ffff"},
    {"MSS 0", F_OPTS, 0, "mss 0"},
    {"MSS 65535", F_OPTS, 0, "mss 65535"},
    {"window scale 15", F_OPTS, 0, "ws 15"},
    {"SACK permitted", F_OPTS, 0, "sok"},
    {"SACK of SND.UNA and more", F_OPTS, 0, "sack 1-989"},
    {"SACK ahead of SND.UNA", F_OPTS, 0, "sack 989-1977"},
    {"SACK the wrong way round", F_OPTS, 0, "sack 1977-989"},
    {"SACK of octets not sent", F_OPTS, 0, "sack 60000-70000"},
    {"three SACK blocks that overlap", F_OPTS, 0, "sack 989-1977,1-3000,1500-2500"},
    {"fast open cookie", F_OPTS, 0, "hex 220a0102030405060708"},
    {"URG at 0", F_URG, 0},
    {"URG beyond the segment", F_URG, 65535},
    {"urgent pointer without URG", F_URG, NO_URG | 5},
    {"data offset 0", F_OFFSET, 0},
    {"data offset 4", F_OFFSET, 4},
    {"data offset 15", F_OFFSET, 15},
    {"wrong checksum", F_FRAME, 0, "sum"},
    {"padding behind the packet", F_FRAME, 7},
    {"frame cut by an octet", F_FRAME, (uint32_t)-1},
};
const size_t sweep_n_edits = sizeof sweep_edits / sizeof sweep_edits[0];

static uint32_t counted_from(uint32_t value, uint32_t own, uint32_t left, uint32_t right)
{
    if (value == HALF)
        return own + HALF;
    uint32_t base = value & FROM_LEFT ? left : value & FROM_RIGHT ? right : own;
    uint32_t low = value & 0x0fffffffu;
    return base + (low & 0x08000000u ? low | 0xf0000000u : low);
}

static void edit_flags(uint32_t value, struct wish *s)
{
    if (value & EXACT)
        s->flags = (uint8_t)value;
    else if (value & NO_FLAG)
        s->reserved = 1;
    else
        s->flags ^= (uint8_t)value;
}

static void edit_timestamp(const struct edit *e, struct wish *s)
{
    s->ts = !e->text || strcmp(e->text, "none") != 0;
    s->ts_val = e->text ? 0 : e->value;
}

void edit_apply(const struct edit *e, const struct world *w, struct wish *s)
{
    const struct qs_block *c = &w->was;
    bool listen = w->start->state == QS_TCP_LISTEN, known = w->start->state > QS_TCP_SYN_SENT;
    uint32_t nxt = known ? c->rcv_nxt.v - RIG_ISN : s->seq;
    uint32_t adv = known ? c->rcv_adv.v - RIG_ISN : s->seq + UINT16_MAX;
    uint32_t una = listen ? s->ack : c->snd_una.v - RIG_ISN;
    uint32_t max = listen ? s->ack : c->snd_max.v - RIG_ISN;
    switch (e->field) {
    case F_SEQ:
        s->seq = counted_from(e->value, s->seq, nxt, adv);
        break;
    case F_ACK:
        s->ack = counted_from(e->value, s->ack, una, max);
        break;
    case F_FLAGS:
        edit_flags(e->value, s);
        break;
    case F_WND:
        s->wnd = (uint16_t)e->value;
        break;
    case F_LEN:
        s->len = e->value;
        break;
    case F_TS:
        edit_timestamp(e, s);
        break;
    case F_OPTS:
        s->extra_opts = e->text;
        s->bad_options = e->value;
        break;
    case F_URG:
        s->flags |= e->value & NO_URG ? 0 : URG;
        s->urgent = (uint16_t)e->value;
        break;
    case F_OFFSET:
        s->data_offset = (int)e->value + 1;
        break;
    case F_FRAME:
        s->bad_checksum = e->text;
        s->trailing = (int)(int32_t)e->value;
        break;
    }
}

static void options_text(const struct wish *s, char *to, size_t room)
{
    uint8_t ignored[40];
    char ts[40] = "", extra[128];
    const char *more = s->extra_opts ? s->extra_opts : "";
    if (s->ts)
        snprintf(ts, sizeof ts, "ts %u:%u", s->ts_val, s->ts_ecr);
    uint32_t most = (s->ts ? 12 : 0) + frame_options(ignored, s->opts);
    snprintf(extra, sizeof extra, "%s", more);
    bool fits = most + frame_options(ignored, extra) <= 40;
    snprintf(to, room, "%s %s %s", ts, fits ? s->opts : "", more);
}

void wish_build(const struct world *w, const struct wish *s, struct frame *f)
{
    char opts[160];
    options_text(s, opts, sizeof opts);
    rig_build(w->r, f, &(struct seg){"", s->seq, s->len, 0, .opts = opts});
    uint8_t *h = frame_l4(f);
    put(h + 8, 4, RIG_ISN + s->ack);
    h[12] |= s->reserved;
    h[13] = s->flags;
    put(h + 14, 2, s->wnd);
    put(h + 18, 2, s->urgent);
    if (s->data_offset)
        h[12] = (uint8_t)((s->data_offset - 1) << 4);
    frame_fix(f);
    if (s->bad_checksum)
        h[16] ^= 0x40;
    if (s->trailing > 0)
        memset(f->b + f->len, 0xee, (size_t)s->trailing);
    f->len = (uint32_t)((int)f->len + s->trailing);
}
