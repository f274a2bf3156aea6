/* One file that grows, and fdatasync. */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

#include <stddef.h>

/* Both end the process on failure. */
int disk_create(const char *dir);
void disk_append(int fd, const void *data, size_t size);

#endif
