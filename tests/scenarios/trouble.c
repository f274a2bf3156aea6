/* Trouble that a scenario wants to come at a certain step, in the place of functions of the C library. The runners of C and
 * C++ are linked with this; into the others it is loaded with LD_PRELOAD.
 *
 * A log lies in a directory of a scenario's temporary directory. As long as there is a file `disk-is-full` in the latter
 * nothing more can be written into the log, and with `disk-is-broken` it cannot be synced. An allocation of a certain size
 * finds no memory: the one that the library makes for an entry which it would not otherwise meet.
 *
 * What works is done by the function's sibling of the same meaning, which has its own name in the C library. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MISSING_BYTES = 7777777, HEADER_BYTES = 64 };

/* Whether the mark lies in the directory above the one that the file is in. */
static bool is_marked(int fd, const char *mark)
{
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    for (int up = 0; up < 2; up++) {
        const char *slash = len <= 0 ? NULL : memrchr(path, '/', (size_t)len);
        if (slash == NULL)
            return false;
        len = slash - path;
    }
    if ((size_t)len + strlen(mark) >= sizeof path)
        return false;
    strcpy(path + len, mark);
    return access(path, F_OK) == 0;
}

static bool has_no_room(int fd)
{
    if (!is_marked(fd, "/disk-is-full"))
        return false;
    errno = ENOSPC;
    return true;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    const struct iovec part = {.iov_base = (void *)bytes, .iov_len = len};
    return has_no_room(fd) ? -1 : pwritev64(fd, &part, 1, at);
}

int fdatasync(int fd)
{
    if (!is_marked(fd, "/disk-is-broken"))
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (size > MISSING_BYTES && size <= MISSING_BYTES + HEADER_BYTES)
        return ENOMEM;
    void *found = memalign(alignment, size);
    if (found == NULL)
        return ENOMEM;
    *memory = found;
    return 0;
}
