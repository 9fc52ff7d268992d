/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pair_wire.h"

#include "io/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

uint32_t qs_wire_slot_bytes(uint32_t frame_bytes)
{
    uint32_t lines = (frame_bytes + 63u) / 64u;
    return (lines | 1u) * 64u;
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + 4095u) & ~(size_t)4095u;
}

/* Sleepers, paths of side 0 and 1, pools of side 0 and 1, each from a page boundary on. */
static void lay_out(struct qs_wire *w)
{
    size_t n0 = w->shape.n_queues[0], n1 = w->shape.n_queues[1];
    size_t paths = whole_pages(n0 * n1 * sizeof(struct qs_wire_path));
    size_t pool = (size_t)QS_WIRE_SLOTS * w->shape.slot_bytes;
    w->paths_at[0] = whole_pages(2 * QS_N_QUEUES_MAX * sizeof(struct qs_wire_sleeper));
    w->paths_at[1] = w->paths_at[0] + paths;
    w->pools_at[0] = w->paths_at[1] + paths;
    w->pools_at[1] = w->pools_at[0] + whole_pages(n0 * pool);
    w->bytes = w->pools_at[1] + whole_pages(n1 * pool);
}

qs_err qs_wire_memfd(int *out_fd, const char *name, size_t bytes, struct qs_diag *diag)
{
    *out_fd = -1;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, SEALS) == 0) {
        *out_fd = fd;
        return 0;
    }
    int why = errno;
    if (fd >= 0)
        close(fd);
    return qs_fail(diag, qs_err_of_errno(why), "cannot make %zu MiB of shared memory: %s",
                   bytes >> 20, strerror(why));
}

void *qs_wire_map(int fd, size_t bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    /* Memory that its owner could cut short would kill this process with SIGBUS. */
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) != 0 || st.st_size < (off_t)bytes)
        return NULL;
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    return mem == MAP_FAILED ? NULL : mem;
}

qs_err qs_wire_create(int *out_fd, const struct qs_wire_shape *shape, struct qs_diag *diag)
{
    struct qs_wire w = {.shape = *shape};
    lay_out(&w);
    qs_err err = qs_wire_memfd(out_fd, "qstack-wire", w.bytes, diag);
    if (err != 0)
        return err;
    w.mem = qs_wire_map(*out_fd, w.paths_at[0]);
    if (!w.mem) {
        close(*out_fd);
        *out_fd = -1;
        return qs_fail(diag, QS_ERR_NOMEM, "cannot map shared memory for the wire");
    }
    /* Nobody has looked at a ring yet: the first frame must wake whoever it is for. */
    for (uint32_t side = 0; side < 2; side++) {
        for (uint32_t rx = 0; rx < QS_N_QUEUES_MAX; rx++)
            atomic_store(&qs_wire_sleeper(&w, side, rx)->asleep, 1u);
    }
    (void)munmap(w.mem, w.paths_at[0]);
    return 0;
}

qs_err qs_wire_open(struct qs_wire **out, int wire_fd, int peer_nic_fd,
                    const struct qs_wire_shape *shape, const int *peer_events,
                    uint32_t n_peer_events)
{
    struct qs_wire *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) {
        for (uint32_t i = 0; i < n_peer_events; i++)
            close(peer_events[i]);
        return QS_ERR_NOMEM;
    }
    w->shape = *shape;
    memset(w->peer_event, -1, sizeof w->peer_event);
    memcpy(w->peer_event, peer_events, n_peer_events * sizeof *peer_events);
    lay_out(w);
    w->mem = qs_wire_map(wire_fd, w->bytes);
    w->peer_nic = qs_wire_map(peer_nic_fd, sizeof *w->peer_nic);
    if (!w->mem || !w->peer_nic) {
        qs_wire_close(w);
        return QS_ERR_SYS;
    }
    *out = w;
    return 0;
}

void qs_wire_close(struct qs_wire *w)
{
    if (!w)
        return;
    if (w->mem)
        (void)munmap(w->mem, w->bytes);
    if (w->peer_nic)
        (void)munmap(w->peer_nic, sizeof *w->peer_nic);
    for (uint32_t i = 0; i < QS_N_QUEUES_MAX; i++) {
        if (w->peer_event[i] >= 0)
            close(w->peer_event[i]);
    }
    free(w);
}
