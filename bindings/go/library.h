/* The library, opened at run time: a table of its functions, and a call of each in trampolines.h. */
#ifndef LR_LIBRARY_H
#define LR_LIBRARY_H

#include <stdlib.h>

#include "replication.h"

struct lr_table {
#define X(name) __typeof__(name) *name;
#include "symbols.h"
#undef X
};

/* Written once, before anything is called through it. */
extern struct lr_table lr_library __attribute__((visibility("hidden")));

/* What became of opening a library. */
enum {
    LR_OPENED = 0,
    LR_NOT_LOADED = 1, /* dlopen() failed; the detail is its text */
    LR_FOREIGN = 2,    /* has no replication_abi_version() */
    LR_OTHER_ABI = 3,  /* the detail is its ABI number */
    LR_INCOMPLETE = 4, /* the detail names a function that it lacks */
};

/* Opens the library and fills the table, or changes nothing. `*detail`, unless it is NULL afterwards, is to be freed. */
int lr_open(const char *path, char **detail);

#include "trampolines.h"

/* The calls that a program makes for each entry. They take the sender as a number, which cgo need not check as a pointer,
 * and give everything as their result: a variable of Go's whose address went to C would have to be allocated. The message,
 * unless it is NULL, is to be freed. */
struct lr_appended {
    uint64_t sequence;
    char *message;
    int32_t status;
};

struct lr_appended lr_append(uintptr_t sender, uint64_t timestamp_us, const uint8_t *payload, size_t len);

/* The payloads lie in `bytes`, one after the other. */
struct lr_appended lr_append_batch(uintptr_t sender, uint64_t timestamp_us, const uint8_t *bytes, const size_t *lengths,
                                   size_t count);

/* replication_read_message() without the pointer into the caller's buffer, which would be Go's. */
static inline int32_t lr_read_message(const uint8_t *buffer, size_t buffer_len, uint8_t *type, size_t *payload_len,
                                      size_t *consumed)
{
    const uint8_t *payload;
    return lr_replication_read_message(buffer, buffer_len, type, &payload, payload_len, consumed);
}

#endif
