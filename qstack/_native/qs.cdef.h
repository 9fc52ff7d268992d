/* SPDX-License-Identifier: Apache-2.0 */
/* What Python sees of the C library, checked against the headers by the compiler. */

static const int QS_ERR_ARG, QS_ERR_NOMEM, QS_ERR_STALE, QS_ERR_AGAIN, QS_ERR_CLOSED, QS_ERR_EOF,
    QS_ERR_RESET, QS_ERR_TIMEDOUT, QS_ERR_REFUSED, QS_ERR_UNREACH, QS_ERR_ADDRINUSE,
    QS_ERR_ADDRNOTAVAIL, QS_ERR_NOTSUP, QS_ERR_PERM, QS_ERR_NODEV, QS_ERR_BUSY, QS_ERR_SYS,
    QS_ERR_STATE, QS_ERR_FRAMING;
static const int QS_N_QUEUES_MAX;
static const int QS_N_COUNTERS;
static const int QS_N_CLASS_COUNTERS, QS_N_STAGES, QS_RESIDENCY_BUCKETS;
static const int QS_OFFLOAD_TX_CSUM, QS_OFFLOAD_TSO;
static const int QS_EVENT_OPEN, QS_EVENT_READABLE, QS_EVENT_WRITABLE, QS_EVENT_EOF,
    QS_EVENT_CLOSED, QS_EVENT_MOVED;
enum qs_neigh_mode { QS_NEIGH_OWN, QS_NEIGH_TOLD };
enum qs_tcp_state {
    QS_TCP_CLOSED,
    QS_TCP_LISTEN,
    QS_TCP_SYN_SENT,
    QS_TCP_SYN_RECEIVED,
    QS_TCP_ESTABLISHED,
    QS_TCP_FIN_WAIT_1,
    QS_TCP_FIN_WAIT_2,
    QS_TCP_CLOSE_WAIT,
    QS_TCP_CLOSING,
    QS_TCP_LAST_ACK,
    QS_TCP_TIME_WAIT,
    ...
};

typedef struct { uint64_t ns; } qs_dur;
typedef struct { uint64_t ns; } qs_time;
typedef struct { uint8_t b[16]; } qs_addr;
typedef struct { uint64_t v; } qs_conn;
typedef struct qs_stack qs_stack;
typedef struct qs_app qs_app;
struct qs_diag { char text[320]; };

const char *qs_strerror(int code);
const char *qs_counter_name(size_t idx);
const char *qs_counter_text(size_t idx);
const char *qs_class_counter_name(size_t idx);
const char *qs_stage_name(size_t idx);
const char *qs_stage_text(size_t idx);
uint64_t qs_residency_bound_ns(size_t idx);

typedef struct qs_stack_opts {
    const char *driver;
    const char *ifname;
    uint32_t n_queues;
    uint32_t n_workers;
    uint32_t workers_max;
    uint32_t workers_min;
    int32_t first_cpu;
    const char *addr4;
    const char *addr6;
    const char *host_addr4;
    const char *host_addr6;
    const char *gateway4;
    const char *gateway6;
    uint16_t vlans[16];
    uint32_t mtu;
    uint32_t conns_max;
    uint32_t chunks_max;
    uint32_t rcvbuf_bytes;
    uint32_t sndbuf_bytes;
    uint32_t rcvbuf_initial_bytes;
    uint32_t sndbuf_initial_bytes;
    uint64_t growth_bytes[8];
    uint16_t min_share_permille[8];
    uint16_t reserved_permille[8];
    uint8_t dscp[8];
    uint64_t source_bytes_per_second[8];
    uint8_t source_bits4, source_bits6;
    qs_dur poll_idle;
    uint32_t pair_side;
    bool no_offload;
    ...;
} qs_stack_opts;
void qs_stack_opts_init(qs_stack_opts *o);
int qs_stack_new(qs_stack **out, const qs_stack_opts *o, struct qs_diag *diag);
int qs_stack_start(qs_stack *s, struct qs_diag *diag);
void qs_stack_stop(qs_stack *s);
void qs_stack_free(qs_stack *s);

struct qs_stack_info {
    char driver[8];
    char ifname[32];
    char mode[24];
    uint32_t n_queues, n_workers, workers_max;
    uint32_t offloads;
    bool rx_csum;
    bool soft_nic;
    uint32_t mtu;
    uint8_t mac[6];
    ...;
};
void qs_stack_info(const qs_stack *s, struct qs_stack_info *out);
size_t qs_stack_class_counters(const qs_stack *s, uint32_t queue, uint32_t prio, uint64_t *out,
                               size_t n);
struct qs_timeline {
    qs_addr remote;
    uint16_t remote_port, local_port;
    qs_time arrived;
    uint64_t event_ns, answer_ns, transmit_ns;
};
bool qs_stack_slowest(const qs_stack *s, uint32_t prio, struct qs_timeline *out);
size_t qspy_residency(const qs_stack *s, uint32_t prio, uint32_t stage, uint64_t *counts, size_t n);
size_t qs_stack_counters(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n);

enum qs_worker_state { QS_WORKER_ABSENT, QS_WORKER_ACTIVE, QS_WORKER_PARKED };
struct qs_worker_stats {
    enum qs_worker_state state;
    uint64_t polls;
    uint64_t busy_polls;
    uint64_t sleeps;
    uint64_t busy_ns;
    uint64_t cpu_ns;
    uint64_t contended_ns[8];
    ...;
};
int qs_stack_worker_stats(const qs_stack *s, uint32_t worker, struct qs_worker_stats *out);

struct qs_bucket_move {
    uint32_t bucket, queue;
};
struct qs_flow_stats {
    uint64_t arrived, lost, held, relayed, frames_lost;
    qs_dur pause;
};
extern "Python" int qspy_write_table(void *ctx, const struct qs_bucket_move *moves, size_t n);
int qs_stack_buckets_move(qs_stack *s, const struct qs_bucket_move *moves, size_t n,
                          int (*write)(void *, const struct qs_bucket_move *, size_t), void *ctx,
                          qs_dur timeout, struct qs_diag *diag);
static const int QS_BUCKETS_MAX;
size_t qs_stack_bucket_frames(const qs_stack *s, uint32_t queue, uint64_t *out, size_t n);
int qs_stack_flow_stats(const qs_stack *s, uint32_t queue, struct qs_flow_stats *out);

struct qs_place {
    uint32_t worker;
    uint32_t wanted;
    uint64_t moves;
    qs_dur pause;
    ...;
};
int qs_stack_move(qs_stack *s, uint32_t queue, uint32_t worker, struct qs_diag *diag);
int qs_stack_move_wait(qs_stack *s, uint32_t queue, qs_dur timeout);
int qs_stack_place(const qs_stack *s, uint32_t queue, struct qs_place *out);
int qs_stack_worker_add(qs_stack *s, struct qs_diag *diag);
int qs_stack_worker_park(qs_stack *s, uint32_t worker, struct qs_diag *diag);
int qs_stack_worker_wake(qs_stack *s, uint32_t worker, struct qs_diag *diag);
int qs_stack_worker_remove(qs_stack *s, uint32_t worker, qs_dur timeout, struct qs_diag *diag);

int qs_app_new(qs_app **out, uint32_t *index, qs_stack *s, size_t ring_bytes);
void qs_app_free(qs_app *a);
struct qs_app_event {
    qs_conn conn;
    const uint8_t *data;
    uint32_t len;
    uint32_t flags;
    int32_t listener;
    int err;
    uint8_t prio;
    qs_conn moved_from;
    ...;
};
int qs_app_wait(qs_app *a, struct qs_app_event *events, size_t n, qs_dur timeout);
void qs_app_wake(qs_app *a);

enum qs_framing {
    QS_FRAMING_LENGTH,
    QS_FRAMING_DELIMITER,
    QS_FRAMING_HTTP1,
    QS_FRAMING_RESP,
    QS_FRAMING_FUNCTION,
    ...
};
struct qs_framing_opts {
    uint32_t message_max;
    uint32_t length_at, length_octets;
    int32_t length_adds;
    bool length_little;
    uint8_t delimiter[8];
    uint32_t delimiter_octets;
    int64_t (*fn)(const uint8_t *data, size_t len, void *ctx);
    ...;
};
void qs_framing_opts_init(struct qs_framing_opts *o, enum qs_framing kind);
struct qs_flow {
    qs_addr local, remote;
    uint16_t local_port, remote_port;
    uint16_t vlan;
    uint8_t pcp;
    uint8_t dscp;
    uint8_t prio;
    ...;
};
#define QS_MATCH_REMOTE ...
#define QS_MATCH_REMOTE_PORT ...
#define QS_MATCH_DSCP ...
#define QS_MATCH_OCTETS ...
#define QS_MATCH_HTTP_PATH ...
#define QS_MATCH_HTTP_HEADER ...
#define QS_MATCH_VLAN ...
#define QS_MATCH_PCP ...
struct qs_match {
    uint32_t what;
    uint8_t prio;
    qs_addr remote;
    uint8_t remote_bits;
    uint16_t port_first, port_last;
    uint16_t vlan;
    uint8_t pcp;
    uint8_t dscp;
    uint16_t at;
    uint8_t n_octets;
    uint8_t octets[16], mask[16];
    char name[32];
    char text[64];
    ...;
};
struct qs_classifier_opts {
    const struct qs_match *matches;
    uint32_t n_matches;
    int (*fn)(const struct qs_flow *flow, const uint8_t *data, size_t len, void *ctx);
    ...;
};
void qs_classifier_opts_init(struct qs_classifier_opts *o);
int qs_stack_messages(qs_stack *s, const struct qs_framing_opts *framing,
                      const struct qs_classifier_opts *classifier, struct qs_diag *diag);
struct qs_function_stats {
    uint64_t overruns;
    uint64_t interrupted;
    bool set_aside;
    ...;
};
int qs_stack_function_stats(const qs_stack *s, int number, bool classifier,
                            struct qs_function_stats *out);

/* Shorthands of qs.csrc.c: a handle as a plain integer. */
int qspy_listen(qs_stack *s, const qs_addr *addr, uint16_t port, uint8_t prio, const char *cc,
                uint64_t keepalive_ns, uint64_t user_timeout_ns, bool nodelay, bool pacing,
                uint64_t pacing_rate_max, uint32_t rcvbuf_bytes, uint32_t sndbuf_bytes,
                uint16_t mss_max, bool shed_rst, uint8_t messages, uint32_t app,
                struct qs_diag *diag);
int qspy_send(qs_app *a, uint64_t conn, uint32_t prio, const char *buf, size_t len);
int64_t qspy_write(qs_app *a, uint64_t conn, const char *buf, size_t len);
int qspy_shutdown(qs_app *a, uint64_t conn);
int qspy_close(qs_app *a, uint64_t conn);
int qspy_abort(qs_app *a, uint64_t conn);
int qspy_peer(qs_app *a, uint64_t conn, qs_addr *remote, uint16_t *port);

/* One engine in virtual time, for qstack.testing. */
typedef struct qs_engine qs_engine;
typedef struct qs_engine_opts {
    uint32_t conns_max;
    uint32_t chunks_max;
    uint32_t rcvbuf_bytes;
    uint32_t sndbuf_bytes;
    uint32_t rcvbuf_initial_bytes;
    uint32_t sndbuf_initial_bytes;
    uint64_t growth_bytes[8];
    uint32_t mtu;
    uint8_t mac[6];
    uint8_t secret[32];
    enum qs_neigh_mode neigh_mode;
    qs_dur rto_initial;
    qs_dur rto_min;
    qs_dur rto_max;
    qs_dur delayed_ack;
    qs_dur time_wait;
    qs_dur fin_wait_2;
    qs_dur user_timeout;
    uint32_t syn_retries_max;
    ...;
} qs_engine_opts;
void qs_engine_opts_init(qs_engine_opts *o);
void qs_engine_free(qs_engine *e);
int qs_engine_addr_add(qs_engine *e, const qs_addr *addr, uint32_t prefix_len);
int qs_engine_gateway_set(qs_engine *e, const qs_addr *gateway);
void qs_engine_neigh_del(qs_engine *e, const qs_addr *addr);
int qs_engine_unlisten(qs_engine *e, int listener);
size_t qs_engine_counters(const qs_engine *e, uint64_t *out, size_t n);

struct qs_conn_opts {
    bool keepalive;
    qs_dur keepalive_idle;
    qs_dur keepalive_interval;
    uint32_t keepalive_count;
    qs_dur user_timeout;
    bool nagle;
    bool pacing;
    uint64_t pacing_rate_max;
    uint32_t rcvbuf_bytes, sndbuf_bytes;
    uint16_t mss_max;
    const char *cc;
    ...;
};
void qs_conn_opts_init(struct qs_conn_opts *o);

struct qs_listen_opts {
    qs_addr addr;
    uint16_t port;
    uint8_t prio;
    uint32_t backlog;
    struct qs_conn_opts conn;
    bool no_ecn;
    ...;
};
void qs_listen_opts_init(struct qs_listen_opts *o);
int qs_engine_listen(qs_engine *e, const struct qs_listen_opts *o);

struct qs_open_opts {
    qs_addr local;
    qs_addr remote;
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t prio;
    struct qs_conn_opts conn;
    bool ecn;
    ...;
};
void qs_open_opts_init(struct qs_open_opts *o);

struct qs_event {
    qs_conn conn;
    uint32_t flags;
    int32_t listener;
    int err;
    uint8_t prio;
    ...;
};
size_t qs_engine_events(qs_engine *e, struct qs_event *events, size_t n);

struct qs_conn_info {
    qs_addr local, remote;
    uint16_t local_port, remote_port;
    enum qs_tcp_state state;
    uint8_t prio;
    uint32_t readable_bytes;
    uint32_t writable_bytes;
    uint32_t unacked_bytes;
    uint32_t rcvbuf_bytes;
    uint32_t sndbuf_bytes;
    uint32_t mss_octets;
    uint32_t cwnd_octets, ssthresh_octets;
    qs_dur srtt, rttvar, rto;
    uint32_t retransmits;
    const char *cc;
    ...;
};

int qspy_engine_new(qs_engine **out, const qs_engine_opts *o);
void qspy_engine_rx(qs_engine *e, const char *frame, size_t len, uint64_t now);
size_t qspy_engine_tx(qs_engine *e, char *buf, size_t room, uint64_t now);
uint64_t qspy_engine_deadline(const qs_engine *e);
int qspy_neigh_set(qs_engine *e, const qs_addr *addr, const char *mac, uint64_t now);
int qspy_conn_open(qs_engine *e, const struct qs_open_opts *o, uint64_t now, uint64_t *conn);
int64_t qspy_conn_read(qs_engine *e, uint64_t conn, char *buf, size_t len);
int64_t qspy_conn_write(qs_engine *e, uint64_t conn, const char *buf, size_t len);
int qspy_conn_want_write(qs_engine *e, uint64_t conn);
int qspy_conn_shutdown(qs_engine *e, uint64_t conn);
int qspy_conn_close(qs_engine *e, uint64_t conn);
int qspy_conn_abort(qs_engine *e, uint64_t conn);
int qspy_conn_set_opts(qs_engine *e, uint64_t conn, const struct qs_conn_opts *o);
int qspy_conn_get_opts(const qs_engine *e, uint64_t conn, struct qs_conn_opts *out);
int qspy_conn_info(const qs_engine *e, uint64_t conn, struct qs_conn_info *out);
