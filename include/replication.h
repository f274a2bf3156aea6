/**
 * libreplication: one writer streams its write-ahead log to many readers.
 *
 * The writer's process creates a sender and hands it every log entry. Each reader's process creates
 * a receiver, which connects to the writer, stays connected, and passes every entry, in order, to a
 * handler. Ten functions are enough to begin with:
 *
 *     sender_new()                          creates a sender; NULL takes every default
 *     sender_start()                        starts its threads
 *     sender_listen()                       accepts readers at "host:port" or "unix:/path"
 *     sender_replicate()                    appends an entry and returns its sequence
 *     sender_free()                         stops and frees it
 *     receiver_config_new()                 the options of a receiver: reader id, writer's address
 *     receiver_config_set_ingest_handler()  the function that applies an entry
 *     receiver_new()                        creates a receiver from its options
 *     receiver_start()                      connects, and reconnects for as long as it runs
 *     receiver_free()                       stops and frees it
 *
 * In the writer:
 *
 *     replication_sender *sender;
 *     uint16_t port;
 *     if (sender_new(NULL, &sender) == REPLICATION_STATUS_OK
 *         && sender_start(sender) == REPLICATION_STATUS_OK
 *         && sender_listen(sender, "127.0.0.1:7000", &port) == REPLICATION_STATUS_OK)
 *         status = sender_replicate(sender, now_us, payload, payload_len, &sequence);
 *     sender_free(sender);
 *
 * In a reader:
 *
 *     static int32_t apply(void *db, uint64_t sequence, uint64_t timestamp_us,
 *                          const uint8_t *payload, size_t payload_len);
 *
 *     replication_receiver_config *config = receiver_config_new();
 *     receiver_config_set_reader_id(config, "replica-1");
 *     receiver_config_set_writer_addr(config, "127.0.0.1:7000");
 *     receiver_config_set_ingest_handler(config, apply, db, NULL);
 *     receiver_config_set_last_sequence(config, last_sequence_in(db));
 *     replication_receiver *receiver;
 *     if (receiver_new(config, &receiver) == REPLICATION_STATUS_OK)
 *         status = receiver_start(receiver);
 *     receiver_config_free(config);
 *
 * ERRORS. Every function that can fail returns a replication_status. Out parameters are written
 * only with `REPLICATION_STATUS_OK`; the exceptions are the lengths that come with
 * `REPLICATION_STATUS_BUFFER_TOO_SMALL`, and where a comment says so.
 * replication_last_error_message() has the text: which sequence, address, errno or argument.
 * Failures in the background arrive, with code and text, in the event handler. The comments below
 * list the statuses of each function without the prefix. Three are not repeated there:
 * `INVALID_ARGUMENT` for a NULL handle, `FORKED` (see FORKS) and `PANIC`: the library failed
 * internally; the handle then answers every later call with `PANIC` and the first text until it is
 * freed. No internal failure ends the process, except a lack of memory (see MEMORY).
 *
 * OWNERSHIP. Handles and configurations are opaque; what a _new function creates, its _free
 * function frees, once. _free functions ignore NULL; every other function needs a handle that is
 * not freed. A configuration is copied when a handle is created from it and can be freed at once.
 * Texts returned as `char *` are freed with replication_string_free(); texts returned as
 * `const char *` are not. Arguments are copied: nothing that a call points to is needed after it
 * returns. Strings are UTF-8 and end with a NUL. An out parameter must point to room for its value
 * unless its comment allows NULL. Where a pointer comes with a length, a length of 0 means that the
 * pointer is not read. Buffers of one call must not overlap. Times are in the unit of their name.
 *
 * THREADS. Any number of threads may call functions of a sender or receiver at once, but no call
 * may run while, or begin after, the handle is freed. A configuration is used by one thread at a
 * time, which may be any. Functions without a handle may be called by any number of threads.
 *
 * CALLBACKS. Each handle has one thread that calls the host, one call at a time, so the callbacks
 * of one handle never run at once; those of two handles do. Pointers given to a callback are valid
 * until it returns. A slow callback delays the other callbacks of its handle, not the network. A
 * callback may call any function of the library except, on its own handle, one that waits: _stop
 * and _wait_ functions return `WRONG_THREAD` there, and _free lets another thread end the handle.
 * Outside callbacks, once a _stop or _free function has returned, no callback of that handle runs,
 * and none will. A callback must return: a C++ exception or longjmp() out of it is not caught and
 * is undefined behaviour.
 *
 * USER DATA. `user_data` is passed to the callback unchanged. `user_data_free`, unless NULL, is
 * called with it exactly once, after the last call of that callback: when the handle that it moved
 * to is freed, when the configuration is freed before, when another callback replaces it, or at
 * once when registering it fails. It runs on the thread that does this, or, for a handle that is
 * freed in its own callback, on another one. That of
 * sender_on_acked() is freed after its only call, on the thread that makes the call.
 *
 * SIGNALS. The library installs no signal handler. Its threads, callbacks included, block every
 * signal except those that a thread causes itself: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
 * SIGSYS and SIGABRT. The host's handlers for these run in callbacks as on any other thread. An
 * alternate signal stack belongs to one thread, so a callback that needs one sets it.
 *
 * FORKS. Threads do not survive a fork. In the child, every handle and configuration made before
 * returns `FORKED`, functions that cannot fail return 0 or false, and _free does nothing, so that
 * memory is not given back. New ones work. A child made by a bare clone() system call is not
 * noticed.
 *
 * EXITS. Functions may be called in exit handlers and in destructors of thread-local data. Error
 * texts may be cut to 255 bytes there.
 *
 * MEMORY. A function that is said to return NULL or `OUT_OF_MEMORY` does so when there is no
 * memory, and changes nothing. Every allocation that is large, or whose size a peer chooses, is
 * made by such a function or ends one connection. The rest is small: texts of options, errors and
 * events, statistics, what a start, a connection or a waiting thread needs, and the parts of a
 * handle. sender_new() and receiver_new() first ask for 256 KiB and give them back, so that they
 * fail where memory has run out, unless another thread takes the last of it in between. When the
 * system has no memory for a small allocation, the process ends with SIGABRT and a line on stderr.
 *
 * LOADING. The library stays loaded: dlclose() has no effect on it. Load it with RTLD_LOCAL, since
 * the names that begin with sender_ and receiver_ are plain, and compare replication_abi_version()
 * with `REPLICATION_ABI_VERSION`. It writes nothing to stdout; an internal failure prints a line to
 * stderr.
 */
#ifndef REPLICATION_H
#define REPLICATION_H

/* Generated from src/ffi. Change the text there, then run `make header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header; replication_version_number() is the library's. */
#define REPLICATION_VERSION_MAJOR 0
#define REPLICATION_VERSION_MINOR 1
#define REPLICATION_VERSION_PATCH 0
/** major * 1000000 + minor * 1000 + patch */
#define REPLICATION_VERSION_NUMBER 1000

/** Begins an enumeration, whose type is fixed where the language can say so. */
#if defined(__cplusplus)
#define REPLICATION_ENUM(name, type) enum name : type
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
#define REPLICATION_ENUM(name, type) enum name : type; typedef enum name name; enum name : type
#else
#define REPLICATION_ENUM(name, type) typedef type name; enum name
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Options of a sender, each at its default until it is set. Made by sender_config_new(). */
typedef struct replication_sender_config replication_sender_config;

/**
 * When a sender takes entries: while enough connected readers are within a lag. Created by
 * replication_write_gate_new().
 */
typedef struct replication_write_gate replication_write_gate;

/**
 * The writer's end: takes entries and serves them to readers. Made by sender_new(). Any thread may
 * call any function on it at any time, until sender_free().
 */
typedef struct replication_sender replication_sender;

/**
 * Who must have acknowledged an entry: so many readers of one group, and so many of another. Made
 * by replication_quorum_new(). Belongs to no sender, may be used again and again, and by many
 * threads at once once it is complete.
 */
typedef struct replication_quorum replication_quorum;

/** Options of a receiver, each at its default until it is set. Made by receiver_config_new(). */
typedef struct replication_receiver_config replication_receiver_config;

/**
 * A reader's end: follows one writer and hands its entries to a handler. Made by receiver_new().
 * Any thread may call any function on it at any time, until receiver_free().
 */
typedef struct replication_receiver replication_receiver;

/**
 * The records of a payload: an array of maps. Given to a record handler for the call, or made by
 * replication_records_parse(). It does not change, so any number of threads may read it at once.
 */
typedef struct replication_records replication_records;

/** A value within records, valid as long as they are. */
typedef struct replication_value replication_value;

/* Errors and texts ----------------------------------------------------------------------------- */

/** The result of a call or event. The numbers are part of the ABI and never reused. */
REPLICATION_ENUM(replication_status, int32_t) {
    REPLICATION_STATUS_OK = 0, /**< Success. */
    REPLICATION_STATUS_INVALID_ARGUMENT = 1, /**< A NULL, malformed or out-of-range argument. */
    REPLICATION_STATUS_INVALID_STATE = 2, /**< The call does not fit the handle's state. */
    REPLICATION_STATUS_CLOSED = 3, /**< The handle was stopped. */
    REPLICATION_STATUS_WRONG_THREAD = 4, /**< A waiting call in a callback of the same handle. */
    REPLICATION_STATUS_FORKED = 5, /**< The handle was created before a fork. */
    REPLICATION_STATUS_PANIC = 6, /**< Internal error; the handle can only be freed. */
    REPLICATION_STATUS_TIMEOUT = 7, /**< The time limit has passed. */
    REPLICATION_STATUS_IO = 8, /**< A system call failed; the text names the errno. */
    REPLICATION_STATUS_BAD_ADDRESS = 9, /**< The address does not parse or resolve. */
    REPLICATION_STATUS_ADDRESS_IN_USE = 10, /**< Another socket uses the address. */
    REPLICATION_STATUS_BAD_DESCRIPTOR = 11, /**< The descriptor is closed or no stream socket. */
    REPLICATION_STATUS_NOT_FOUND = 12, /**< No such reader, slot, ticket, row, key or stream. */
    REPLICATION_STATUS_WRONG_TYPE = 13, /**< The value has another type or does not fit. */
    REPLICATION_STATUS_BUFFER_TOO_SMALL = 14, /**< Too small; the needed length was written. */
    REPLICATION_STATUS_TRUNCATED = 15, /**< The frame is incomplete. */
    REPLICATION_STATUS_MESSAGE_TOO_SMALL = 16, /**< The frame has length 0. */
    REPLICATION_STATUS_MESSAGE_TOO_LARGE = 17, /**< The frame or payload exceeds its limit. */
    REPLICATION_STATUS_OUT_OF_MEMORY = 18, /**< The system has no memory. */
    REPLICATION_STATUS_DECODE_FAILED = 19, /**< Not a msgpack array of maps, or over a limit. */
    REPLICATION_STATUS_DAMAGED = 20, /**< Corrupt or newer log files; nothing was changed. */
    REPLICATION_STATUS_LOCKED = 21, /**< Another handle or process uses the directory. */
    REPLICATION_STATUS_DISK_FULL = 22, /**< No disk space or quota left; works again later. */
    REPLICATION_STATUS_GATED = 23, /**< The write gate is closed: readers lag too far. */
    REPLICATION_STATUS_STALLED = 24, /**< The disk fails for another reason that may pass. */
    REPLICATION_STATUS_SEQUENCE_GAP = 100, /**< The entries that the reader needs are gone. */
    REPLICATION_STATUS_WAL_ROTATED = 101, /**< The log on disk no longer has the entries. */
    REPLICATION_STATUS_INVALID_MSG = 102, /**< A message violates the protocol. */
    REPLICATION_STATUS_NOT_WRITER = 103, /**< This node is not the writer. */
    REPLICATION_STATUS_BUFFER_FULL = 104, /**< The buffer or another bounded table is full. */
    REPLICATION_STATUS_WRITE_FAILED = 105, /**< Writing to the peer failed. */
    REPLICATION_STATUS_APPLY_FAILED = 106, /**< Applying an entry failed. */
    REPLICATION_STATUS_DIVERGED = 120, /**< Other stream, older epoch or different history. */
    REPLICATION_STATUS_REGRESSED = 121, /**< The writer is behind this reader. */
    REPLICATION_STATUS_REPLACED = 122, /**< Another connection took this reader's id. */
    REPLICATION_STATUS_PEER_TIMEOUT = 123, /**< The peer was silent or blocked for too long. */
    REPLICATION_STATUS_REMOVED = 124, /**< The host removed this reader. */
    REPLICATION_STATUS_LINEAGE_CHANGED = 125, /**< The writer changed during the wait. */
};

/**
 * Returns the name of a status, such as "SEQUENCE_GAP"; "UNKNOWN" for any other number. The string
 * is static.
 */
const char *replication_status_name(int32_t status);

/**
 * Returns the text of this thread's last failed call; "" if none has failed, never NULL. A
 * successful call leaves it unchanged. The string belongs to the library and is valid until the
 * next failed call or the end of this thread.
 */
const char *replication_last_error_message(void);

/** Frees a string that the library returned as `char *`. */
void replication_string_free(char *string);

/* Version -------------------------------------------------------------------------------------- */

/**
 * The ABI of this header. It rises when something that exists changes or is removed, not when
 * something is added.
 */
#define REPLICATION_ABI_VERSION 2

/** Returns the version of the loaded library as text, such as "0.1.0". The string is static. */
const char *replication_version(void);

/**
 * Returns the version of the loaded library as a number, to compare with
 * `REPLICATION_VERSION_NUMBER`.
 */
uint32_t replication_version_number(void);

/**
 * Returns the ABI of the loaded library. If it differs from `REPLICATION_ABI_VERSION`, call nothing
 * else.
 */
uint32_t replication_abi_version(void);

/* Callbacks ------------------------------------------------------------------------------------ */

/** The kind of an event. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_event_kind, int32_t) {
    REPLICATION_EVENT_KIND_CONNECTED = 1, /**< The handshake with a peer succeeded. */
    REPLICATION_EVENT_KIND_DISCONNECTED = 2, /**< A connection or attempt failed or ended. */
    REPLICATION_EVENT_KIND_REFUSED = 3, /**< The writer refused a reader or a connection. */
    REPLICATION_EVENT_KIND_GAP = 4, /**< Entries are missing from `sequence` on. */
    REPLICATION_EVENT_KIND_REGRESSED = 5, /**< The writer is behind this reader. */
    REPLICATION_EVENT_KIND_DIVERGED = 6, /**< The histories of writer and reader differ. */
    REPLICATION_EVENT_KIND_LAGGING = 7, /**< Sender: a reader is about to fall too far behind. */
    REPLICATION_EVENT_KIND_CUT_OFF = 8, /**< Sender: a reader fell too far behind. */
    REPLICATION_EVENT_KIND_APPLY_FAILED = 9, /**< Receiver: the handler failed on `sequence`. */
    REPLICATION_EVENT_KIND_ENTRY_SKIPPED = 10, /**< Receiver: the entry `sequence` was skipped. */
    REPLICATION_EVENT_KIND_GAP_PASSED = 11, /**< Receiver: skipped a gap starting at `sequence`. */
    REPLICATION_EVENT_KIND_STOPPED = 12, /**< Receiver: applying stopped at `sequence`. */
    REPLICATION_EVENT_KIND_PROTOCOL_ERROR = 13, /**< A connection closed on a protocol error. */
    REPLICATION_EVENT_KIND_ENTRY_REFUSED = 14, /**< Sender: entries refused with `BUFFER_FULL`. */
    REPLICATION_EVENT_KIND_EVENTS_LOST = 15, /**< The host was too slow; events were dropped. */
    REPLICATION_EVENT_KIND_GATE_CLOSED = 16, /**< Sender: the write gate closed. */
    REPLICATION_EVENT_KIND_GATE_OPENED = 17, /**< Sender: the write gate opened. */
    REPLICATION_EVENT_KIND_SLOT_LOST = 18, /**< Sender: a slot exceeded its limit and is lost. */
    REPLICATION_EVENT_KIND_SLOT_EXPIRED = 19, /**< Sender: an unused slot was dropped. */
    REPLICATION_EVENT_KIND_WAL_STALLED = 20, /**< The disk refuses the log; the library retries. */
    REPLICATION_EVENT_KIND_WAL_RESUMED = 21, /**< The disk accepts the log again. */
    REPLICATION_EVENT_KIND_WAL_FAILED = 22, /**< The log failed; open it with a new handle. */
    REPLICATION_EVENT_KIND_WAL_RECOVERED = 23, /**< The log's torn end was cut off on opening. */
    REPLICATION_EVENT_KIND_WAL_TRIMMED = 24, /**< Retention removed the oldest log files. */
    REPLICATION_EVENT_KIND_SLOT_REFUSED = 25, /**< Sender: no free slot for a connected reader. */
    REPLICATION_EVENT_KIND_READER_REWOUND = 26, /**< Sender: a reader lost acknowledged entries. */
    REPLICATION_EVENT_KIND_DESCRIPTORS_LOW = 27, /**< Sender: no descriptor for a connection. */
    REPLICATION_EVENT_KIND_LISTEN_INCOMPLETE = 28, /**< Sender: cannot listen on every address. */
    REPLICATION_EVENT_KIND_UNPROTECTED = 29, /**< Other users can access files that are in use. */
};

/** The severity of a log record. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_log_level, int32_t) {
    REPLICATION_LOG_LEVEL_ERROR = 1, /**< Something failed and was not delivered. */
    REPLICATION_LOG_LEVEL_WARN = 2, /**< Something unusual that the library handled. */
    REPLICATION_LOG_LEVEL_INFO = 3, /**< Readers connect and disconnect. */
    REPLICATION_LOG_LEVEL_DEBUG = 4, /**< Details for development. */
};

/** Bytes of the caller. The layout is frozen. */
typedef struct replication_slice {
    /** The first byte; not read if `len` is 0. */
    const uint8_t *data;
    /** The number of bytes. */
    size_t len;
} replication_slice;

/** An entry, as passed to a batch handler. The layout is frozen. */
typedef struct replication_entry {
    /** Its sequence; rises from entry to entry. */
    uint64_t sequence;
    /** Microseconds since the Unix epoch, as set by the writer's host. */
    uint64_t timestamp_us;
    /** The payload; never NULL. */
    const uint8_t *payload;
    /** Its length in bytes; may be 0. */
    size_t payload_len;
} replication_entry;

/**
 * An event. New fields are only added at the end. docs/embedding.md lists the fields' contents for
 * each kind.
 */
typedef struct replication_event {
    /** sizeof(replication_event) in the library; later fields do not exist. */
    size_t struct_size;
    /** A replication_event_kind. Ignore unknown kinds. */
    int32_t kind;
    /** A replication_status, the reason; `REPLICATION_STATUS_OK` if nothing failed. */
    int32_t status;
    /** The entry concerned; 0 if none. */
    uint64_t sequence;
    /**
     * The reader's exact id; "" if unknown, never NULL. It contains no control characters, but may
     * contain invisible characters, which the other texts escape.
     */
    const char *reader_id;
    /** The peer's address; "" if unknown, never NULL. */
    const char *address;
    /** A sentence for people; never NULL. */
    const char *message;
    /** A JSON object for programs; never NULL. */
    const char *detail_json;
} replication_event;

/**
 * Applies one entry. Return 0 if it is applied, any other number if not; the apply policy then
 * decides. The number `REPLICATION_STATUS_CLOSED` means that the host is shutting down: the entry
 * is then always retried, never skipped. `payload` is never NULL.
 */
typedef int32_t (*replication_ingest_fn)(
    void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
    size_t payload_len);

/**
 * Applies `count` entries, at least one, in order. Return 0 if all are applied. If one fails, set
 * `*applied`, which is 0 before the call, to the number of entries applied before it and return
 * another number, as for a replication_ingest_fn. If `*applied` is `count`, the call succeeds
 * whatever it returns.
 */
typedef int32_t (*replication_ingest_batch_fn)(
    void *user_data, const replication_entry *entries, size_t count, size_t *applied);

/**
 * Applies one entry with its msgpack payload decoded. Return as for a replication_ingest_fn. It is
 * not called for a payload that replication_records_parse_within() would refuse with the limit of
 * receiver_config_set_records_max_bytes(): such an entry fails as if the handler had returned
 * `REPLICATION_STATUS_DECODE_FAILED`, or `REPLICATION_STATUS_OUT_OF_MEMORY` if memory runs out.
 */
typedef int32_t (*replication_record_fn)(
    void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records);

/**
 * Connects to the writer for the library. Return a connected stream socket, which the library then
 * owns, or -1.
 */
typedef int (*replication_connect_fn)(void *user_data, const char *writer_addr);

/** Receives an event. */
typedef void (*replication_event_fn)(void *user_data, const replication_event *event);

/**
 * Receives a log record: `level` is a replication_log_level, `fields_json` a JSON object. The
 * strings are never NULL.
 */
typedef void (*replication_log_fn)(
    void *user_data, int32_t level, const char *message, const char *fields_json);

/**
 * Receives the result of sender_on_acked(): `ticket` is the one that it gave, `status` is
 * `REPLICATION_STATUS_OK`, `_TIMEOUT` or `_CLOSED`, and `readers` is the number of readers that
 * have acknowledged the entry.
 */
typedef void (*replication_acked_fn)(
    void *user_data, uint64_t ticket, int32_t status, size_t readers);

/** Frees `user_data`. Called once, after the last call of the callback. */
typedef void (*replication_free_fn)(void *user_data);

/* Sender: configuration ------------------------------------------------------------------------ */

/** The size of a stream id. */
#define REPLICATION_STREAM_ID_BYTES 16

/**
 * What sender_replicate() does when a bound of the window is reached and a connected reader still
 * needs its oldest entries.
 */
REPLICATION_ENUM(replication_full_policy, uint32_t) {
    /**
     * Cut off the slowest readers; each is told `SEQUENCE_GAP`. Never waits for one, never refuses
     * for one. With a log on disk readers go on from there, and the disk is waited for, as
     * sender_config_set_wal_timeout_ms() says, before it refuses.
     */
    REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST = 0,
    /** Refuse the new entry with `REPLICATION_STATUS_BUFFER_FULL`. */
    REPLICATION_FULL_POLICY_REFUSE = 1,
    /** Wait for the slowest reader up to a given time, then refuse. */
    REPLICATION_FULL_POLICY_WAIT = 2,
};

/**
 * Makes a configuration with every option at its default.
 *
 * Returns the configuration, to be freed with sender_config_free(); NULL without memory, and then
 * replication_last_error_message() has the reason.
 */
replication_sender_config *sender_config_new(void);

/**
 * Frees a configuration, and the `user_data` of callbacks that no sender was made with. NULL is
 * ignored. Senders made from it live on.
 */
void sender_config_free(replication_sender_config *config);

/**
 * Sets how many entries the memory window holds at most. Default 10000. Whichever bound comes first
 * counts, this one or sender_config_set_buffer_bytes().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_buffer_size(replication_sender_config *config, size_t entries);

/**
 * Sets how many bytes the memory window holds at most. Default 67108864 (64 MiB), at least 65536.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for less than 65536.
 */
replication_status sender_config_set_buffer_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets what sender_replicate() does when a bound of the window is reached. Default
 * `REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST`.
 *
 * - `policy`: a replication_full_policy.
 * - `wait_ms`: how long `REPLICATION_FULL_POLICY_WAIT` waits, in milliseconds; ignored for the
 *   others.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
 */
replication_status sender_config_set_full_policy(
    replication_sender_config *config, uint32_t policy, uint64_t wait_ms);

/**
 * Sets how long a reader may take no byte before its connection is closed, in milliseconds. Default
 * 5000.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_write_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets how long the handshake of a new connection may take in all, in milliseconds. Default 5000.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_handshake_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets how often an idle connection to a v2 reader says that it lives, in milliseconds. Default
 * 1000. Must be below the peer timeout.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_heartbeat_interval_ms(
    replication_sender_config *config, uint64_t interval_ms);

/**
 * Sets how often v2 readers may want to hear from this sender when there is nothing to send, at
 * most, in milliseconds. Default 100, from 10 to 60000. A reader whose own heartbeat interval is
 * shorter hears this often and is told so. It does not limit
 * sender_config_set_heartbeat_interval_ms().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL or another number.
 */
replication_status sender_config_set_min_heartbeat_ms(
    replication_sender_config *config, uint64_t interval_ms);

/**
 * Sets how long a v2 reader may be silent before its connection is closed, in milliseconds. Default
 * 10000. v1 readers, which have no heartbeat, may be silent for ever.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_peer_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets how long sender_stop() lets readers catch up, in milliseconds; 0 closes at once. Default
 * 5000.
 *
 * Returns `OK`.
 */
replication_status sender_config_set_stop_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets how many readers may be connected at once. Default 1024. Further ones are refused and
 * reported.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_max_readers(replication_sender_config *config, size_t readers);

/**
 * Sets the permissions of the files of Unix sockets that this sender listens on. Default 0600: this
 * process's user only. To connect takes the permission to write. The umask does not matter, and the
 * file never has wider permissions for a moment.
 *
 * A socket in the abstract namespace ("unix:@name") has no file. There the same permissions count
 * as if it had one that belongs to this process's effective user and group: 0600 lets in peers of
 * the same user, 0660 those of the same group too, 0666 everybody; root always. Others are
 * disconnected, with an event REFUSED.
 *
 * - `mode`: permission bits, at most 0777.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for other bits.
 */
replication_status sender_config_set_unix_socket_mode(
    replication_sender_config *config, uint32_t mode);

/**
 * Sets how many threads serve the network. Default 0: one for each two processors, at least one and
 * at most four.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for more than 256.
 */
replication_status sender_config_set_io_threads(
    replication_sender_config *config, uint32_t threads);

/**
 * Sets the lineage that this writer continues. Default: a random stream id and epoch 1, which
 * begins a new lineage, so that readers with a position in another one are refused.
 *
 * A host whose log outlives the process stores what sender_get_stream() gives and sets it again
 * after a restart, together with sender_config_set_last_sequence(). When another node is promoted
 * it takes the stream id over with a higher epoch.
 *
 * - `stream_id`: `REPLICATION_STREAM_ID_BYTES` bytes.
 * - `epoch`: rises with each promotion.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_config_set_stream(
    replication_sender_config *config, const uint8_t *stream_id, uint64_t epoch);

/**
 * Sets the sequence of the last entry before this process; the first entry gets the next one.
 * Default 0. A log on disk knows it: there it is only checked. A bare number says nothing of the
 * history before it: see sender_acked(), and sender_config_set_token(), which has both.
 *
 * Returns `OK`.
 */
replication_status sender_config_set_last_sequence(
    replication_sender_config *config, uint64_t sequence);

/**
 * Takes files and directories whose permissions are refused otherwise. Default false. Call it
 * before the setters that name them: sender_config_set_tls() looks at its key file at once,
 * sender_new() at the log's directory.
 *
 * Refused, with `INVALID_ARGUMENT` and a text that names the path, its owner and mode and what to
 * do, are: a log's directory that belongs neither to this process's user nor to root, or that every
 * user may write to; a private key that belongs to neither, that its group or others may write to,
 * that others may read, or that its group may read unless root owns it. With true they are used,
 * and each is reported with the event `UNPROTECTED`, as a log's directory is that only its group
 * may write to.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_config_set_insecure_permissions_allowed(
    replication_sender_config *config, bool allowed);

/**
 * Encrypts connections with TLS 1.3 and shows readers a certificate. Default: no TLS. Counts for
 * every connection whose handshake is the library's: listening sockets and
 * sender_accept_connection(), not sender_accept_reader(). Readers without TLS are then refused. The
 * TLS handshake is part of what sender_config_set_handshake_timeout_ms() bounds.
 *
 * The files are read now, each in PEM; later changes of them are not seen. Others may neither read
 * nor change the key's: see sender_config_set_insecure_permissions_allowed().
 *
 * - `certificate_chain_file`: this writer's certificate, then those that lead to an authority of
 *   the readers.
 * - `private_key_file`: the key of the first certificate, not encrypted.
 * - `client_ca_file`: readers must have a certificate of one of these authorities; NULL: they need
 *   none.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, "", text that is not UTF-8, or a file that cannot be
 * used; `IO` for one that cannot be read. The text names the file. After an error the configuration
 * is as it was.
 */
replication_status sender_config_set_tls(
    replication_sender_config *config, const char *certificate_chain_file,
    const char *private_key_file, const char *client_ca_file);

/**
 * Sets who hears of events. NULL: nobody, the default.
 *
 * The handler is called from one thread of the sender, one call at a time, together with the log
 * handler. `user_data` and `user_data_free` move to the first sender made from the configuration;
 * `user_data_free` (may be NULL) runs once, after the last call, and also when this function fails
 * or another handler replaces this one.
 *
 * Returns `OK`.
 */
replication_status sender_config_set_event_handler(
    replication_sender_config *config, replication_event_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets who gets log records. NULL: nobody, the default.
 *
 * - `max_level`: the least important replication_log_level to hand over; ignored when `handler` is
 *   NULL.
 *
 * The handler is called from one thread of the sender, one call at a time, together with the event
 * handler. `user_data` and `user_data_free` move to the first sender made from the configuration;
 * `user_data_free` (may be NULL) runs once, after the last call, and also when this function fails
 * or another handler replaces this one.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no level.
 */
replication_status sender_config_set_log_handler(
    replication_sender_config *config, int32_t max_level, replication_log_fn handler,
    void *user_data, replication_free_fn user_data_free);

/**
 * Adds a group of readers, for a replication_quorum to name: a place, a rack, a kind. A reader may
 * be in many groups, and need not be connected.
 *
 * - `name`: 1 to 255 bytes without control characters; new in this configuration.
 * - `reader_ids`, `count`: its readers, at least one; an id that ends with `*` stands for every
 *   reader id that begins with what is before it.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, a name or id that is empty or too long, text that is
 * not UTF-8, a `count` of 0, a name that is there already, and for a 65th group.
 */
replication_status sender_config_add_group(
    replication_sender_config *config, const char *name, const char *const *reader_ids,
    size_t count);

/**
 * Sets how many calls of sender_on_acked() may be outstanding; further ones are refused with
 * `BUFFER_FULL`. Default 65536.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_max_pending_acks(
    replication_sender_config *config, size_t calls);

/** What sender_replicate() does while the write gate is closed. */
REPLICATION_ENUM(replication_gate_policy, uint32_t) {
    REPLICATION_GATE_POLICY_REFUSE = 0, /**< Refuse the entry with `GATED`. */
    /** Wait up to a given time for the gate to open, then refuse the entry. */
    REPLICATION_GATE_POLICY_SLOW = 1,
};

/**
 * Creates a write gate that asks for one reader at level received, with any lag.
 *
 * The lag is measured by acknowledgements, which readers are asked for in time. It is checked
 * before each entry, so entries of concurrent calls may pass together. A gate promises nothing
 * about a single entry: wait for its acknowledgement instead.
 *
 * Returns the gate, to be freed with replication_write_gate_free(); NULL without memory.
 */
replication_write_gate *replication_write_gate_new(void);

/**
 * Sets how many connected readers must be within the lag. Default: 1. At least: 1.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0. sender_new() returns `INVALID_ARGUMENT` for more than
 * sender_config_set_max_readers() allows.
 */
replication_status replication_write_gate_set_min_readers(
    replication_write_gate *gate, size_t readers);

/**
 * Sets how many of the last entries a reader may not have acknowledged; 0 allows any number.
 * Default: 0.
 *
 * Returns `OK`.
 */
replication_status replication_write_gate_set_max_lag_entries(
    replication_write_gate *gate, uint64_t entries);

/**
 * Sets how long a reader may leave an entry unacknowledged, in milliseconds and to about an eighth;
 * 0 allows any time. Default: 0.
 *
 * Returns `OK`.
 */
replication_status replication_write_gate_set_max_lag_ms(
    replication_write_gate *gate, uint64_t lag_ms);

/**
 * Sets what counts as acknowledged, a replication_ack_level. v1 readers acknowledge entries as
 * received only. Default: `REPLICATION_ACK_LEVEL_RECEIVED`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no level.
 */
replication_status replication_write_gate_set_level(replication_write_gate *gate, uint32_t level);

/**
 * Sets what sender_replicate() does while the gate is closed. Default:
 * `REPLICATION_GATE_POLICY_REFUSE`.
 *
 * - `policy`: a replication_gate_policy.
 * - `max_wait_ms`: how long `REPLICATION_GATE_POLICY_SLOW` waits, in milliseconds; ignored for the
 *   other policy.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
 */
replication_status replication_write_gate_set_policy(
    replication_write_gate *gate, uint32_t policy, uint64_t max_wait_ms);

/** Frees a write gate. NULL is ignored. Configurations that it was set on keep their copy. */
void replication_write_gate_free(replication_write_gate *gate);

/**
 * Sets the write gate: while it is closed, sender_replicate() refuses entries with `GATED` or
 * waits. Default: none.
 *
 * - `gate`: copied; NULL removes the gate.
 *
 * Returns `OK`.
 */
replication_status sender_config_set_write_gate(
    replication_sender_config *config, const replication_write_gate *gate);

/* Sender --------------------------------------------------------------------------------------- */

/**
 * Makes a sender that does not run yet.
 *
 * - `config`: copied; NULL means all defaults. Its callbacks move to the sender, so a second sender
 *   needs a configuration with callbacks of its own, or none.
 * - `out`: the sender, to be freed with sender_free().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL `out` or options that contradict each other;
 * `INVALID_STATE` when the callbacks of `config` belong to an earlier sender; `OUT_OF_MEMORY` when
 * the system does not give 256 KiB, which are asked for first and given back; `IO` when it has no
 * random bytes. With sender_config_set_wal_dir() also: `LOCKED` when another process has the
 * directory; `DAMAGED` for files that are not as this library wrote them (nothing is changed then);
 * `DIVERGED` when they belong to another stream than the one that is set, or to a later epoch of
 * it; `REGRESSED` when they end before the sequence that is set with it (`INVALID_ARGUMENT` for one
 * without a stream); `IO` and `DISK_FULL`. After a failure the callbacks still belong to `config`.
 */
replication_status sender_new(const replication_sender_config *config, replication_sender **out);

/**
 * Starts the threads of a sender. Entries and readers can be given to it from now on.
 *
 * Returns `OK`; `INVALID_STATE` when it was started before; `CLOSED` after sender_stop(); `IO` when
 * the system gives no threads; if some had begun, the sender is stopped: free it and make another.
 */
replication_status sender_start(replication_sender *sender);

/**
 * Accepts readers at an address. May be called for many addresses.
 *
 * - `address`: "host:port", where port 0 takes any free one and an IPv6 address is in brackets;
 *   "unix:/path"; or "unix:@name" for a Unix socket in the abstract namespace.
 * - `out_port`: the port, 0 for a Unix socket; may be NULL.
 *
 * Every address that a host name has is bound, all to one port. One that this machine does not have
 * is reported in an event LISTEN_INCOMPLETE. "[::]:port" takes IPv4 as well, unless the system is
 * set up otherwise (net.ipv6.bindv6only).
 *
 * A path is made absolute now. The file of a Unix socket has the permissions of
 * sender_config_set_unix_socket_mode(). One that a killed process left behind is replaced; of
 * several processes that start there at once, one gets it. It is removed with the sender, unless it
 * is another one by then. While it is removed or replaced, which an event LISTEN_INCOMPLETE tells,
 * no reader finds this sender by it.
 *
 * A connection that takes one of the last 16 descriptors below the process's limit (RLIMIT_NOFILE)
 * is closed again, with an event DESCRIPTORS_LOW, at most one a second.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8; `BAD_ADDRESS` when it does
 * not parse or resolve, or when this machine has none of its addresses; `ADDRESS_IN_USE`; `IO` with
 * the errno for anything else that the system refuses; `INVALID_STATE` before sender_start();
 * `CLOSED` after sender_stop(). Resolving a host name may take time.
 */
replication_status sender_listen(
    replication_sender *sender, const char *address, uint16_t *out_port);

/**
 * Serves a reader whose Sync message the host has read: the library answers it and streams. An
 * earlier connection of the same reader is closed, with status `REPLACED`.
 *
 * - `fd`: a connected stream socket. With `OK` it belongs to the library; otherwise it stays the
 *   caller's, open, but its non-blocking mode may have changed.
 * - `reader_id`: from the Sync message; 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes without
 *   control characters.
 * - `last_known_sequence`: from the Sync message.
 *
 * Returns `OK`, after which a refusal of this reader arrives as an event; `INVALID_ARGUMENT` for a
 * wrong reader id; `BAD_DESCRIPTOR` for a descriptor that is closed or no stream socket;
 * `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop(); `IO`. Does not wait for the
 * peer.
 */
replication_status sender_accept_reader(
    replication_sender *sender, int fd, const char *reader_id, uint64_t last_known_sequence);

/**
 * Serves a new connection: the library does the handshake.
 *
 * - `fd`: a connected stream socket. With `OK` it belongs to the library; otherwise it stays the
 *   caller's, open, but its non-blocking mode may have changed.
 *
 * Returns `OK`, after which a handshake that fails arrives as an event; `BAD_DESCRIPTOR` for a
 * descriptor that is closed or no stream socket; `BUFFER_FULL` while too many handshakes are under
 * way; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop(); `IO`. Does not wait for
 * the peer.
 */
replication_status sender_accept_connection(replication_sender *sender, int fd);

/**
 * Puts an entry into the log and gives it the next sequence. Entries of concurrent calls get
 * different sequences and reach every reader in their order. Does not wait for the network or a
 * reader, except under `REPLICATION_FULL_POLICY_WAIT` and `REPLICATION_GATE_POLICY_SLOW`.
 *
 * - `timestamp_us`: microseconds since the Unix epoch; handed on as it is.
 * - `payload`, `payload_len`: any bytes, also none; copied.
 * - `out_sequence`: the sequence; may be NULL. The one output that may be written although the call
 *   fails, see below.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL payload with a length; `MESSAGE_TOO_LARGE` for a
 * payload that no message or the window cannot hold; `BUFFER_FULL` under the policies that refuse,
 * and when a log on disk is too slow; `GATED` while the write gate is shut (see
 * sender_config_set_write_gate()); `NOT_WRITER` after sender_set_writable() with false;
 * `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop(); `OUT_OF_MEMORY`; with a log
 * on disk `DISK_FULL` and `STALLED` while the disk refuses for now (see the event `WAL_STALLED`),
 * and `IO` when it failed. Unless it returns `OK`, no sequence is used up, but for one case: under
 * `REPLICATION_SYNC_POLICY_ALWAYS` the entry was taken and its sync failed (`IO`), took too long
 * (`TIMEOUT`) or was cut short by sender_stop() (`CLOSED`). Then `*out_sequence` is the entry's,
 * and sender_wait_durable() tells later what became of it.
 */
replication_status sender_replicate(
    replication_sender *sender, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len,
    uint64_t *out_sequence);

/**
 * Puts many entries into the log with consecutive sequences: all of them or, unless it returns
 * `OK`, none. Otherwise like sender_replicate().
 *
 * - `timestamp_us`: of all of them.
 * - `payloads`, `count`: at least one.
 * - `out_first_sequence`: the sequence of the first; may be NULL.
 *
 * Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a `count` of 0,
 * `MESSAGE_TOO_LARGE` also for a batch that is larger than the window.
 */
replication_status sender_replicate_batch(
    replication_sender *sender, uint64_t timestamp_us, const replication_slice *payloads,
    size_t count, uint64_t *out_first_sequence);

/**
 * Closes the connection of a reader, with status `REMOVED`. It may connect again.
 *
 * Returns `OK`; `NOT_FOUND` when no such reader is connected; `INVALID_ARGUMENT` for a wrong id;
 * `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
 */
replication_status sender_remove_reader(replication_sender *sender, const char *reader_id);

/** Returns how many readers are connected; 0 for NULL and where another function would fail. */
size_t sender_reader_count(const replication_sender *sender);

/**
 * Returns the sequence of the last entry, 0 when there was none; 0 for NULL and where another
 * function would fail.
 */
uint64_t sender_current_sequence(const replication_sender *sender);

/**
 * Tells the lineage of the log, for a host to store and to set after a restart.
 *
 * - `out_stream_id`: room for `REPLICATION_STREAM_ID_BYTES` bytes.
 * - `out_epoch`: the epoch.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_get_stream(
    const replication_sender *sender, uint8_t *out_stream_id, uint64_t *out_epoch);

/**
 * Says whether this node is the writer; a new sender's is. While it is not, readers are
 * disconnected and refused, and entries refused, with `NOT_WRITER`. May be called before
 * sender_start().
 *
 * Returns `OK`; `CLOSED` after sender_stop().
 */
replication_status sender_set_writable(replication_sender *sender, bool writable);

/**
 * Gives the statistics as a JSON object, to which keys are only ever added.
 *
 * - `out_json`: the text, to be freed with replication_string_free().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_stats_json(const replication_sender *sender, char **out_json);

/**
 * Stops a sender: refuses new entries, lets the readers catch up for the stop timeout, closes
 * everything and waits for its threads. When it returns no callback runs. Every later call returns
 * `CLOSED`, except those that only ask. Stopping twice is allowed.
 *
 * A reader has caught up when it has received the last entry; whether it has applied it is asked
 * with sender_wait_acked() before. Returns `OK`; `TIMEOUT` when the sender is stopped now but some
 * connected readers did not get everything in time (the text names them), or the disk is still busy
 * with the last entries; `IO`, `DISK_FULL` or `STALLED` when it is stopped but the log on disk
 * lacks the last entries (the text names them), or its slots could not be stored: a disk that
 * refuses for now is tried again until the stop timeout is over; `WRONG_THREAD` in a callback of
 * this sender, and then it goes on running. Any other thread.
 */
replication_status sender_stop(replication_sender *sender);

/**
 * Frees a sender; one that runs is stopped first, as by sender_stop(). NULL is ignored. When it
 * returns no callback runs and the `user_data` of its callbacks is freed.
 *
 * In a callback of this sender, another thread ends it soon after: no other callback begins, and
 * `user_data` is freed on that thread. In a process forked from the one that made the sender this
 * does nothing, and its memory is not given back.
 *
 * No other call on the sender may run or follow.
 */
void sender_free(replication_sender *sender);

/* Sender: waiting for readers ------------------------------------------------------------------ */

/** How far a reader has processed an entry. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_ack_level, uint32_t) {
    REPLICATION_ACK_LEVEL_RECEIVED = 1, /**< The reader has received and checked it. */
    REPLICATION_ACK_LEVEL_DURABLE = 2, /**< It is on the reader's disk. */
    REPLICATION_ACK_LEVEL_APPLIED = 3, /**< The reader's handler has applied it. */
};

/**
 * Makes a quorum without a condition, to be filled by replication_quorum_add().
 *
 * Returns the quorum, to be freed with replication_quorum_free(); NULL without memory, and then
 * replication_last_error_message() has the reason.
 */
replication_quorum *replication_quorum_new(void);

/**
 * Adds a condition: so many readers of a group. All conditions of a quorum must be met; one reader
 * may count for several.
 *
 * - `group`: a name from sender_config_add_group(); NULL: any readers.
 * - `readers`: how many, at least 1.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0 readers, text that is not UTF-8, and for a 65th condition.
 * Whether there is such a group is checked when a sender gets the quorum.
 */
replication_status replication_quorum_add(
    replication_quorum *quorum, const char *group, size_t readers);

/** Frees a quorum. NULL is ignored. Waits that began with it go on. */
void replication_quorum_free(replication_quorum *quorum);

/**
 * Waits until readers have acknowledged an entry.
 *
 * - `sequence`: an entry that was replicated, and with it all before.
 * - `level`: a replication_ack_level: how sure they must be of it. The acknowledgement of a v1
 *   reader counts as received only: it does not say what became of the entry.
 * - `readers`: how many, counting those that acknowledged it and left. A reader has what it
 *   acknowledged of what it was sent, and what it proved to have when it connected, by the chain
 *   hash of its history: v2 readers that go on from a token or a log on disk do so by themselves.
 *   What a reader only says of itself counts for nothing.
 * - `timeout_ms`: how long, in milliseconds; 0 only looks, `UINT64_MAX` waits for ever.
 * - `out_readers`: how many have; written with `OK` and with `TIMEOUT`; may be NULL.
 *
 * Returns `OK`; `TIMEOUT`: readers may have it nevertheless, now or later, which sender_acked()
 * tells; `INVALID_ARGUMENT` for a number that is no level, for a sequence that no entry has yet,
 * and for more readers than there can be; `WRONG_THREAD` in a callback of this sender;
 * `INVALID_STATE` before sender_start(); `CLOSED` when the sender is or gets stopped. Any other
 * thread. It may use its processor for up to 50 microseconds before it sleeps, while that saves
 * time.
 */
replication_status sender_wait_acked(
    replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers,
    uint64_t timeout_ms, size_t *out_readers);

/**
 * Waits until a quorum of readers has acknowledged an entry. Otherwise like sender_wait_acked().
 *
 * - `quorum`: who, with at least one condition; only looked at during the call.
 * - `out_readers`: how many readers have, of whatever group.
 *
 * Returns what sender_wait_acked() returns; `INVALID_ARGUMENT` also for NULL, for a quorum without
 * a condition, for a group that this sender does not have, and for more readers of a group than it
 * can have. With `TIMEOUT` the text names the groups that lack readers. Any other thread.
 */
replication_status sender_wait_acked_quorum(
    replication_sender *sender, uint64_t sequence, uint32_t level, const replication_quorum *quorum,
    uint64_t timeout_ms, size_t *out_readers);

/**
 * Tells whether readers have acknowledged an entry, without waiting. This is what became of an
 * entry whose wait ended with `TIMEOUT`: its sequence is the ticket. It can be asked as often as
 * one likes, about any entry, and in a later process that goes on with the same log, where readers
 * prove what they have when they connect again. Once it was `OK` for an entry, a level and a number
 * of readers, it stays so in this process.
 *
 * A sequence names an entry of one history only. A node that was promoted answers for the entries
 * that it numbered itself or inherited with their history, from its log on disk or a token; where
 * sender_config_set_stream() and sender_config_set_last_sequence() gave it a bare number, no reader
 * is counted for that entry or one before it. So a host that may ask after a promotion stores the
 * token of the transaction's place beside its sequence (sender_token()), and compares the stream
 * and the epoch first.
 *
 * - `sequence`, `level`, `readers`: as for sender_wait_acked().
 * - `out_readers`: how many have; written with `OK`, `TIMEOUT` and `CLOSED`; may be NULL.
 *
 * Returns `OK` when enough have; `TIMEOUT` when not enough have so far; `CLOSED` when not enough
 * had when the sender was stopped; `INVALID_ARGUMENT` as sender_wait_acked() does. Counted are the
 * readers that are known: connected, or among the last ones that left, of which twice the number of
 * sender_config_set_max_readers() is remembered.
 */
replication_status sender_acked(
    const replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers,
    size_t *out_readers);

/**
 * Tells whether a quorum of readers has acknowledged an entry, without waiting. Otherwise like
 * sender_acked().
 *
 * - `quorum`: as for sender_wait_acked_quorum().
 * - `out_readers`: how many readers have, of whatever group; written with `OK`, `TIMEOUT` and
 *   `CLOSED`; may be NULL.
 *
 * Returns what sender_acked() returns; `INVALID_ARGUMENT` also as sender_wait_acked_quorum() does.
 */
replication_status sender_acked_quorum(
    const replication_sender *sender, uint64_t sequence, uint32_t level,
    const replication_quorum *quorum, size_t *out_readers);

/**
 * Has a callback called when readers have acknowledged an entry, and does not wait.
 *
 * With `OK`, `callback` is called exactly once, on the sender's callback thread, perhaps before
 * this function returns: with `REPLICATION_STATUS_OK` when enough readers have the entry, which
 * they may already; with `_TIMEOUT` when the time has passed; with `_CLOSED` when the sender is
 * stopped before, also by sender_free(). The one exception: when the sender is freed in a callback
 * of its own, no callback follows and only `user_data_free` runs. Otherwise than with `OK`, it is
 * not called. `user_data_free` (may be NULL) runs once in any case: after the call, or when this
 * function fails.
 *
 * - `sequence`, `level`, `readers`: as for sender_wait_acked().
 * - `timeout_ms`: in milliseconds; 0 only looks, `UINT64_MAX` waits until the sender is stopped.
 * - `callback`: not NULL.
 * - `out_ticket`: a number for sender_ticket_status(), not 0; the callback gets it too; may be
 *   NULL.
 *
 * Returns `OK`; `INVALID_ARGUMENT` as sender_wait_acked() does, and for NULL; `BUFFER_FULL` when as
 * many calls are outstanding as sender_config_set_max_pending_acks() allows; `OUT_OF_MEMORY`;
 * `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
 */
replication_status sender_on_acked(
    replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers,
    uint64_t timeout_ms, replication_acked_fn callback, void *user_data,
    replication_free_fn user_data_free, uint64_t *out_ticket);

/**
 * Has a callback called when a quorum of readers has acknowledged an entry, and does not wait.
 * Otherwise like sender_on_acked().
 *
 * - `quorum`: as for sender_wait_acked_quorum(); only looked at during the call.
 *
 * Returns what sender_on_acked() returns; `INVALID_ARGUMENT` also as sender_wait_acked_quorum()
 * does.
 */
replication_status sender_on_acked_quorum(
    replication_sender *sender, uint64_t sequence, uint32_t level, const replication_quorum *quorum,
    uint64_t timeout_ms, replication_acked_fn callback, void *user_data,
    replication_free_fn user_data_free, uint64_t *out_ticket);

/**
 * Tells how a call of sender_on_acked() ended or stands, also long after it ended with `TIMEOUT`.
 * Once enough readers were seen to have the entry, the answer stays `OK`. Tickets are this
 * process's: the last 65536 whose callback was due are kept, besides those outstanding.
 * sender_acked() has no such bound.
 *
 * - `ticket`: from sender_on_acked().
 * - `out_readers`: how many readers have the entry; written with `OK`, `TIMEOUT` and `CLOSED`; may
 *   be NULL.
 *
 * Returns `OK` when enough readers have the entry, or had when the callback was called; `TIMEOUT`
 * when not enough have so far; `CLOSED` when not enough had when the sender was stopped;
 * `NOT_FOUND` for a number that is no ticket of this sender, or too old.
 */
replication_status sender_ticket_status(
    const replication_sender *sender, uint64_t ticket, size_t *out_readers);

/* Sender: the log on disk ---------------------------------------------------------------------- */

/**
 * The size of a token: a position with its stream, its epoch and the hash of the entries before it.
 */
#define REPLICATION_TOKEN_BYTES 48

/** When what is written to a log on disk is made durable. */
REPLICATION_ENUM(replication_sync_policy, uint32_t) {
    /** Before sender_replicate() returns. Callers at the same time share one sync. */
    REPLICATION_SYNC_POLICY_ALWAYS = 0,
    /**
     * After a time or a number of bytes, whichever comes first, and at once when somebody waits for
     * it.
     */
    REPLICATION_SYNC_POLICY_GROUP = 1,
    /**
     * When the operating system likes, and when somebody waits for it. Survives the end of the
     * process, not of the machine.
     */
    REPLICATION_SYNC_POLICY_OS = 2,
};

/**
 * Sets the directory of the log on disk. NULL: the log lives in memory only, the default. The
 * directory is made if it is not there; its parent must be. sender_new() opens it, goes on with the
 * stream, the epoch and the sequence it finds there, and keeps it locked until sender_free().
 *
 * With a log on disk readers are sent what is safe there: what was synced, under `OS` what was
 * written. A reader that falls out of memory goes on from disk; one whose entries are gone from
 * there too is told `WAL_ROTATED`. docs/durability.md tells the whole.
 *
 * A relative path is made absolute now, and the directory is held open from then on: a host that
 * changes its working directory or its root afterwards changes nothing. If the directory is moved,
 * removed or replaced while it is in use, or the file `lock` in it is, the log ends with the event
 * `WAL_FAILED` within about a second, and nothing more is confirmed.
 *
 * Others may not write to the directory: see sender_config_set_insecure_permissions_allowed().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for an empty path or one that is not UTF-8; `IO` for a relative
 * path when the process has no working directory.
 */
replication_status sender_config_set_wal_dir(replication_sender_config *config, const char *path);

/**
 * Sets when the log on disk is made durable. Default `GROUP` with 5 ms and 1048576 bytes.
 *
 * - `policy`: a replication_sync_policy.
 * - `interval_ms`, `bytes`: for `GROUP`: the longest time in milliseconds and the most bytes
 *   between two syncs; otherwise ignored.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy, and for 0 with `GROUP`.
 */
replication_status sender_config_set_wal_sync(
    replication_sender_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes);

/**
 * Sets the usual size in bytes of a file of the log, the unit in which old entries go. Default
 * 67108864 (64 MiB), at least 65536, at most 1073741824 (1 GiB).
 *
 * Returns `OK`; `INVALID_ARGUMENT` for less or more.
 */
replication_status sender_config_set_wal_segment_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets how many bytes of the log stay on disk when no slot needs them. Default 1073741824 (1 GiB).
 * The newest file always stays.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_config_set_wal_retain_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets after how many milliseconds entries leave the disk when no slot needs them. Default 86400000
 * (a day).
 *
 * Whole files go. A file goes when its last entry was written longer ago than this; and a file is
 * completed before it is full when its first entry was written a quarter of this ago. So an entry
 * is gone one and a quarter times this after it was written, and up to ten seconds more, also when
 * nothing is written any more. The last file stays, without entries then. What counts is when the
 * library wrote the entry, not its timestamp.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_wal_retain_ms(
    replication_sender_config *config, uint64_t age_ms);

/**
 * Sets how many bytes of the log the slot of a reader may hold back beyond what retention keeps.
 * Default 8589934592 (8 GiB). A slot that would hold back more is lost: an event, and `WAL_ROTATED`
 * for its reader if it then asks for what is gone.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_config_set_slot_max_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets how long in milliseconds the slot of a reader is kept that does not come back. Default
 * 604800000 (a week).
 *
 * The time runs on the boot clock, which nobody can set. How long a slot was out of use before
 * sender_new() is known by the wall clock alone: that counts from ten minutes after sender_new(),
 * and after each time that the wall clock was set by more than 5 seconds; until then such a slot is
 * as old as the handle.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_slot_expiry_ms(
    replication_sender_config *config, uint64_t expiry_ms);

/**
 * Sets how long in milliseconds sender_replicate() waits for the disk: for room in memory that is
 * not written yet, and under `ALWAYS` for the sync. Default 5000.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status sender_config_set_wal_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets where a sender begins whose log is new: after a position that a reader reached, to take over
 * as the writer.
 *
 * - `token`: `REPLICATION_TOKEN_BYTES` from receiver_token() or sender_token(): stream, epoch,
 *   sequence, and the hash of what lies before, by which readers recognise whether this writer has
 *   the history that they have.
 * - `epoch`: the epoch in which this sender writes, above the token's when it takes over from
 *   another writer; 0: the token's.
 *
 * It replaces sender_config_set_stream() and sender_config_set_last_sequence(). Returns `OK`;
 * `INVALID_ARGUMENT` for NULL, for a token that is damaged, and for an epoch below the token's.
 */
replication_status sender_config_set_token(
    replication_sender_config *config, const uint8_t *token, uint64_t epoch);

/**
 * Gives the position after the last entry of a sender, with stream, epoch and hash.
 *
 * - `out_token`: room for `REPLICATION_TOKEN_BYTES`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_token(const replication_sender *sender, uint8_t *out_token);

/**
 * Waits until an entry is on this node's disk, whatever the sync policy; it is synced at once.
 *
 * - `sequence`: an entry that was replicated.
 * - `timeout_ms`: how long, in milliseconds; 0 only looks.
 *
 * Returns `OK`; `TIMEOUT`; `INVALID_STATE` without sender_config_set_wal_dir() or before
 * sender_start(); `INVALID_ARGUMENT` for a sequence that no entry has yet; `IO` when the disk
 * failed; `DISK_FULL` or `STALLED` while it refuses for now; `CLOSED`; `WRONG_THREAD` in a callback
 * of this sender. Any other thread.
 */
replication_status sender_wait_durable(
    replication_sender *sender, uint64_t sequence, uint64_t timeout_ms);

/**
 * Gives the slots of a sender's readers as a JSON array with an object for each: `reader_id`,
 * `connected`, `state` ("held" or "lost"), `sequence`, `held_bytes`, `max_bytes`, `updated`,
 * `acknowledged` (whether its reader ever acknowledged or proved anything), and `lost_in_s`: in how
 * many seconds it is lost at this rate, or null.
 *
 * - `out_json`: the text, to be freed with replication_string_free().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL; `INVALID_STATE` without sender_config_set_wal_dir().
 */
replication_status sender_slots_json(const replication_sender *sender, char **out_json);

/**
 * Gives up the slot of a reader that will not come back, so that it no longer holds the log. A
 * connected reader is not disconnected; it gets a slot again when it connects again. Allowed before
 * sender_start() and after sender_stop(), too.
 *
 * Returns `OK`; `NOT_FOUND` when there is none; `INVALID_STATE` without
 * sender_config_set_wal_dir(); `INVALID_ARGUMENT`; of a sender that does not run, `IO`, `DISK_FULL`
 * or `STALLED` when the disk does not take it.
 */
replication_status sender_drop_slot(replication_sender *sender, const char *reader_id);

/* Receiver: configuration ---------------------------------------------------------------------- */

/** The longest reader id in bytes, without the NUL. */
#define REPLICATION_MAX_READER_ID_BYTES 255

/** Which protocol versions a receiver speaks. */
REPLICATION_ENUM(replication_protocol, uint32_t) {
    REPLICATION_PROTOCOL_AUTO = 0, /**< Offer v2, accept v1. */
    REPLICATION_PROTOCOL_V1 = 1, /**< Speak v1 only. */
    REPLICATION_PROTOCOL_V2 = 2, /**< Refuse a writer that does not speak v2. */
};

/** What a receiver does when the writer's entries have a gap. */
REPLICATION_ENUM(replication_gap_policy, uint32_t) {
    REPLICATION_GAP_POLICY_REFUSE = 0, /**< Report it and do not go on. */
    /** Report it, count it and go on after it: entries are lost to this reader. */
    REPLICATION_GAP_POLICY_CONTINUE = 1,
};

/** What a receiver does with an entry that the handler does not take. */
REPLICATION_ENUM(replication_apply_policy, uint32_t) {
    /** Try for ever, with growing pauses; the position stays. */
    REPLICATION_APPLY_POLICY_RETRY = 0,
    /** Try again the given number of times, then stop applying. */
    REPLICATION_APPLY_POLICY_STOP = 1,
    /** Try again the given number of times, then skip the entry, reported and counted. */
    REPLICATION_APPLY_POLICY_SKIP = 2,
};

/**
 * Makes a configuration with every option at its default. A reader id, a writer address and one of
 * the three handlers must be set before receiver_new().
 *
 * Returns the configuration, to be freed with receiver_config_free(); NULL without memory, and then
 * replication_last_error_message() has the reason.
 */
replication_receiver_config *receiver_config_new(void);

/**
 * Frees a configuration, and the `user_data` of callbacks that no receiver was made with. NULL is
 * ignored. Receivers made from it live on.
 */
void receiver_config_free(replication_receiver_config *config);

/**
 * Sets the name under which the writer knows this reader: 1 to `REPLICATION_MAX_READER_ID_BYTES`
 * bytes of UTF-8 without control characters (ASCII's and C1's, line and paragraph separators, marks
 * that override the direction of text). Required. A second connection with the same name replaces
 * the first.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, "", text that is too long, not UTF-8 or has a control
 * character.
 */
replication_status receiver_config_set_reader_id(
    replication_receiver_config *config, const char *reader_id);

/**
 * Sets where the writer is: "host:port", where an IPv6 address is in brackets; "unix:/path"; or
 * "unix:@name" for a Unix socket in the abstract namespace. Several of them, separated by commas,
 * are tried in turn: which of the nodes is the writer shows when one of them accepts this reader.
 * Required, also with a connect handler, which gets one of them at a time.
 *
 * A host name is resolved at each attempt. Connects race over all addresses of all names as RFC
 * 8305 describes: the next one begins after 250 ms, or when one has failed, and the first that
 * connects is used alone. When TLS or the handshake fails there, or takes longer than its share of
 * the connect timeout, the next address has its turn at once; after the last one comes a pause. A
 * connection that ends later is tried again at the same address first if it lived for long, unless
 * the node says that it is not the writer.
 *
 * A relative path is made absolute now: a later change of the working directory does not matter.
 * Write "unix:./@name" for a file whose name begins with "@". With TLS, the certificate must have
 * the name of the address in the list that is dialled, unless a server name is set.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, "" or text that is not UTF-8; `IO` when a path cannot
 * be made absolute. Whether it parses is checked by receiver_new().
 */
replication_status receiver_config_set_writer_addr(
    replication_receiver_config *config, const char *writer_addr);

/**
 * Sets the last sequence that the host has applied; the writer goes on after it. Default 0:
 * everything from the first entry. For exactly-once, store the sequence in the same transaction as
 * the entry and set it here after a restart.
 *
 * A bare number proves nothing: the writer counts this reader for waits and its write gate only
 * when it acknowledges something new, and its history stays unknown, so that a fork may not be
 * noticed. receiver_config_set_token() has both.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_last_sequence(
    replication_receiver_config *config, uint64_t sequence);

/**
 * Sets the lineage that the last sequence belongs to, as receiver_get_stream() gave it. Default:
 * the lineage of the first writer is adopted. A writer of another stream or of an older epoch is
 * then refused and reported as diverged.
 *
 * - `stream_id`: `REPLICATION_STREAM_ID_BYTES` bytes.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_config_set_stream(
    replication_receiver_config *config, const uint8_t *stream_id, uint64_t epoch);

/**
 * Sets which protocol versions to speak, a replication_protocol. Default
 * `REPLICATION_PROTOCOL_AUTO`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no protocol.
 */
replication_status receiver_config_set_protocol(
    replication_receiver_config *config, uint32_t protocol);

/**
 * Sets whether the handshake uses the message types of a cluster coordinator (0x10 and 0x11 instead
 * of 0x12 and 0x13). Default false.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_coordinator_handshake(
    replication_receiver_config *config, bool enabled);

/**
 * Sets what happens when the writer's entries have a gap, a replication_gap_policy. Default
 * `REPLICATION_GAP_POLICY_REFUSE`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
 */
replication_status receiver_config_set_gap_policy(
    replication_receiver_config *config, uint32_t policy);

/**
 * Sets what happens to an entry that the handler does not take. Default
 * `REPLICATION_APPLY_POLICY_RETRY`, which also holds for an entry for which the handler returns
 * `REPLICATION_STATUS_CLOSED`.
 *
 * - `policy`: a replication_apply_policy.
 * - `retries`: how often `REPLICATION_APPLY_POLICY_STOP` and `REPLICATION_APPLY_POLICY_SKIP` try
 *   again before they stop or skip; ignored for the other.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
 */
replication_status receiver_config_set_apply_policy(
    replication_receiver_config *config, uint32_t policy, uint32_t retries);

/**
 * Sets whether the handler makes an entry durable before it returns. Default false. If true, what
 * is applied is also acknowledged to the writer as durable.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_handler_durable(
    replication_receiver_config *config, bool durable);

/**
 * Sets the longest pause between two attempts to connect, in milliseconds. Default 5000. Pauses
 * begin much shorter and grow up to it, with jitter. A connection that lived for twice this time
 * makes them short again. A receiver that another one with the same reader id has replaced waits
 * this long, or up to half as long again.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_reconnect_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Sets how often a moving position is acknowledged, in milliseconds. Default 100.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_ack_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Sets how long connecting and the handshake may take together, in milliseconds. Default 5000.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_connect_timeout_ms(
    replication_receiver_config *config, uint64_t timeout_ms);

/**
 * Sets how often an idle connection to a v2 writer says that it lives, in milliseconds. Default
 * 1000. Must be below the peer timeout.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_heartbeat_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Sets how long a v2 writer may be silent before the connection is given up, in milliseconds.
 * Default 10000.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_peer_timeout_ms(
    replication_receiver_config *config, uint64_t timeout_ms);

/**
 * Sets how many bytes may be received and not yet applied. Default 4194304 (4 MiB), at least 65536.
 * One entry that is larger is still taken.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for less than 65536.
 */
replication_status receiver_config_set_buffer_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * Sets by how much the writer's epoch may rise at once. Default 1152921504606846976 (2^60), at
 * least 1. A writer whose epoch is further above the last one that was followed is refused with
 * `DIVERGED`, and the text names both. So nobody can use up the epochs of a stream in one step: the
 * true writer could never have a higher one. The first epoch that a receiver meets may be any;
 * where a token, receiver_config_set_stream() or its log on disk names one, it counts from there.
 *
 * Call it with what your epochs are made of: a counter rises by one, a time in microseconds by
 * more.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_max_epoch_jump(
    replication_receiver_config *config, uint64_t jump);

/**
 * Takes files and directories whose permissions are refused otherwise. Default false. Call it
 * before the setters that name them: receiver_config_set_tls() looks at its key file at once,
 * receiver_new() at the log's directory.
 *
 * Refused, with `INVALID_ARGUMENT` and a text that names the path, its owner and mode and what to
 * do, are: a log's directory that belongs neither to this process's user nor to root, or that every
 * user may write to; a private key that belongs to neither, that its group or others may write to,
 * that others may read, or that its group may read unless root owns it. With true they are used,
 * and each is reported with the event `UNPROTECTED`, as a log's directory is that only its group
 * may write to.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_config_set_insecure_permissions_allowed(
    replication_receiver_config *config, bool allowed);

/**
 * Encrypts connections with TLS 1.3 and checks the writer's certificate. Default: no TLS. Counts
 * for every connection, also those of a connect handler, which gives the plain socket. A writer
 * without TLS, or with a certificate that does not fit, is not followed; nothing turns this check
 * off. The TLS handshake is part of what receiver_config_set_connect_timeout_ms() bounds.
 *
 * The files are read now, each in PEM; later changes of them are not seen. Others may neither read
 * nor change the key's: see receiver_config_set_insecure_permissions_allowed().
 *
 * - `ca_file`: the writer must have a certificate of one of these authorities.
 * - `server_name`: the DNS name or IP address that the writer's certificate must be for; NULL: the
 *   host in the writer address. With a Unix socket it must be given.
 * - `certificate_chain_file`: this reader's certificate, then those that lead to an authority of
 *   the writer. NULL: none is shown, which a writer may refuse.
 * - `private_key_file`: the key of the first certificate, not encrypted; NULL together with
 *   `certificate_chain_file`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL where it is not allowed, "", text that is not UTF-8, a
 * name that is none, or a file that cannot be used; `IO` for one that cannot be read. The text
 * names the file. After an error the configuration is as it was.
 */
replication_status receiver_config_set_tls(
    replication_receiver_config *config, const char *ca_file, const char *server_name,
    const char *certificate_chain_file, const char *private_key_file);

/**
 * Sets the handler that gets entries one by one, in order, each once in the life of the receiver. A
 * receiver has exactly one of three kinds of handler (ingest, batch, record): setting one replaces
 * the earlier.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
 */
replication_status receiver_config_set_ingest_handler(
    replication_receiver_config *config, replication_ingest_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets the handler that gets entries many at a time, for languages where a call costs. A receiver
 * has exactly one of three kinds of handler (ingest, batch, record): setting one replaces the
 * earlier.
 *
 * - `max_entries`: entries in one call, at most; 0 means 1024. A call never waits for more entries
 *   than are there.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
 */
replication_status receiver_config_set_ingest_batch_handler(
    replication_receiver_config *config, size_t max_entries, replication_ingest_batch_fn handler,
    void *user_data, replication_free_fn user_data_free);

/**
 * Sets the handler that gets entries one by one with their msgpack payload decoded. A receiver has
 * exactly one of three kinds of handler (ingest, batch, record): setting one replaces the earlier.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
 */
replication_status receiver_config_set_record_handler(
    replication_receiver_config *config, replication_record_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets who writes each entry to the host's own log before the handler gets it. NULL: nobody, the
 * default. An entry that it does not take (a return other than 0) is tried again under the apply
 * policy and does not reach the handler.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_local_wal(
    replication_receiver_config *config, replication_ingest_fn append, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets who connects to the writer. NULL: the library itself, the default. The handler gets one
 * address of the list, with the path of a Unix socket absolute. It may take that address's share of
 * what receiver_config_set_connect_timeout_ms() says; while it runs, no other callback does.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_connect_handler(
    replication_receiver_config *config, replication_connect_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets who hears of events. NULL: nobody, the default.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`.
 */
replication_status receiver_config_set_event_handler(
    replication_receiver_config *config, replication_event_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets who gets log records. NULL: nobody, the default.
 *
 * - `max_level`: the least important replication_log_level to hand over; ignored when `handler` is
 *   NULL.
 *
 * It is called from the callback thread of the receiver, one call at a time with all other
 * callbacks. `user_data` and `user_data_free` move to the first receiver made from the
 * configuration; `user_data_free` (may be NULL) runs once, after the last call, and also when this
 * function fails or another handler replaces this one.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no level.
 */
replication_status receiver_config_set_log_handler(
    replication_receiver_config *config, int32_t max_level, replication_log_fn handler,
    void *user_data, replication_free_fn user_data_free);

/**
 * Sets the largest payload of an entry that the receiver takes, in bytes. Default 78643104, the
 * largest that an entry can have.
 *
 * A larger entry is refused before memory is taken for it: the connection ends with
 * `MESSAGE_TOO_LARGE`, a `PROTOCOL_ERROR` event whose sequence is the entry's, and an error that
 * the writer reports too. The receiver connects again, and goes no further until the limit is
 * raised: no entry is left out.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL and for 0.
 */
replication_status receiver_config_set_max_entry_bytes(
    replication_receiver_config *config, uint64_t max_bytes);

/**
 * Sets how much memory the records of one entry may take, in bytes, beside the entry itself.
 * Default 268435456 (256 MiB). Of use with receiver_config_set_record_handler() only: few bytes of
 * a payload may become a hundred times as many.
 *
 * An entry whose records would take more fails as if the handler had returned
 * `REPLICATION_STATUS_DECODE_FAILED`; one for whose records there is no memory, as if it had
 * returned `REPLICATION_STATUS_OUT_OF_MEMORY`.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL and for 0.
 */
replication_status receiver_config_set_records_max_bytes(
    replication_receiver_config *config, uint64_t max_bytes);

/* Receiver ------------------------------------------------------------------------------------- */

/**
 * Makes a receiver that does not run yet.
 *
 * - `config`: copied. Its callbacks move to the receiver, so a second receiver needs a
 *   configuration with callbacks of its own.
 * - `out`: the receiver, to be freed with receiver_free().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, when the reader id, the writer address or the handler
 * is not set, or when options contradict each other; `BAD_ADDRESS` when the writer address does not
 * parse; `INVALID_STATE` when the callbacks of `config` belong to an earlier receiver;
 * `OUT_OF_MEMORY` when the system does not give 256 KiB, which are asked for first and given back.
 * With receiver_config_set_wal_dir() also: `LOCKED` when another process has the directory;
 * `DAMAGED` for files that are not as this library wrote them (nothing is changed then); `DIVERGED`
 * when they have another history than the host's token; `IO` and `DISK_FULL`. After a failure the
 * callbacks still belong to `config`.
 */
replication_status receiver_new(
    const replication_receiver_config *config, replication_receiver **out);

/**
 * Starts a receiver. Connecting, and connecting again after a failure, happens in the background
 * and is told in events.
 *
 * Returns `OK`; `INVALID_STATE` when it was started before; `CLOSED` after receiver_stop(); `IO`
 * when the system gives no threads; if some had begun, the receiver is stopped: free it and make
 * another.
 */
replication_status receiver_start(replication_receiver *receiver);

/**
 * Returns whether a handshake has succeeded and its connection lives; false for NULL and where
 * another function would fail.
 */
bool receiver_is_connected(const replication_receiver *receiver);

/** Returns the last sequence that was applied; 0 for NULL and where another function would fail. */
uint64_t receiver_last_sequence(const replication_receiver *receiver);

/**
 * Tells the lineage that the receiver follows, for a host to store with its position.
 *
 * - `out_stream_id`: room for `REPLICATION_STREAM_ID_BYTES` bytes.
 * - `out_epoch`: the epoch.
 *
 * Returns `OK`; `NOT_FOUND` while it is unknown: before the first connection, and as long as the
 * writer speaks v1 only; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_get_stream(
    const replication_receiver *receiver, uint8_t *out_stream_id, uint64_t *out_epoch);

/**
 * Waits until an entry is applied, so that a reader sees what was written before.
 *
 * - `sequence`: the entry, and with it all before.
 * - `timeout_ms`: how long, in milliseconds; 0 only looks.
 *
 * Returns `OK`, also after receiver_stop() if it is applied; `TIMEOUT`; `INVALID_STATE` before
 * receiver_start(); `WRONG_THREAD` in a callback of this receiver; `APPLY_FAILED` when the apply
 * policy has stopped it before that entry; `LINEAGE_CHANGED` when another writer took over
 * meanwhile, in whose history the sequence may be another entry; `IO` or `DAMAGED` when the
 * receiver's log on disk has failed; `CLOSED` when the receiver is or gets stopped before it. Any
 * other thread.
 */
replication_status receiver_wait_sequence(
    replication_receiver *receiver, uint64_t sequence, uint64_t timeout_ms);

/**
 * Pauses a receiver: no entry is handed to the handler until receiver_resume(). When it returns no
 * handler runs, unless it was called from one. The connection stays up until the buffer is full and
 * the writer's patience ends. Pausing twice is allowed.
 *
 * Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after receiver_stop().
 */
replication_status receiver_pause(replication_receiver *receiver);

/**
 * Goes on after receiver_pause(). Allowed also when it is not paused.
 *
 * Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after receiver_stop().
 */
replication_status receiver_resume(replication_receiver *receiver);

/**
 * Gives the statistics as a JSON object, to which keys are only ever added.
 *
 * - `out_json`: the text, to be freed with replication_string_free().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_stats_json(const replication_receiver *receiver, char **out_json);

/**
 * Stops a receiver: ends the connection and waits for its threads; a running call of the handler is
 * waited for. What was applied before is acknowledged if that can still be sent. When it returns no
 * callback runs. Every later call returns `CLOSED`, except those that only ask. Stopping twice is
 * allowed.
 *
 * Returns `OK`; `WRONG_THREAD` in a callback of this receiver, and then it goes on running. Any
 * other thread.
 */
replication_status receiver_stop(replication_receiver *receiver);

/**
 * Frees a receiver; one that runs is stopped first, as by receiver_stop(). NULL is ignored. When it
 * returns no callback runs and the `user_data` of its callbacks is freed.
 *
 * In a callback of this receiver, another thread ends it soon after: no other callback begins, and
 * `user_data` is freed on that thread. In a process forked from the one that made the receiver this
 * does nothing, and its memory is not given back.
 *
 * No other call on the receiver may run or follow.
 */
void receiver_free(replication_receiver *receiver);

/* Receiver: the log on disk, and tokens -------------------------------------------------------- */

/**
 * Sets the directory of a log on disk in which the receiver keeps what it receives, before the
 * handler gets it. NULL: none, the default. The directory is made if it is not there; its parent
 * must be. receiver_new() opens it and keeps it locked until receiver_free().
 *
 * With it entries are acknowledged as durable when they are in this log, whatever the handler has
 * done; after a restart what was not applied comes from here, before anything from the writer; and
 * without receiver_config_set_token() or receiver_config_set_last_sequence() the receiver goes on
 * after the entry that was applied last, or a few before it. A node that is promoted gives the
 * directory to a sender with a higher epoch. Needs a v2 writer. docs/durability.md tells the whole.
 *
 * A relative path is made absolute now, and the directory is held open from then on: a host that
 * changes its working directory or its root afterwards changes nothing. If the directory is moved,
 * removed or replaced while it is in use, or the file `lock` in it is, the log ends with the event
 * `WAL_FAILED` within about a second, and nothing more is confirmed.
 *
 * Others may not write to the directory: see receiver_config_set_insecure_permissions_allowed().
 *
 * Returns `OK`; `INVALID_ARGUMENT` for an empty path or one that is not UTF-8; `IO` for a relative
 * path when the process has no working directory.
 */
replication_status receiver_config_set_wal_dir(
    replication_receiver_config *config, const char *path);

/**
 * Sets when the receiver's log is made durable, and so acknowledged as that. Default `ALWAYS`: what
 * has arrived together is synced together, before it is applied.
 *
 * - `policy`: a replication_sync_policy. Under `OS` entries are durable when the writer waits for
 *   it.
 * - `interval_ms`, `bytes`: for `GROUP`: the longest time in milliseconds and the most bytes
 *   between two syncs; otherwise ignored.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy, and for 0 with `GROUP`.
 */
replication_status receiver_config_set_wal_sync(
    replication_receiver_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes);

/**
 * Sets the usual size in bytes of a file of the receiver's log, the unit in which old entries go.
 * Default 67108864 (64 MiB), at least 65536, at most 1073741824 (1 GiB).
 *
 * Returns `OK`; `INVALID_ARGUMENT` for less or more.
 */
replication_status receiver_config_set_wal_segment_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * Sets how many bytes of the receiver's log stay on disk once they are applied. Default 1073741824
 * (1 GiB).
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_config_set_wal_retain_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * Sets after how many milliseconds applied entries leave the disk. Default 86400000 (a day).
 *
 * Whole files go. A file goes when its last entry was stored longer ago than this and all of it is
 * applied; and a file is completed before it is full when its first entry was stored a quarter of
 * this ago. So an applied entry is gone one and a quarter times this after it was stored, and up to
 * ten seconds more, also when nothing arrives any more. The last file stays, without entries then.
 * What counts is when the library stored the entry, not its timestamp.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0.
 */
replication_status receiver_config_set_wal_retain_ms(
    replication_receiver_config *config, uint64_t age_ms);

/**
 * Sets where the host stands: the token that it stored with its data. The writer goes on after it,
 * if it has the very history that the host has; a writer that was restored or forked is refused and
 * reported as diverged.
 *
 * - `token`: `REPLICATION_TOKEN_BYTES` from receiver_token().
 *
 * It replaces receiver_config_set_last_sequence() and receiver_config_set_stream(). Returns `OK`;
 * `INVALID_ARGUMENT` for NULL and for a token that is damaged.
 */
replication_status receiver_config_set_token(
    replication_receiver_config *config, const uint8_t *token);

/**
 * Gives the token of where a receiver stands. In a handler: the place after the entry, or the
 * entries, that it is called with, to be stored in the same transaction, so that each entry is
 * applied exactly once whatever crashes. Elsewhere: the place after what was applied last.
 *
 * - `out_token`: room for `REPLICATION_TOKEN_BYTES`.
 *
 * Returns `OK`; `NOT_FOUND` while the stream is unknown: before the first connection, and as long
 * as the writer speaks v1 only; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_token(const replication_receiver *receiver, uint8_t *out_token);

#ifdef __cplusplus
}
#endif

#include "replication_wire.h"
#include "replication_records.h"

#endif
