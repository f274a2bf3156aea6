#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct lr_table lr_library;

static char *number_text(uint32_t number)
{
    char text[16];
    snprintf(text, sizeof text, "%u", (unsigned)number);
    return strdup(text);
}

int lr_open(const char *path, char **detail)
{
    struct lr_table table;

    *detail = NULL;
    /* RTLD_LOCAL: names such as sender_new must not clash with those of other libraries. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *error = dlerror();
        *detail = strdup(error ? error : "dlopen failed");
        return LR_NOT_LOADED;
    }
    /* Check the ABI number first: a library of another ABI may also lack functions, but that is not its real problem. */
    table.replication_abi_version = (__typeof__(replication_abi_version) *)dlsym(library, "replication_abi_version");
    if (!table.replication_abi_version) {
        dlclose(library);
        return LR_FOREIGN;
    }
    uint32_t abi = table.replication_abi_version();
    if (abi != REPLICATION_ABI_VERSION) {
        *detail = number_text(abi);
        dlclose(library);
        return LR_OTHER_ABI;
    }
#define X(name)                                                                                                        \
    if (!(table.name = (__typeof__(name) *)dlsym(library, #name))) {                                                   \
        *detail = strdup(#name);                                                                                       \
        dlclose(library);                                                                                              \
        return LR_INCOMPLETE;                                                                                          \
    }
#include "symbols.h"
#undef X
    lr_library = table;
    return LR_OPENED;
}

/* The text belongs to this thread, and the next call of the goroutine may run on another one. */
static char *message_of(int32_t status)
{
    return status == REPLICATION_STATUS_OK ? NULL : strdup(lr_library.replication_last_error_message());
}

struct lr_appended lr_append(uintptr_t sender, uint64_t timestamp_us, const uint8_t *payload, size_t len)
{
    struct lr_appended result = {0};
    result.status =
        lr_library.sender_replicate((struct replication_sender *)sender, timestamp_us, payload, len, &result.sequence);
    result.message = message_of(result.status);
    return result;
}

struct lr_appended lr_append_batch(uintptr_t sender, uint64_t timestamp_us, const uint8_t *bytes, const size_t *lengths,
                                   size_t count)
{
    struct lr_appended result = {0};
    replication_slice few[256], *slices = few;

    if (count > sizeof few / sizeof few[0] && !(slices = malloc(count * sizeof *slices))) {
        result.status = REPLICATION_STATUS_OUT_OF_MEMORY;
        return result;
    }
    for (size_t i = 0; i < count; i++) {
        slices[i] = (replication_slice){.data = bytes, .len = lengths[i]};
        bytes += lengths[i];
    }
    result.status = lr_library.sender_replicate_batch((struct replication_sender *)sender, timestamp_us, slices, count,
                                                      &result.sequence);
    result.message = message_of(result.status);
    if (slices != few)
        free(slices);
    return result;
}
