/* SPDX-License-Identifier: Apache-2.0 */
/* The other main of a fuzz target: runs every file that it is given, or every file of a directory,
 * once. Any compiler builds it, so that what fuzzing found stays a test. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *current = "";

static void refuse(const char *path)
{
    fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
    exit(2);
}

static size_t replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        refuse(path);
    uint8_t *data = NULL;
    size_t size = 0, n;
    do {
        data = realloc(data, size + 65536);
        if (!data)
            refuse(path);
        n = fread(data + size, 1, 65536, f);
        size += n;
    } while (n == 65536);
    if (ferror(f))
        refuse(path);
    fclose(f);
    /* A block of exactly the size: a sanitizer sees every step past it. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        refuse(path);
    memcpy(exact, data, size);
    free(data);
    current = path;
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

static size_t replay(const char *path)
{
    struct stat st;
    size_t n = 0;
    if (stat(path, &st))
        refuse(path);
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    DIR *dir = opendir(path);
    if (!dir)
        refuse(path);
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        n += replay_file(name);
    }
    closedir(dir);
    return n;
}

/* A target that found something aborts: say with what. */
static void name_input(int signal_number)
{
    static const char text[] = "replay: it happened with ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, current, strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(signal_number, SIG_DFL);
}

int main(int argc, char **argv)
{
    size_t n = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE-OR-DIRECTORY ...\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, name_input);
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%zu inputs\n", n);
    if (!n) {
        fprintf(stderr, "replay: no input in %s\n", argv[1]);
        return 1;
    }
    return 0;
}
