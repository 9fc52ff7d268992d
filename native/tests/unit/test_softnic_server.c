/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: its place and rights, live and stale owners, clients of all manners. */
#include "io/softnic_ethtool.h"
#include "qs_softnic_test.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD sizeof(struct qs_softnic_message)

static struct qs_softnic *nic;
static char directory[64]; /* made for this run */
static char run_dir[80];   /* in it; made by the server */

static struct qs_softnic_server *start(void)
{
    struct qs_softnic_server *server;
    struct qs_diag diag;
    qs_err err = qs_softnic_server_start(&server, nic, "qn-wire", "memory", &diag);
    if (err)
        fprintf(stderr, "%s\n", diag.text);
    REQUIRE(err == 0);
    return server;
}

static int try_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 10};
    REQUIRE(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static struct qs_softnic_message receive(int fd)
{
    static uint8_t answer[QS_SOFTNIC_ANSWER_MAX];
    struct qs_softnic_message head = {.error = -9999};
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    if (n >= (ssize_t)HEAD) {
        memcpy(&head, answer, HEAD);
        CHECK_EQ(n, HEAD + head.bytes);
    }
    return head;
}

/* One good request; the answer's error. */
static int ask_rings(int fd)
{
    struct {
        struct qs_softnic_message head;
        struct ethtool_rxnfc nfc;
    } request = {{.command = ETHTOOL_GRXRINGS, .bytes = sizeof request.nfc},
                 {.cmd = ETHTOOL_GRXRINGS}};
    REQUIRE(send(fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request);
    return receive(fd).error;
}

static void answers_clients(void)
{
    struct qs_softnic_server *server = start();
    struct stat st;
    REQUIRE(stat(qs_softnic_server_path(server), &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    REQUIRE(stat(run_dir, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0700);
    int fd = try_connect(qs_softnic_server_path(server));
    REQUIRE(fd >= 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(ask_rings(fd), 0);
    close(fd);
    char path[120];
    snprintf(path, sizeof path, "%s", qs_softnic_server_path(server));
    qs_softnic_server_stop(server);
    CHECK(access(path, F_OK) != 0);
}

static void r58_malformed_packets_are_answered(void)
{
    struct qs_softnic_server *server = start();
    static uint8_t big[QS_SOFTNIC_REQUEST_MAX + 1000];
    int fd = try_connect(qs_softnic_server_path(server));
    REQUIRE(send(fd, big, 0, 0) == 0);
    CHECK_EQ(receive(fd).error, -EINVAL);
    REQUIRE(send(fd, big, 3, 0) == 3);
    CHECK_EQ(receive(fd).error, -EINVAL);
    REQUIRE(send(fd, big, sizeof big, 0) == sizeof big);
    CHECK_EQ(receive(fd).error, -EINVAL);
    CHECK_EQ(ask_rings(fd), 0);
    close(fd);
    qs_softnic_server_stop(server);
}

static void r58_too_many_clients_are_told(void)
{
    struct qs_softnic_server *server = start();
    int fds[16];
    for (int i = 0; i < 16; i++) {
        fds[i] = try_connect(qs_softnic_server_path(server));
        REQUIRE(fds[i] >= 0);
        CHECK_EQ(ask_rings(fds[i]), 0);
    }
    int extra = try_connect(qs_softnic_server_path(server));
    CHECK_EQ(receive(extra).error, -EBUSY);
    CHECK_EQ(recv(extra, &(char){0}, 1, 0), 0);
    close(extra);
    CHECK_EQ(ask_rings(fds[7]), 0);
    close(fds[3]); /* one goes, another may come */
    int again = -1;
    for (int i = 0; i < 1000 && again < 0; i++) {
        again = try_connect(qs_softnic_server_path(server));
        struct qs_softnic_message early;
        if (again >= 0 && recv(again, &early, sizeof early, MSG_DONTWAIT) > 0) {
            close(again);
            again = -1;
        }
        usleep(1000);
    }
    REQUIRE(again >= 0);
    CHECK_EQ(ask_rings(again), 0);
    close(again);
    for (int i = 0; i < 16; i++)
        if (i != 3)
            close(fds[i]);
    qs_softnic_server_stop(server);
}

/* A client that never reads is dropped, and the others do not wait for it. */
static void r58_deaf_client_holds_nobody(void)
{
    struct qs_softnic_server *server = start();
    struct {
        struct qs_softnic_message head;
        struct ethtool_gstrings strings;
    } request = {{.command = ETHTOOL_GSTRINGS, .bytes = sizeof request.strings},
                 {.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS}};
    int deaf = try_connect(qs_softnic_server_path(server)),
        good = try_connect(qs_softnic_server_path(server));
    bool dropped = false;
    for (int i = 0; i < 100000 && !dropped; i++) {
        bool sent = send(deaf, &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
        dropped = !sent && errno == EPIPE;
        if (!sent && !dropped)
            usleep(100); /* what was sent is not read yet */
    }
    CHECK(dropped);
    CHECK_EQ(ask_rings(good), 0);
    close(deaf);
    close(good);
    qs_softnic_server_stop(server);
}

static void live_owner_is_left_alone(void)
{
    struct qs_softnic_server *first = start(), *second;
    struct qs_diag diag;
    CHECK_EQ(qs_softnic_server_start(&second, nic, "qn-wire", "memory", &diag), QS_ERR_BUSY);
    CHECK(!second);
    CHECK(strstr(diag.text, "qn-wire.nic") != NULL);
    int fd = try_connect(qs_softnic_server_path(first));
    REQUIRE(fd >= 0);
    CHECK_EQ(ask_rings(fd), 0);
    close(fd);
    qs_softnic_server_stop(first);
}

static void stale_socket_is_replaced(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/qn-wire.nic", run_dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
    close(fd); /* as a killed process leaves it */
    CHECK(access(address.sun_path, F_OK) == 0);
    struct qs_softnic_server *server = start();
    fd = try_connect(qs_softnic_server_path(server));
    REQUIRE(fd >= 0);
    CHECK_EQ(ask_rings(fd), 0);
    close(fd);
    qs_softnic_server_stop(server);
}

static void bad_names_and_places_are_refused(void)
{
    struct qs_softnic_server *server;
    struct qs_diag diag;
    char name[200];
    CHECK_EQ(qs_softnic_server_start(&server, nic, "", "memory", &diag), QS_ERR_ARG);
    CHECK_EQ(qs_softnic_server_start(&server, nic, "../x", "memory", &diag), QS_ERR_ARG);
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK_EQ(qs_softnic_server_start(&server, nic, name, "memory", &diag), QS_ERR_ARG);
    CHECK(strstr(diag.text, "QSTACK_RUN_DIR") != NULL);

    REQUIRE(chmod(run_dir, 0777) == 0);
    CHECK_EQ(qs_softnic_server_start(&server, nic, "qn-wire", "memory", &diag), QS_ERR_PERM);
    CHECK(strstr(diag.text, run_dir) != NULL);
    REQUIRE(chmod(run_dir, 0700) == 0);
    setenv("QSTACK_RUN_DIR", "/proc/qn-none", 1);
    CHECK(qs_softnic_server_start(&server, nic, "qn-wire", "memory", &diag) < 0);
    CHECK(strstr(diag.text, "/proc/qn-none") != NULL);
    CHECK(!server);
    setenv("QSTACK_RUN_DIR", run_dir, 1);
    qs_softnic_server_stop(NULL);
}

int main(void)
{
    snprintf(directory, sizeof directory, "/tmp/qn-server-XXXXXX");
    REQUIRE(mkdtemp(directory));
    snprintf(run_dir, sizeof run_dir, "%s/run", directory);
    setenv("QSTACK_RUN_DIR", run_dir, 1);
    nic = test_new_nic(64);
    RUN(answers_clients);
    RUN(r58_malformed_packets_are_answered);
    RUN(r58_too_many_clients_are_told);
    RUN(r58_deaf_client_holds_nobody);
    RUN(live_owner_is_left_alone);
    RUN(stale_socket_is_replaced);
    RUN(bad_names_and_places_are_refused);
    free(nic);
    CHECK_EQ(rmdir(run_dir), 0);
    CHECK_EQ(rmdir(directory), 0);
    return TEST_RESULT();
}
