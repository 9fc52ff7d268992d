/* SPDX-License-Identifier: Apache-2.0 */
/* A connection in the layout of Linux's struct tcp_info. */
#include <linux/tcp.h>

#include "rig.h"

#define SAME(field)                                                                                \
    _Static_assert(offsetof(struct qs_tcp_info, field) == offsetof(struct tcp_info, field) &&      \
                       sizeof((struct qs_tcp_info){0}.field) ==                                    \
                           sizeof((struct tcp_info){0}.field),                                     \
                   #field)
SAME(tcpi_state);
SAME(tcpi_ca_state);
SAME(tcpi_retransmits);
SAME(tcpi_probes);
SAME(tcpi_backoff);
SAME(tcpi_options);
SAME(tcpi_rto);
SAME(tcpi_ato);
SAME(tcpi_snd_mss);
SAME(tcpi_rcv_mss);
SAME(tcpi_unacked);
SAME(tcpi_sacked);
SAME(tcpi_lost);
SAME(tcpi_retrans);
SAME(tcpi_fackets);
SAME(tcpi_last_data_sent);
SAME(tcpi_last_ack_sent);
SAME(tcpi_last_data_recv);
SAME(tcpi_last_ack_recv);
SAME(tcpi_pmtu);
SAME(tcpi_rcv_ssthresh);
SAME(tcpi_rtt);
SAME(tcpi_rttvar);
SAME(tcpi_snd_ssthresh);
SAME(tcpi_snd_cwnd);
SAME(tcpi_advmss);
SAME(tcpi_reordering);
SAME(tcpi_rcv_rtt);
SAME(tcpi_rcv_space);
SAME(tcpi_total_retrans);
SAME(tcpi_pacing_rate);
SAME(tcpi_max_pacing_rate);
SAME(tcpi_bytes_acked);
SAME(tcpi_bytes_received);
SAME(tcpi_segs_out);
SAME(tcpi_segs_in);
SAME(tcpi_notsent_bytes);
SAME(tcpi_min_rtt);
SAME(tcpi_data_segs_in);
SAME(tcpi_data_segs_out);
SAME(tcpi_delivery_rate);
SAME(tcpi_busy_time);
SAME(tcpi_rwnd_limited);
SAME(tcpi_sndbuf_limited);
SAME(tcpi_delivered);
SAME(tcpi_delivered_ce);
SAME(tcpi_bytes_sent);
SAME(tcpi_bytes_retrans);
SAME(tcpi_dsack_dups);
SAME(tcpi_reord_seen);
SAME(tcpi_rcv_ooopack);
SAME(tcpi_snd_wnd);
/* Of 6.2; the headers may be older. */
_Static_assert(offsetof(struct qs_tcp_info, tcpi_rcv_wnd) == 232, "tcpi_rcv_wnd");
_Static_assert(offsetof(struct qs_tcp_info, tcpi_rehash) == 236, "tcpi_rehash");
_Static_assert(sizeof(struct qs_tcp_info) == 240, "struct tcp_info of Linux 6.2");
_Static_assert(QS_TCPI_OPT_TIMESTAMPS == TCPI_OPT_TIMESTAMPS, "bits");
_Static_assert(QS_TCPI_OPT_SACK == TCPI_OPT_SACK && QS_TCPI_OPT_WSCALE == TCPI_OPT_WSCALE, "bits");
_Static_assert((int)QS_TCPI_DISORDER == TCP_CA_Disorder && (int)QS_TCPI_CWR == TCP_CA_CWR,
               "states");
_Static_assert((int)QS_TCPI_RECOVERY == TCP_CA_Recovery && (int)QS_TCPI_LOSS == TCP_CA_Loss,
               "states");

static struct qs_tcp_info info(struct rig *r)
{
    struct qs_tcp_info t;
    memset(&t, 0xff, sizeof t);
    CHECK_EQ(qs_conn_tcp_info(r->e, r->conn, &t), 0);
    return t;
}

/* The bit fields have no offset: the octets they lie in are looked at through Linux's struct. */
static struct tcp_info as_linux(const struct qs_tcp_info *t)
{
    struct tcp_info out;
    memset(&out, 0, sizeof out);
    memcpy(&out, t, sizeof out < sizeof *t ? sizeof out : sizeof *t);
    return out;
}

static void states_have_linux_numbers(void)
{
    static const uint8_t want[QS_TCP_STATES] = {
        [QS_TCP_SYN_SENT] = 2,   [QS_TCP_ESTABLISHED] = 1, [QS_TCP_FIN_WAIT_1] = 4,
        [QS_TCP_FIN_WAIT_2] = 5, [QS_TCP_CLOSE_WAIT] = 8,  [QS_TCP_CLOSING] = 11,
        [QS_TCP_LAST_ACK] = 9,   [QS_TCP_TIME_WAIT] = 6,
    };
    for (int s = 0; s < QS_TCP_STATES; s++) {
        if (!want[s])
            continue;
        struct rig *r = rig_new(NULL, s % 2);
        rig_to(r, (enum qs_tcp_state)s);
        CHECK_EQ(info(r).tcpi_state, want[s]);
        rig_free(r);
    }
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    IN(20, "R.", 1, 0, 1);
    CHECK_EQ(info(r).tcpi_state, 7); /* its last event waits */
    rig_free(r);
}

static void what_the_handshake_agreed(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000 sok ts 1:0 ws 7");
    struct qs_tcp_info t = info(r);
    struct tcp_info l = as_linux(&t);
    CHECK_EQ(t.tcpi_options, TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
    CHECK_EQ(l.tcpi_snd_wscale, 7);
    CHECK_EQ(l.tcpi_rcv_wscale, 3);
    CHECK_EQ(t.tcpi_snd_mss, 988);
    CHECK_EQ(t.tcpi_rcv_mss, 1448);
    CHECK_EQ(t.tcpi_advmss, 1460);
    CHECK_EQ(t.tcpi_pmtu, 1500);
    CHECK_EQ(t.tcpi_ato, 40000);
    CHECK_EQ(t.tcpi_rcv_space, 256 * 1024);
    CHECK_EQ(t.tcpi_rcv_ssthresh, 256 * 1024);
    CHECK_EQ(t.tcpi_rcv_wnd, 65535);
    CHECK_EQ(t.tcpi_snd_wnd, 65535 << 7);
    CHECK_EQ(t.tcpi_reordering, 3);
    CHECK_EQ(t.tcpi_snd_cwnd, 10);
    CHECK_EQ(t.tcpi_snd_ssthresh, 0x7fffffff);
    CHECK(t.tcpi_rtt >= 9990 && t.tcpi_rtt <= 10010);
    CHECK(t.tcpi_rttvar >= 4990 && t.tcpi_rttvar <= 5010);
    CHECK_EQ(t.tcpi_rto, 200000);
    rig_free(r);
    r = rig_new(NULL, false);
    rig_establish(r, "mss 1000");
    CHECK_EQ(info(r).tcpi_options, 0);
    CHECK_EQ(info(r).tcpi_snd_mss, 1000);
    CHECK_EQ(info(r).tcpi_rcv_ssthresh, 65535);
    rig_free(r);
}

/* The size that the buffer has grown to, and as much of it as the window field can say. */
static void the_receive_buffer_as_it_is_now(void)
{
    qs_engine_opts o = rig_opts();
    o.rcvbuf_initial_bytes = 16384;
    o.growth_bytes[0] = 1u << 20;
    struct rig *r = rig_new(&o, false);
    rig_establish(r, "mss 1000 ws 0");
    CHECK_EQ(info(r).tcpi_rcv_wscale, 3);
    CHECK_EQ(info(r).tcpi_rcv_space, 16384);
    CHECK_EQ(info(r).tcpi_rcv_ssthresh, 16384);
    for (uint32_t i = 0; i < 40; i++) { /* more than half of it in a round trip of 10 ms */
        rig_in(r, 20 + i, &(struct seg){".", 1 + 1000 * i, 1000, 1});
        CHECK_EQ(rig_read(r, 1000), 1000);
    }
    CHECK_EQ(info(r).tcpi_rcv_space, 32768);
    CHECK_EQ(info(r).tcpi_rcv_ssthresh, 32768);
    rig_free(r);
}

static void what_is_out_and_what_waits(void)
{
    struct rig *r = rig_new(NULL, false);
    r->wnd = 2500;
    rig_establish(r, NULL);
    rig_write(r, 6000);
    CHECK_EQ(info(r).tcpi_unacked, 0);
    CHECK_EQ(info(r).tcpi_notsent_bytes, 6000);
    rig_run(r, 15);
    rig_flush(r);
    struct qs_tcp_info t = info(r);
    CHECK_EQ(t.tcpi_unacked, 2);
    CHECK_EQ(t.tcpi_notsent_bytes, 4000);
    CHECK_EQ(t.tcpi_last_data_sent, 5);
    CHECK_EQ(t.tcpi_ca_state, TCP_CA_Open);
    rig_run(r, 700); /* the timer expired at 210 and 610 */
    rig_flush(r);
    t = info(r);
    CHECK_EQ(t.tcpi_ca_state, TCP_CA_Loss);
    CHECK_EQ(t.tcpi_retransmits, 2);
    CHECK_EQ(t.tcpi_backoff, 2);
    CHECK_EQ(t.tcpi_rto, 800000);
    CHECK_EQ(t.tcpi_total_retrans, 2);
    CHECK_EQ(t.tcpi_unacked, 2);
    CHECK_EQ(t.tcpi_notsent_bytes, 4000);
    CHECK_EQ(t.tcpi_snd_cwnd, 1);
    CHECK_EQ(t.tcpi_snd_ssthresh, 2);
    rig_free(r);
}

static void disorder_and_recovery(void)
{
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, NULL);
    rig_write(r, 10000);
    rig_run(r, 10);
    for (int i = 1; i <= 3; i++) {
        rig_in(r, 20, &(struct seg){".", 1, 0, 1});
        CHECK_EQ(info(r).tcpi_ca_state, i < 3 ? TCP_CA_Disorder : TCP_CA_Recovery);
    }
    CHECK_EQ(info(r).tcpi_snd_ssthresh, 7); /* CUBIC's share of ten */
    rig_free(r);
}

static void probes(void)
{
    struct rig *r = rig_new(NULL, false);
    struct qs_conn_opts o;
    qs_conn_opts_init(&o);
    o.keepalive = true;
    o.keepalive_idle = o.keepalive_interval = QS_S(1);
    rig_establish(r, NULL);
    CHECK_EQ(qs_conn_set_opts(r->e, r->conn, &o), 0);
    rig_run(r, 2500);
    CHECK_EQ(info(r).tcpi_probes, 2);
    rig_flush(r);
    r->wnd = 0;
    IN(2600, ".", 1, 0, 1);
    CHECK_EQ(info(r).tcpi_probes, 0);
    rig_write(r, 100);
    rig_run(r, 4100); /* 200, 400, 800 ms */
    CHECK_EQ(info(r).tcpi_probes, 3);
    CHECK_EQ(info(r).tcpi_retransmits, 0);
    CHECK_EQ(info(r).tcpi_ca_state, TCP_CA_Open);
    rig_free(r);
}

/* What is not kept is zero, and of a stale handle everything is. */
static void the_rest_is_zero(void)
{
    static const struct qs_tcp_info zero;
    struct rig *r = rig_new(NULL, false);
    rig_establish(r, "mss 1000 sok ts 1:0 ws 7");
    rig_write(r, 5000);
    rig_run(r, 1000);
    struct qs_tcp_info t = info(r);
    size_t from =
        offsetof(struct qs_tcp_info, tcpi_max_pacing_rate) + sizeof t.tcpi_max_pacing_rate;
    size_t to = offsetof(struct qs_tcp_info, tcpi_notsent_bytes);
    CHECK_MEM((const uint8_t *)&t + from, (const uint8_t *)&zero + from, to - from);
    from = offsetof(struct qs_tcp_info, tcpi_min_rtt);
    to = offsetof(struct qs_tcp_info, tcpi_snd_wnd);
    CHECK_MEM((const uint8_t *)&t + from, (const uint8_t *)&zero + from, to - from);
    CHECK_EQ(qs_conn_abort(r->e, r->conn), 0);
    CHECK_EQ(qs_conn_tcp_info(r->e, r->conn, &t), QS_ERR_STALE);
    CHECK_MEM(&t, &zero, sizeof t);
    rig_free(r);
}

int main(void)
{
    RUN(states_have_linux_numbers);
    RUN(what_the_handshake_agreed);
    RUN(the_receive_buffer_as_it_is_now);
    RUN(what_is_out_and_what_waits);
    RUN(disorder_and_recovery);
    RUN(probes);
    RUN(the_rest_is_zero);
    return TEST_RESULT();
}
