/* The library, loaded at run time: a table of its functions. trampolines.h calls them. */
#ifndef LR_LIBRARY_H
#define LR_LIBRARY_H

#include <stdlib.h>

#include "replication.h"

struct lr_table {
#define X(name) __typeof__(name) *name;
#include "symbols.h"
#undef X
};

/* Filled once, before any call through it. */
extern struct lr_table lr_library __attribute__((visibility("hidden")));

/* The result of loading a library. */
enum {
    LR_OPENED = 0,
    LR_NOT_LOADED = 1, /* dlopen() failed; the detail is its error text */
    LR_FOREIGN = 2,    /* has no replication_abi_version() */
    LR_OTHER_ABI = 3,  /* the detail is its ABI number */
    LR_INCOMPLETE = 4, /* the detail names a function that it lacks */
};

/* Loads the library and fills the table, or changes nothing. Free `*detail` unless it is NULL. */
int lr_open(const char *path, char **detail);

#include "trampolines.h"

/* The calls that a program makes for each entry. They take the sender as a number, which cgo need not check as a pointer,
 * and return everything by value: a Go variable whose address is passed to C must be allocated on the heap. Free the
 * message unless it is NULL. */
struct lr_appended {
    uint64_t sequence;
    char *message;
    int32_t status;
};

struct lr_appended lr_append(uintptr_t sender, uint64_t timestamp_us, const uint8_t *payload, size_t len);

/* `bytes` contains the payloads one after the other. */
struct lr_appended lr_append_batch(uintptr_t sender, uint64_t timestamp_us, const uint8_t *bytes, const size_t *lengths,
                                   size_t count);

/* As replication_read_message(), but without a pointer into the caller's buffer, which belongs to Go. */
static inline int32_t lr_read_message(const uint8_t *buffer, size_t buffer_len, uint8_t *type, size_t *payload_len,
                                      size_t *consumed)
{
    const uint8_t *payload;
    return lr_replication_read_message(buffer, buffer_len, type, &payload, payload_len, consumed);
}

#endif
