/* The directory for what a measurement writes to disk: made for the run, and removed with it. */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The driver: makes a directory of its own in `parent` (NULL: beside the directory of this program), and removes it
 * when the driver ends, also by SIGINT and SIGTERM. */
void files_begin(const char *parent);
/* The directory's path. */
const char *files_dir(void);
/* True once a signal wants the run to end. */
bool files_interrupted(void);

/* A directory of this name in it, which may be there already if it `keeps` what is in it. False, with a text on standard
 * error, if that cannot be. */
bool files_make(const char *name, bool keeps, char *out, size_t size);
/* Removes a directory and all in it, if it is there. */
void files_remove(const char *path);
/* Removes all that is in the directory of the run. */
void files_clear(void);
/* Bytes that can still be written there. */
uint64_t files_free_bytes(void);

/* A child: calls `use` for each regular file of a directory, in the order of their names. Ends the process on failure. */
void files_each(const char *dir, void (*use)(const char *path, void *argument), void *argument);

#endif
