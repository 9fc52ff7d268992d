/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the embedded BPF objects through libbpf. libbpf prints nothing: the last line of the
 * verifier or of the kernel goes into the caller's diag. */
#include "steer.h"

#include "bpf/qs_xdp_layout.h"
#include "softnic.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const unsigned char qs_tap_object[], qs_xdp_object[];
extern const unsigned long qs_tap_object_bytes, qs_xdp_object_bytes;

struct qs_steer {
    enum qs_steer_kind kind;
    struct bpf_object *object;
    struct qs_softnic *nic; /* mapped from the map qs_softnic, or NULL */
    size_t nic_bytes;
    int prog_fd, filter_fd, sockets_fd, claims_fd, counts_fd, link_fd;
};

#define SAY(diag, ...) ((void)snprintf((diag)->text, sizeof(diag)->text, __VA_ARGS__))

static qs_err err_of_errno(int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return QS_ERR_PERM;
    case ENOMEM:
    case E2BIG:
        return QS_ERR_NOMEM;
    case ENODEV:
    case ENXIO:
        return QS_ERR_NODEV;
    case EBUSY:
    case EEXIST:
        return QS_ERR_BUSY;
    case EOPNOTSUPP:
    case ENOSYS:
        return QS_ERR_NOTSUP;
    default:
        return QS_ERR_SYS;
    }
}

/* Puts the last line of `log` that says something, after the verifier's statistics are cut off,
 * into `line`. */
static void last_line(char *log, char *line, size_t room)
{
    static const char *const statistics[] = {"processed ", "verification time", "stack depth",
                                             "Caller passes invalid"};
    line[0] = '\0';
    for (char *save = NULL, *l = strtok_r(log, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        bool skip = false;
        for (size_t i = 0; i < sizeof statistics / sizeof statistics[0]; i++)
            skip |= strncmp(l, statistics[i], strlen(statistics[i])) == 0;
        if (!skip)
            (void)snprintf(line, room, "%s", l);
    }
}

static int print_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
    (void)level, (void)format, (void)args;
    return 0;
}

/* libbpf's print function belongs to the process: it is ours for one call of libbpf and then put
 * back. */
static pthread_mutex_t quiet = PTHREAD_MUTEX_INITIALIZER;

static libbpf_print_fn_t hush(void)
{
    pthread_mutex_lock(&quiet);
    return libbpf_set_print(print_nothing);
}

static void unhush(libbpf_print_fn_t before)
{
    libbpf_set_print(before);
    pthread_mutex_unlock(&quiet);
}

static const char *prog_name(enum qs_steer_kind kind)
{
    return kind == QS_STEER_TAP       ? "qs_tap_steer"
           : kind == QS_STEER_XDP_NIC ? "qs_xdp_nic"
                                      : "qs_xdp_soft";
}

static struct bpf_object *open_object(enum qs_steer_kind kind, char *log, size_t log_bytes)
{
    LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "qstack", .kernel_log_buf = log,
                .kernel_log_size = log_bytes);
    if (kind == QS_STEER_TAP)
        return bpf_object__open_mem(qs_tap_object, qs_tap_object_bytes, &opts);
    struct bpf_object *object = bpf_object__open_mem(qs_xdp_object, qs_xdp_object_bytes, &opts);
    if (!object)
        return NULL;
    const char *other = prog_name(kind == QS_STEER_XDP_NIC ? QS_STEER_XDP_SOFT : QS_STEER_XDP_NIC);
    (void)bpf_program__set_autoload(bpf_object__find_program_by_name(object, other), false);
    if (kind == QS_STEER_XDP_NIC)
        (void)bpf_map__set_autocreate(bpf_object__find_map_by_name(object, "qs_softnic"), false);
    return object;
}

static uint64_t effective_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    (void)syscall(SYS_capget, &head, data);
    return (uint64_t)data[1].effective << 32 | data[0].effective;
}

/* Writes what this process lacks to load a program of `kind`; empty when it has all rights. Without
 * CAP_PERFMON the verifier refuses the software NIC's loops and table look-ups, in various words.
 */
static void missing_capabilities(enum qs_steer_kind kind, char *names, size_t room)
{
    static const struct {
        uint32_t number;
        const char *name;
        bool needed[3]; /* by kind */
    } rights[] = {{CAP_BPF, "CAP_BPF", {true, true, true}},
                  {CAP_NET_ADMIN, "CAP_NET_ADMIN", {false, true, true}},
                  {CAP_PERFMON, "CAP_PERFMON", {true, false, true}}};
    uint64_t have = effective_capabilities();
    names[0] = '\0';
    if (have >> CAP_SYS_ADMIN & 1)
        have |= 1ull << CAP_BPF | 1ull << CAP_PERFMON;
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        size_t used = strlen(names);
        if (rights[i].needed[kind] && !(have >> rights[i].number & 1))
            (void)snprintf(names + used, room - used, "%s%s", used ? ", " : "", rights[i].name);
    }
}

static qs_err say_not_loaded(enum qs_steer_kind kind, int error, char *log, struct qs_diag *diag)
{
    char missing[64], line[200];
    missing_capabilities(kind, missing, sizeof missing);
    last_line(log, line, sizeof line);
    if (*missing) {
        SAY(diag,
            "the BPF program %s was not loaded: the process lacks %s; run as root or give it that",
            prog_name(kind), missing);
        return QS_ERR_PERM;
    }
    SAY(diag, "the BPF program %s was not loaded: %s%s%s", prog_name(kind), strerror(error),
        *line ? "; the verifier says: " : "", line);
    return *line ? QS_ERR_SYS : err_of_errno(error);
}

static qs_err load_object(struct qs_steer *s, struct qs_diag *diag)
{
    enum { LOG_BYTES = 1 << 20 };
    char *log = calloc(1, LOG_BYTES);
    if (!log)
        return SAY(diag, "no memory to load BPF programs"), QS_ERR_NOMEM;
    libbpf_print_fn_t before = hush();
    s->object = open_object(s->kind, log, LOG_BYTES);
    int error = s->object ? bpf_object__load(s->object) : -errno;
    unhush(before);
    qs_err code = error ? say_not_loaded(s->kind, -error, log, diag) : 0;
    free(log);
    return code;
}

static int map_fd(const struct qs_steer *s, const char *name)
{
    const struct bpf_map *map = bpf_object__find_map_by_name(s->object, name);
    return map ? bpf_map__fd(map) : -1;
}

static int prog_fd(const struct qs_steer *s, const char *name)
{
    return bpf_program__fd(bpf_object__find_program_by_name(s->object, name));
}

static qs_err map_softnic(struct qs_steer *s, uint32_t n_queues, struct qs_diag *diag)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (sizeof *s->nic + page - 1) / page * page;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd(s, "qs_softnic"), 0);
    if (at == MAP_FAILED) {
        int error = errno;
        SAY(diag, "the software NIC's BPF map (%zu bytes) was not mapped: %s", bytes,
            strerror(error));
        return err_of_errno(error);
    }
    s->nic = at;
    s->nic_bytes = bytes;
    qs_softnic_init(s->nic, n_queues);
    return 0;
}

qs_err qs_steer_open(struct qs_steer **out, enum qs_steer_kind kind, uint32_t n_queues,
                     struct qs_diag *diag)
{
    uint32_t most = kind == QS_STEER_XDP_NIC ? QS_XDP_SOCKETS_MAX : QS_SOFTNIC_QUEUES_MAX;
    *out = NULL;
    if (n_queues == 0 || n_queues > most) {
        SAY(diag, "%u queues asked for, 1 to %u are possible", n_queues, most);
        return QS_ERR_ARG;
    }
    struct qs_steer *s = calloc(1, sizeof *s);
    if (!s)
        return SAY(diag, "no memory for the state of the BPF programs"), QS_ERR_NOMEM;
    s->kind = kind;
    s->prog_fd = s->filter_fd = s->sockets_fd = s->claims_fd = s->counts_fd = s->link_fd = -1;
    qs_err err = load_object(s, diag);
    if (!err) {
        s->prog_fd = prog_fd(s, prog_name(kind));
        if (kind == QS_STEER_TAP) {
            s->filter_fd = prog_fd(s, "qs_tap_filter");
        } else {
            s->sockets_fd = map_fd(s, "qs_sockets");
            s->claims_fd = map_fd(s, "qs_claims");
            s->counts_fd = map_fd(s, "qs_counts");
        }
        if (kind != QS_STEER_XDP_NIC)
            err = map_softnic(s, n_queues, diag);
    }
    if (err) {
        qs_steer_close(s);
        return err;
    }
    *out = s;
    return 0;
}

void qs_steer_close(struct qs_steer *s)
{
    if (!s)
        return;
    if (s->link_fd >= 0)
        close(s->link_fd);
    if (s->nic)
        munmap(s->nic, s->nic_bytes);
    bpf_object__close(s->object);
    free(s);
}

struct qs_softnic *qs_steer_softnic(const struct qs_steer *s)
{
    return s->nic;
}

int qs_steer_prog_fd(const struct qs_steer *s)
{
    return s->prog_fd;
}

int qs_steer_filter_fd(const struct qs_steer *s)
{
    return s->filter_fd;
}

qs_err qs_steer_set_socket(struct qs_steer *s, uint32_t queue, int fd, struct qs_diag *diag)
{
    if (s->sockets_fd < 0)
        return SAY(diag, "a TAP has no AF_XDP sockets"), QS_ERR_STATE;
    if (bpf_map_update_elem(s->sockets_fd, &queue, &fd, BPF_ANY) == 0)
        return 0;
    int error = errno;
    SAY(diag, "descriptor %d was not taken as the AF_XDP socket of queue %u (at most %u): %s", fd,
        queue, QS_XDP_SOCKETS_MAX, strerror(error));
    return error == EBADF || error == ENOTSOCK || error == EINVAL || error == E2BIG ||
                   error == EOPNOTSUPP
               ? QS_ERR_ARG
               : err_of_errno(error);
}

/* A program that is on the device already, or 0. */
static uint32_t attached_program(uint32_t ifindex)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, query);
    libbpf_print_fn_t before = hush();
    int error = bpf_xdp_query((int)ifindex, 0, &query);
    unhush(before);
    if (error)
        return 0;
    return query.prog_id       ? query.prog_id
           : query.drv_prog_id ? query.drv_prog_id
           : query.skb_prog_id ? query.skb_prog_id
                               : query.hw_prog_id;
}

static int try_attach(struct qs_steer *s, uint32_t ifindex, uint32_t flags)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
    libbpf_print_fn_t before = hush();
    int fd = bpf_link_create(s->prog_fd, (int)ifindex, BPF_XDP, &opts);
    unhush(before);
    if (fd < 0)
        return -fd;
    s->link_fd = fd;
    return 0;
}

qs_err qs_steer_attach(struct qs_steer *s, uint32_t ifindex, bool *native, struct qs_diag *diag)
{
    char name[IF_NAMESIZE] = "?";
    *native = false;
    if (s->kind == QS_STEER_TAP || s->link_fd >= 0)
        return SAY(diag, "this program is not for XDP, or is attached already"), QS_ERR_STATE;
    if (!if_indextoname(ifindex, name))
        return SAY(diag, "there is no device with index %u", ifindex), QS_ERR_NODEV;
    uint32_t other = attached_program(ifindex);
    if (other) {
        SAY(diag,
            "%s has an XDP program already (id %u) and it was left alone; take it off with "
            "'ip link set dev %s xdp off', or end the process that holds it",
            name, other, name);
        return QS_ERR_BUSY;
    }
    int in_driver = try_attach(s, ifindex, XDP_FLAGS_DRV_MODE);
    *native = in_driver == 0;
    if (in_driver == 0)
        return 0;
    int generic = try_attach(s, ifindex, XDP_FLAGS_SKB_MODE);
    if (generic == 0)
        return 0;
    SAY(diag, "XDP was not attached to %s: in the driver: %s; generic: %s%s", name,
        strerror(in_driver), strerror(generic),
        generic == EPERM ? "; CAP_NET_ADMIN is needed" : "");
    return err_of_errno(generic);
}

static struct qs_xdp_claim claim_of(const qs_addr *addr, uint16_t port)
{
    struct qs_xdp_claim claim = {.port = {(uint8_t)(port >> 8), (uint8_t)port}};
    memcpy(claim.addr, addr->b, sizeof claim.addr);
    return claim;
}

qs_err qs_steer_claim(struct qs_steer *s, const qs_addr *addr, uint16_t port, struct qs_diag *diag)
{
    struct qs_xdp_claim claim = claim_of(addr, port);
    uint8_t one = 1;
    if (s->claims_fd < 0)
        return SAY(diag, "a TAP has no claims: every frame is ours"), QS_ERR_STATE;
    if (bpf_map_update_elem(s->claims_fd, &claim, &one, BPF_ANY) == 0)
        return 0;
    int error = errno;
    char text[INET6_ADDRSTRLEN] = "?";
    (void)inet_ntop(AF_INET6, addr->b, text, sizeof text);
    SAY(diag, "TCP port %u of %s was not taken from the kernel: %s (at most %u ports at once)",
        port, text, strerror(error), QS_XDP_CLAIMS_MAX);
    return err_of_errno(error);
}

void qs_steer_unclaim(struct qs_steer *s, const qs_addr *addr, uint16_t port)
{
    struct qs_xdp_claim claim = claim_of(addr, port);
    if (s->claims_fd >= 0)
        (void)bpf_map_delete_elem(s->claims_fd, &claim);
}

static qs_err read_count(const struct qs_steer *s, uint32_t row, uint64_t *sum)
{
    int n_cpus = libbpf_num_possible_cpus();
    if (n_cpus < 1)
        return QS_ERR_SYS;
    uint64_t *values = calloc((size_t)n_cpus, sizeof *values);
    if (!values)
        return QS_ERR_NOMEM;
    int error = bpf_map_lookup_elem(s->counts_fd, &row, values);
    *sum = 0;
    for (int i = 0; i < n_cpus; i++)
        *sum += values[i];
    free(values);
    return error ? QS_ERR_SYS : 0;
}

qs_err qs_steer_read_counts(const struct qs_steer *s, struct qs_steer_counts *out)
{
    memset(out, 0, sizeof *out);
    if (s->counts_fd < 0)
        return QS_ERR_STATE;
    qs_err err = read_count(s, QS_XDP_TO_SOCKET, &out->to_socket);
    if (!err)
        err = read_count(s, QS_XDP_PASSED, &out->passed);
    return err ? err : read_count(s, QS_XDP_NO_SOCKET, &out->no_socket);
}
