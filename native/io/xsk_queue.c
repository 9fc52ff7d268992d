/* SPDX-License-Identifier: Apache-2.0 */
/* Received frames longer than a chunk come in several and are joined in a buffer of the queue;
 * frames to send lie over adjacent chunks and are described by several descriptors (xsk_umem.h).
 *
 * What the ring says of a frame is copied before it is judged: the kernel can write there. */
#include "io/xsk_queue.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/xsk_uapi.h"

qs_err xsk_queue_init(struct xsk_queue *q, uint32_t frame_bytes_max, bool multi_piece)
{
    q->frame_bytes_max = frame_bytes_max;
    q->held = malloc(XSK_BURST * XSK_PIECES_MAX * sizeof *q->held);
    q->scratch = multi_piece ? malloc((size_t)XSK_BURST * frame_bytes_max) : NULL;
    return q->held && (q->scratch || !multi_piece) ? QS_OK : QS_ERR_NOMEM;
}

void xsk_queue_free(struct xsk_queue *q)
{
    free(q->held);
    free(q->scratch);
    q->held = NULL;
    q->scratch = NULL;
}

/* --- receive ---------------------------------------------------------------------------------- */

static bool in_one_chunk(const struct xsk_umem *u, const struct xdp_desc *piece)
{
    uint64_t offset = piece->addr & (u->sizes.chunk_bytes - 1);
    return offset + piece->len <= u->sizes.chunk_bytes;
}

/* Copies the descriptors of the frame at the head of the ring, of `avail`. XSK_PIECES_MAX of a
 * frame that has more are taken as if they were all. @return how many; 0 when the last one is not
 * there yet. */
static uint32_t copy_pieces(const struct xsk_ring *rx, uint32_t avail, struct xdp_desc *pieces)
{
    for (uint32_t n = 0; n < avail;) {
        pieces[n] = *xsk_ring_desc(rx, rx->own + n);
        bool last = !(pieces[n++].options & XSK_PKT_CONTD);
        if (last || n == XSK_PIECES_MAX)
            return n;
    }
    return 0;
}

/* Keeps the chunks of a frame, those of a bad one too: rx_done() gives them back. @return is each
 * piece where one can be? */
static bool hold_pieces(struct xsk_queue *q, const struct xdp_desc *pieces, uint32_t n)
{
    bool good = true;
    for (uint32_t i = 0; i < n; i++) {
        bool taken = xsk_umem_take_chunk(q->umem, pieces[i].addr);
        if (taken)
            q->held[q->n_held++] = pieces[i].addr;
        good &= taken && in_one_chunk(q->umem, &pieces[i]);
    }
    return good;
}

/* Joins the pieces at `to`. @return bytes, or 0 when they are more than a frame has. */
static uint32_t join_pieces(const struct xsk_queue *q, const struct xdp_desc *pieces, uint32_t n,
                            uint8_t *to)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (pieces[i].len > q->frame_bytes_max - bytes)
            return 0;
        memcpy(to + bytes, q->umem->mem + pieces[i].addr, pieces[i].len);
        bytes += pieces[i].len;
    }
    return bytes;
}

/* Describes the frame of `n` pieces. @return is there one to hand on? */
static bool take_frame(struct xsk_queue *q, const struct xdp_desc *pieces, uint32_t n,
                       uint8_t *scratch, struct qs_frame *f)
{
    bool tail = q->skipping;
    q->skipping = (pieces[n - 1].options & XSK_PKT_CONTD) != 0;
    bool good = hold_pieces(q, pieces, n) && !tail && !q->skipping;
    if (good && n == 1) {
        *f = (struct qs_frame){.data = q->umem->mem + pieces[0].addr, .len = pieces[0].len};
    } else if (good) {
        *f = (struct qs_frame){.data = scratch};
        f->len = scratch ? join_pieces(q, pieces, n, scratch) : 0;
        good = f->len != 0;
    }
    q->stats.rx_bad += !good && !tail;
    return good;
}

/* A zero-copy driver that ran out of chunks waits for a call. */
static void wake_fill(const struct xsk_queue *q)
{
    if (!q->copy && xsk_ring_needs_wakeup(&q->umem->fill))
        (void)recvfrom(q->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

void xsk_queue_rx_done(struct xsk_queue *q)
{
    if (!q->n_held && !xsk_umem_has_spare(q->umem))
        return;
    xsk_umem_refill(q->umem, q->held, q->n_held, &q->stats.ring_bad);
    q->n_held = 0;
    wake_fill(q);
}

/* Hot; watched by drv_echo. */
size_t xsk_queue_rx(struct xsk_queue *q, struct qs_frame *frames, size_t n)
{
    uint32_t avail = xsk_ring_filled(&q->rx, &q->stats.ring_bad);
    bool lent = q->n_held != 0;
    if (n > XSK_BURST)
        n = XSK_BURST;
    size_t got = 0;
    uint8_t *scratch = q->scratch;
    while (got < n && q->n_held <= (XSK_BURST - 1) * XSK_PIECES_MAX) {
        struct xdp_desc pieces[XSK_PIECES_MAX];
        uint32_t n_pieces = copy_pieces(&q->rx, avail, pieces);
        if (!n_pieces)
            break;
        if (take_frame(q, pieces, n_pieces, scratch, &frames[got])) {
            scratch += n_pieces > 1 ? q->frame_bytes_max : 0;
            got++;
        }
        q->rx.own += n_pieces;
        avail -= n_pieces;
    }
    xsk_ring_consume(&q->rx, 0);
    if (!got && !lent) /* nobody will call rx_done() */
        xsk_queue_rx_done(q);
    if (!got)
        wake_fill(q);
    return got;
}

/* --- send ------------------------------------------------------------------------------------- */

/* In copy mode the call itself sends, 32 descriptors at most: go on as long as it gets anywhere. */
static void kick(struct xsk_queue *q)
{
    uint32_t pending = xsk_ring_pending(&q->tx, &q->stats.ring_bad), before;
    do {
        if (!pending || !xsk_ring_needs_wakeup(&q->tx))
            return;
        q->stats.kicks++;
        (void)sendto(q->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
        before = pending;
        pending = xsk_ring_pending(&q->tx, &q->stats.ring_bad);
    } while (q->copy && pending < before);
}

size_t xsk_queue_tx_reserve(struct xsk_queue *q, struct qs_frame *frames, size_t n)
{
    struct xsk_umem *u = q->umem;
    uint64_t *bad = &q->stats.ring_bad;
    uint32_t descs = u->sizes.unit_chunks, want = n < XSK_BURST ? (uint32_t)n : XSK_BURST;
    uint32_t room = xsk_ring_room(&q->tx, want * descs, bad);
    if (room < want * descs) {
        kick(q); /* what a busy device left behind */
        room = xsk_ring_room(&q->tx, want * descs, bad);
    }
    if (q->n_units < want)
        q->n_units +=
            xsk_umem_take_units(u, q->units + q->n_units, XSK_UNIT_CACHE - q->n_units, bad);
    if (want > q->n_units)
        want = q->n_units;
    if (want > room / descs)
        want = room / descs;
    for (uint32_t i = 0; i < want; i++) {
        uint32_t unit = q->units[--q->n_units];
        frames[i] = (struct qs_frame){
            .data = u->mem + xsk_unit_addr(u, unit),
            .room = xsk_unit_room(&u->sizes),
            .cookie = unit,
        };
    }
    return want;
}

/* Asks the kernel for the checksum. @return what goes into the descriptor's options. */
static uint32_t put_metadata(const struct qs_frame *f)
{
    if (!(f->flags & QS_FRAME_CSUM_PARTIAL))
        return 0;
    struct xsk_tx_meta meta = {
        .flags = XSK_TXMD_FLAGS_CHECKSUM,
        .csum_start = f->csum_start,
        .csum_offset = f->csum_offset,
    };
    memcpy(f->data - sizeof meta, &meta, sizeof meta);
    return XSK_TX_METADATA;
}

/* The kernel wants room for metadata before every descriptor of its chunk, also before those that
 * continue a frame. So what lies beyond the first chunk moves up, the last piece first. */
static void spread_pieces(const struct xsk_umem *u, uint8_t *data, uint32_t len)
{
    uint32_t first = u->sizes.chunk_bytes - XSK_TX_HEADROOM;
    uint32_t piece = u->sizes.chunk_bytes - XSK_TX_GAP;
    for (uint32_t n = (len - 1 + piece - first) / piece; n > 0; n--) {
        uint32_t start = first + (n - 1) * piece;
        uint32_t bytes = len - start < piece ? len - start : piece;
        memmove(data + start + n * XSK_TX_GAP, data + start, bytes);
    }
}

/* One descriptor for each chunk that the frame touches. */
static void put_frame(struct xsk_queue *q, const struct qs_frame *f)
{
    struct xsk_umem *u = q->umem;
    uint32_t options = put_metadata(f), left = f->len, out = 0;
    uint64_t addr = xsk_unit_addr(u, (uint32_t)f->cookie);
    uint32_t room = u->sizes.chunk_bytes - XSK_TX_HEADROOM;
    if (left > room)
        spread_pieces(u, f->data, left);
    for (uint32_t piece = 0; left; piece++) {
        uint32_t bytes = left < room ? left : room;
        left -= bytes;
        *xsk_ring_desc(&q->tx, q->tx.own++) = (struct xdp_desc){
            .addr = addr,
            .len = bytes,
            .options = options | (left ? XSK_PKT_CONTD : 0),
        };
        addr += bytes + XSK_TX_GAP;
        room = u->sizes.chunk_bytes - XSK_TX_GAP;
        options = 0;
        out |= 1u << piece;
    }
    u->unit_out[f->cookie] = out;
}

void xsk_queue_tx_commit(struct xsk_queue *q, struct qs_frame *frames, size_t lent, size_t used)
{
    for (size_t i = lent; i > used; i--)
        q->units[q->n_units++] = (uint32_t)frames[i - 1].cookie;
    for (size_t i = 0; i < used; i++)
        put_frame(q, &frames[i]);
    xsk_ring_produce(&q->tx, 0);
    kick(q);
}

/* --- sleep ------------------------------------------------------------------------------------ */

/* The socket is readable as long as its ring is not empty. */
bool xsk_queue_arm(struct xsk_queue *q)
{
    kick(q);
    wake_fill(q);
    return xsk_ring_filled(&q->rx, &q->stats.ring_bad) != 0;
}
