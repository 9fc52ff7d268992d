/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions by callgrind: the machine may have no hardware counters. The program runs itself
 * under valgrind with one case, and only what happens inside bench_measured_step() is counted. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"

extern char **environ;

/* Ends the child's chatter in /dev/null; what it counted is in `out_file`, what it did on standard
 * output. */
static int run(char *const argv[], char *output, size_t output_size)
{
    int pipe_fd[2], status = -1;
    pid_t pid;
    if (pipe2(pipe_fd, O_CLOEXEC))
        return errno;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fd[1]);
    size_t used = 0;
    if (!err) {
        ssize_t n;
        while ((n = read(pipe_fd[0], output + used, output_size - 1 - used)) > 0)
            used += (size_t)n;
        waitpid(pid, &status, 0);
        err = status ? ECHILD : 0;
    }
    output[used] = '\0';
    close(pipe_fd[0]);
    return err;
}

/* The sum that callgrind writes as "totals: N" at the end of its file. */
static double totals_of(const char *path)
{
    char line[512];
    double totals = -1;
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "totals: ", 8) == 0)
            totals = strtod(line + 8, NULL);
    }
    fclose(f);
    return totals;
}

double bench_instructions(const char *self, uint32_t n_conns, uint64_t n_requests, char *why,
                          size_t why_size)
{
    char file[] = "/tmp/qs-bench-engine.XXXXXX", out_option[64], case_option[64], requests[64];
    char output[64] = "";
    double result = -1;
    int fd = mkstemp(file);
    if (fd < 0) {
        snprintf(why, why_size, "%s cannot be made: %s", file, strerror(errno));
        return -1;
    }
    close(fd);
    snprintf(out_option, sizeof out_option, "--callgrind-out-file=%s", file);
    snprintf(case_option, sizeof case_option, "--count=%u", n_conns);
    snprintf(requests, sizeof requests, "--requests=%llu", (unsigned long long)n_requests);
    char *argv[] = {"valgrind",
                    "--tool=callgrind",
                    "--collect-atstart=no",
                    "--toggle-collect=bench_measured_step",
                    out_option,
                    (char *)(uintptr_t)self,
                    case_option,
                    requests,
                    NULL};
    int err = run(argv, output, sizeof output);
    double done = strtod(output, NULL), totals = totals_of(file);
    if (err == ENOENT)
        snprintf(why, why_size, "valgrind is not installed (Debian package valgrind)");
    else if (err)
        snprintf(why, why_size, "valgrind failed on %u connections: run \"valgrind %s %s\" to see",
                 n_conns, self, case_option);
    else if (done <= 0 || totals <= 0)
        snprintf(why, why_size, "callgrind counted nothing: is the program stripped?");
    else
        result = totals / done;
    unlink(file);
    return result;
}
