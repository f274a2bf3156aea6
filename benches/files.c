#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench.h"

static char root[4096];
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void remove_root(void)
{
    files_remove(root);
}

/* The directory two levels above the program: build/ for build/bin/bench. */
static void beside_program(char *out, size_t size)
{
    ssize_t len = readlink("/proc/self/exe", out, size - 1);
    out[len > 0 ? len : 0] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(out, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
    }
    if (out[0] == '\0') {
        snprintf(out, size, ".");
    }
}

void files_begin(const char *parent)
{
    char beside[sizeof root - 32];
    struct sigaction action = {.sa_handler = interrupt};
    if (parent == NULL) {
        beside_program(beside, sizeof beside);
        parent = beside;
    }
    int len = snprintf(root, sizeof root, "%s/bench-files.XXXXXX", parent);
    if (len < 0 || (size_t)len >= sizeof root || mkdtemp(root) == NULL) {
        bench_fail("cannot make a directory in %s: %s", parent, strerror(errno));
    }
    atexit(remove_root);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

const char *files_dir(void)
{
    return root;
}

bool files_interrupted(void)
{
    return interrupted != 0;
}

bool files_make(const char *name, bool keeps, char *out, size_t size)
{
    int len = snprintf(out, size, "%s/%s", root, name);
    if (len < 0 || (size_t)len >= size) {
        fprintf(stderr, "bench: too long a path: %s/%s\n", root, name);
        return false;
    }
    if (mkdir(out, 0700) != 0 && !(keeps && errno == EEXIST)) {
        fprintf(stderr, "bench: cannot make %s: %s\n", out, strerror(errno));
        return false;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    if (remove(path) != 0) {
        fprintf(stderr, "bench: cannot remove %s: %s\n", path, strerror(errno));
    }
    return 0;
}

void files_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void files_clear(void)
{
    files_remove(root);
    if (mkdir(root, 0700) != 0) {
        bench_fail("cannot make %s again: %s", root, strerror(errno));
    }
}

uint64_t files_free_bytes(void)
{
    struct statvfs status;
    if (statvfs(root, &status) != 0) {
        return 0;
    }
    return (uint64_t)status.f_bavail * status.f_frsize;
}

void files_each(const char *dir, void (*use)(const char *path, void *argument), void *argument)
{
    struct dirent **names;
    int count = scandir(dir, &names, NULL, alphasort);
    if (count < 0) {
        bench_fail("cannot read %s: %s", dir, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        char path[4096 + 256];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
            use(path, argument);
        }
        free(names[i]);
    }
    free(names);
}
