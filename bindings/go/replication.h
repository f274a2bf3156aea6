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
 * TOKENS. A token is a position in a history, in opaque bytes that a host stores and sends: at most
 * `REPLICATION_TOKEN_MAX_BYTES`. A function writes it to `token`, which has room for `token_size`
 * bytes, and its length to `*out_len`. Bytes that are no token are an `INVALID_ARGUMENT`.
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
 * freed in its own callback, on another one. That of sender_on_acked() runs after its only call, on
 * the thread that makes the call.
 *
 * SIGNALS AND EXITS. The library installs no signal handler. Its threads, callbacks included, block
 * every signal except those that a thread causes itself: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
 * SIGSYS and SIGABRT. The host's handlers for these run in callbacks as on any other thread; an
 * alternate signal stack belongs to one thread, so a callback that needs one sets it. Functions may
 * be called in exit handlers and in thread-local destructors, where texts are cut to 255 bytes.
 *
 * FORKS. Threads do not survive a fork. In the child, every handle and configuration made before
 * returns `FORKED`, functions that cannot fail return 0 or false, and _free does nothing. New ones
 * work. A child made by a bare clone() system call is not noticed.
 *
 * MEMORY. A function that is said to return NULL or `OUT_OF_MEMORY` does so when there is no
 * memory, and changes nothing. Every allocation that is large, or whose size a peer chooses, is
 * made by such a function or ends one connection. The rest is small: texts, events, statistics, and
 * what a start, a connection or a waiting thread needs. sender_new() and receiver_new() first ask
 * for 256 KiB and give them back, so that they fail where memory has run out. When the system has
 * no memory for a small allocation, the process ends with SIGABRT and a line on stderr.
 *
 * LOADING. The library stays loaded: dlclose() has no effect on it. Load it with RTLD_LOCAL, since
 * the names that begin with sender_ and receiver_ are plain, and compare replication_abi_version()
 * with `REPLICATION_ABI_VERSION`. Internal failures print a line to stderr, nothing to stdout.
 */
#ifndef REPLICATION_H
#define REPLICATION_H

/* Generated from src/ffi. Change the text there, then run `make header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header. The number is major * 1000000 + minor * 1000 + patch. */
#define REPLICATION_VERSION_MAJOR 0
#define REPLICATION_VERSION_MINOR 1
#define REPLICATION_VERSION_PATCH 0
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

/** The options of a sender. Created by sender_config_new(). */
typedef struct replication_sender_config replication_sender_config;

/** The writer's end: accepts entries and streams them to readers. Created by sender_new(). */
typedef struct replication_sender replication_sender;

/**
 * Which readers must have acknowledged an entry. Created by replication_quorum_new(). It belongs to
 * no sender, and any number of threads may use it once it is complete.
 */
typedef struct replication_quorum replication_quorum;

/**
 * When a sender takes entries: while enough connected readers are within a lag. Created by
 * replication_write_gate_new().
 */
typedef struct replication_write_gate replication_write_gate;

/** The options of a receiver. Created by receiver_config_new(). */
typedef struct replication_receiver_config replication_receiver_config;

/** A reader's end: passes the entries of one writer to a handler. Created by receiver_new(). */
typedef struct replication_receiver replication_receiver;

/**
 * The records of a payload: an array of maps. They do not change, so threads may share them.
 * Created by replication_records_parse(), or passed to a record handler for the call.
 */
typedef struct replication_records replication_records;

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
    REPLICATION_STATUS_NOT_FOUND = 12, /**< No such reader, slot, row, key or stream. */
    REPLICATION_STATUS_WRONG_TYPE = 13, /**< The value has another type or does not fit. */
    REPLICATION_STATUS_BUFFER_TOO_SMALL = 14, /**< Buffer too small; the needed length was set. */
    REPLICATION_STATUS_TRUNCATED = 15, /**< The frame is incomplete. */
    REPLICATION_STATUS_MESSAGE_TOO_SMALL = 16, /**< The frame has length 0. */
    REPLICATION_STATUS_MESSAGE_TOO_LARGE = 17, /**< The frame or payload exceeds its limit. */
    REPLICATION_STATUS_OUT_OF_MEMORY = 18, /**< The system has no memory. */
    REPLICATION_STATUS_DECODE_FAILED = 19, /**< Not a msgpack array of maps, or over a limit. */
    REPLICATION_STATUS_DAMAGED = 20, /**< Corrupt or newer log files; nothing was changed. */
    REPLICATION_STATUS_LOCKED = 21, /**< Another handle or process uses the directory. */
    REPLICATION_STATUS_DISK_FULL = 22, /**< No disk space left, or the quota is used up. */
    REPLICATION_STATUS_GATED = 23, /**< The write gate is closed: readers lag too far. */
    REPLICATION_STATUS_STALLED = 24, /**< The disk refuses writes for another reason. */
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
    REPLICATION_STATUS_LOST = 126, /**< The entry is not in this history. */
    /** The writer's rules do not let this connection in. */
    REPLICATION_STATUS_NOT_AUTHORIZED = 127,
};

/** Returns a status's name, such as "SEQUENCE_GAP"; "UNKNOWN" for other numbers. Static. */
const char *replication_status_name(int32_t status);

/**
 * Returns the text of this thread's last failed call; "" if none has failed, never NULL. It is the
 * library's and valid until this thread's next failed call or its end. Successful calls keep it.
 */
const char *replication_last_error_message(void);

/** Frees a string that the library returned as `char *`. */
void replication_string_free(char *string);

/* Version -------------------------------------------------------------------------------------- */

/** The ABI of this header. It rises when something that exists changes or is removed. */
#define REPLICATION_ABI_VERSION 2

/** Returns the loaded library's version as text, such as "0.1.0". Static. */
const char *replication_version(void);

/** Returns the loaded library's version, to compare with `REPLICATION_VERSION_NUMBER`. */
uint32_t replication_version_number(void);

/** Returns the loaded library's ABI, which must equal `REPLICATION_ABI_VERSION`. */
uint32_t replication_abi_version(void);

/* Callbacks ------------------------------------------------------------------------------------ */

/** The kind of an event. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_event_kind, int32_t) {
    REPLICATION_EVENT_KIND_CONNECTED = 1, /**< The handshake with a peer succeeded. */
    REPLICATION_EVENT_KIND_DISCONNECTED = 2, /**< A connection ended or an attempt failed. */
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
    REPLICATION_EVENT_KIND_DESCRIPTORS_LOW = 27, /**< Sender: closed a peer to save descriptors. */
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
 * An event. New fields are only added at the end. Strings are never NULL, and "" if unknown.
 * docs/embedding.md lists the fields' contents for each kind.
 */
typedef struct replication_event {
    /** sizeof(replication_event) in the library; read no field beyond it. */
    size_t struct_size;
    /** A replication_event_kind. Ignore unknown kinds. */
    int32_t kind;
    /** A replication_status, the reason; `REPLICATION_STATUS_OK` if nothing failed. */
    int32_t status;
    /** The entry concerned; 0 if none. */
    uint64_t sequence;
    /** The exact reader id. It may contain invisible characters, which other texts escape. */
    const char *reader_id;
    /** The peer's address. */
    const char *address;
    /** A sentence for people. */
    const char *message;
    /** A JSON object for programs. */
    const char *detail_json;
    /** Who the peer is, as far as the connection proves it, or "none". See docs/events.md. */
    const char *identity;
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
 * another number, as for a replication_ingest_fn. If `*applied` is `count`, the call succeeds.
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

/** Connects to the writer. Return a connected stream socket, which the library owns, or -1. */
typedef int (*replication_connect_fn)(void *user_data, const char *writer_addr);

/** Receives an event. */
typedef void (*replication_event_fn)(void *user_data, const replication_event *event);

/** Receives a log record: a replication_log_level, a text, and a JSON object; never NULL. */
typedef void (*replication_log_fn)(
    void *user_data, int32_t level, const char *message, const char *fields_json);

/**
 * Receives the result of a sender_on_acked() call: `REPLICATION_STATUS_OK`, `_TIMEOUT` or
 * `_CLOSED`, and how many readers have acknowledged the entry.
 */
typedef void (*replication_acked_fn)(void *user_data, int32_t status, size_t readers);

/** Frees `user_data`. Called once, after the last call of the callback. */
typedef void (*replication_free_fn)(void *user_data);

/* Sender --------------------------------------------------------------------------------------- */

/** Creates a configuration with default options. Returns NULL if out of memory. */
replication_sender_config *sender_config_new(void);

/** Frees a configuration, and the `user_data` of callbacks that no sender has taken over. */
void sender_config_free(replication_sender_config *config);

/**
 * Sets the number of network threads; 0: one per two processors, from one to four. Returns `OK`;
 * `INVALID_ARGUMENT` for more than 256. Default: 0. At most: 256.
 */
replication_status sender_config_set_io_threads(
    replication_sender_config *config, uint32_t threads);

/**
 * Sets for how many milliseconds sender_stop() lets readers catch up; 0: it closes their
 * connections at once. Returns `OK`. Default: 5000 (5 s).
 */
replication_status sender_config_set_stop_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Creates a sender, which sender_start() starts.
 * - `config`: copied; NULL for default options. Its callbacks move to the sender, unless the call
 *   fails: set them again before creating another sender.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL `out` or contradictory options; `INVALID_STATE` if an
 * earlier sender has the callbacks; `OUT_OF_MEMORY`; `IO` if the system has no random bytes. With
 * sender_config_set_wal_dir() also `LOCKED` if the directory is in use; `DAMAGED` for corrupt files
 * or those of a newer version, without changing them; `DIVERGED` if they belong to another stream
 * or a later epoch than configured; `REGRESSED` if they end before the configured last sequence,
 * `INVALID_ARGUMENT` if that is set without a stream; `IO` and `DISK_FULL`.
 */
replication_status sender_new(const replication_sender_config *config, replication_sender **out);

/**
 * Starts a sender's threads. From then on it accepts entries and readers. Returns `OK`;
 * `INVALID_STATE` if it was started before; `CLOSED` after sender_stop(); `IO` if the system
 * provides too few threads, which may leave the sender stopped: free it and create another.
 */
replication_status sender_start(replication_sender *sender);

/**
 * Changes an option of a sender that lives, by its name in docs/options.md: a time limit, a bound,
 * or what retention and slots keep. A connection keeps the values with which it began. Returns
 * `OK`; `NOT_FOUND` for any other name, with a text that lists those that may change;
 * `INVALID_ARGUMENT` for a value that sender_new() would refuse; `INVALID_STATE` for an option of
 * the log on disk without one; `CLOSED` after sender_stop().
 */
replication_status sender_set_option(replication_sender *sender, const char *name, uint64_t value);

/** Gets such an option. Returns `OK`; `NOT_FOUND` and `INVALID_STATE` as sender_set_option(). */
replication_status sender_option(
    const replication_sender *sender, const char *name, uint64_t *out_value);

/**
 * Stops a sender: refuses new entries, lets readers receive the last entry until the stop timeout
 * ends, closes everything and waits for its threads. To wait until readers have applied it, use
 * sender_wait_acked() before. Later calls return `CLOSED`, except queries and a second stop.
 *
 * Returns `OK`; `WRONG_THREAD` in a callback of this sender, which continues to run. With any other
 * status it is stopped: `TIMEOUT` if some readers, which the text names, lack entries or the disk
 * is still busy; `IO`, `DISK_FULL` or `STALLED` if the log on disk lacks the last entries, which
 * the text names, or the slots. A disk that refuses writes is retried until the stop timeout ends.
 */
replication_status sender_stop(replication_sender *sender);

/**
 * Frees a sender; one that runs is stopped first, as by sender_stop(). On return no callback runs
 * and the `user_data` of its callbacks is freed. Called in a callback of this sender, it leaves
 * this to another thread; no other callback begins.
 */
void sender_free(replication_sender *sender);

/* Sender: writing entries ---------------------------------------------------------------------- */

/** What happens to a new entry if the buffer is full of entries that a reader still needs. */
REPLICATION_ENUM(replication_full_policy, uint32_t) {
    /**
     * Accept it and cut off the slowest readers with `SEQUENCE_GAP`. With a log on disk they
     * continue from there, and only a slow disk delays the entry or refuses it.
     */
    REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST = 0,
    REPLICATION_FULL_POLICY_REFUSE = 1, /**< Refuse it with `BUFFER_FULL`. */
    REPLICATION_FULL_POLICY_WAIT = 2, /**< Wait for the slowest reader, then refuse. */
};

/**
 * Sets the capacity, in entries, of the buffer of entries in memory. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 10000. At least: 1.
 */
replication_status sender_config_set_buffer_size(replication_sender_config *config, size_t entries);

/**
 * Sets the capacity of the buffer in bytes; the limit that is reached first applies. Returns `OK`;
 * `INVALID_ARGUMENT` for less than 65536. Default: 67108864 (64 MiB). At least: 65536.
 */
replication_status sender_config_set_buffer_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets what happens to new entries if the buffer is full. Returns `OK`; `INVALID_ARGUMENT` for an
 * unknown policy.
 * - `policy`: a replication_full_policy. Default: `REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST`.
 * - `wait_ms`: how many milliseconds `REPLICATION_FULL_POLICY_WAIT` waits.
 */
replication_status sender_config_set_full_policy(
    replication_sender_config *config, uint32_t policy, uint64_t wait_ms);

/**
 * Appends an entry to the log and assigns it the next sequence. Every reader receives entries in
 * the order of their sequences. The call does not wait for the network or a reader, except under
 * `REPLICATION_FULL_POLICY_WAIT` and `REPLICATION_GATE_POLICY_SLOW`; see
 * sender_config_set_wal_timeout_ms() for waiting for the disk.
 * - `timestamp_us`: microseconds since the Unix epoch, passed on unchanged.
 * - `payload`, `payload_len`: any bytes, or none.
 * - `out_sequence`: the entry's sequence, also in the exception below; may be NULL.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for a NULL payload with a length; `MESSAGE_TOO_LARGE` for a
 * payload that does not fit a message or the buffer; `BUFFER_FULL` if the full policy refuses the
 * entry or the disk is too slow; `GATED` while the write gate is closed; `NOT_WRITER` after
 * sender_set_writable() with false; `INVALID_STATE` before sender_start(); `CLOSED` after
 * sender_stop(); `OUT_OF_MEMORY`; with a log on disk `DISK_FULL` and `STALLED` while the disk
 * refuses writes, and `IO` after it failed.
 *
 * On failure no sequence is used, with one exception: under `REPLICATION_SYNC_POLICY_ALWAYS` the
 * entry may be appended but its sync may fail (`IO`), take too long (`TIMEOUT`) or be cut short by
 * sender_stop() (`CLOSED`). Then `*out_sequence` is set; set it to 0 before to recognise this. Do
 * not append the entry again: sender_wait_durable() tells its outcome.
 */
replication_status sender_replicate(
    replication_sender *sender, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len,
    uint64_t *out_sequence);

/**
 * As sender_replicate(), and gives the entry's token, which identifies it also after a restart and
 * at another node. It is given, too, where sender_replicate() sets `*out_sequence` and fails.
 * Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a NULL `token` or `out_len`,
 * and `BUFFER_TOO_SMALL`: then nothing is appended.
 */
replication_status sender_replicate_token(
    replication_sender *sender, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len,
    uint8_t *token, size_t token_size, size_t *out_len);

/**
 * Appends entries with consecutive sequences, all of them or none, as sender_replicate() does.
 * - `timestamp_us`: for all entries.
 * - `payloads`, `count`: the entries, at least one.
 * - `out_first_sequence`: the sequence of the first; may be NULL.
 *
 * Returns what sender_replicate() returns; `INVALID_ARGUMENT` also for a `count` of 0,
 * `MESSAGE_TOO_LARGE` also for a batch that exceeds the buffer.
 */
replication_status sender_replicate_batch(
    replication_sender *sender, uint64_t timestamp_us, const replication_slice *payloads,
    size_t count, uint64_t *out_first_sequence);

/** Returns the last entry's sequence; 0 if there is none, and for a NULL or unusable handle. */
uint64_t sender_current_sequence(const replication_sender *sender);

/**
 * Sets whether this node is the writer, as a new sender is. Otherwise it refuses entries and
 * readers, and disconnects readers, with status NOT_WRITER. Allowed before sender_start(). Returns
 * `OK`; `CLOSED` after sender_stop().
 */
replication_status sender_set_writable(replication_sender *sender, bool writable);

/* Sender: accepting readers -------------------------------------------------------------------- */

/**
 * Sets how many readers may be connected at once; more are refused and reported. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 1024. At least: 1.
 */
replication_status sender_config_set_max_readers(replication_sender_config *config, size_t readers);

/**
 * Sets the permissions of Unix socket files, from their creation on and whatever the umask.
 * Connecting takes write permission. In the abstract namespace ("unix:@name"), the bits are applied
 * to the peer's user and group as if this process owned a file; others are disconnected (REFUSED).
 * Returns `OK`; `INVALID_ARGUMENT` for other bits. Default: 0600. At most: 0777.
 */
replication_status sender_config_set_unix_socket_mode(
    replication_sender_config *config, uint32_t mode);

/**
 * Encrypts connections with TLS 1.3, those of sender_listen() and sender_accept_connection(), not
 * those of sender_accept_reader(). Readers without TLS are then refused. The PEM files are read
 * now. The key must be protected, see sender_config_set_insecure_permissions_allowed(). See
 * docs/tls.md. Returns `OK`; `INVALID_ARGUMENT` for NULL, "", text that is not UTF-8 or an unusable
 * file; `IO` for an unreadable file. The text names it. A failure changes nothing. Default: none.
 * - `certificate_chain_file`: this writer's certificate, then those up to the readers' authority.
 * - `private_key_file`: the key of the first certificate, not encrypted.
 * - `client_ca_file`: readers need a certificate of one of these authorities; NULL: they need none.
 */
replication_status sender_config_set_tls(
    replication_sender_config *config, const char *certificate_chain_file,
    const char *private_key_file, const char *client_ca_file);

/**
 * Sets how many milliseconds the handshake of a connection may take, TLS included. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
 */
replication_status sender_config_set_handshake_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets how many milliseconds a reader may accept no bytes before it is disconnected. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
 */
replication_status sender_config_set_write_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Sets the heartbeat interval of idle v2 connections in milliseconds, below the peer timeout.
 * Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 1000 (1 s). At least: 1.
 */
replication_status sender_config_set_heartbeat_interval_ms(
    replication_sender_config *config, uint64_t interval_ms);

/**
 * Sets the shortest heartbeat interval in milliseconds that a v2 reader may request; shorter
 * requests get this one. The sender's own interval may be shorter. Returns `OK`; `INVALID_ARGUMENT`
 * for NULL or a value out of range. Default: 100. Range: 10 to 60000.
 */
replication_status sender_config_set_min_heartbeat_ms(
    replication_sender_config *config, uint64_t interval_ms);

/**
 * Sets how many milliseconds a v2 reader may be silent before it is disconnected. A v1 reader may
 * be silent forever, unless it may do no more than read and does not acknowledge what it was sent.
 * Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 10000 (10 s). At least: 1.
 */
replication_status sender_config_set_peer_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Accepts readers at an address. May be called for several addresses. docs/embedding.md describes
 * addresses, socket files and the descriptors that are kept free for the host.
 * - `address`: "host:port", with port 0 for any free port and an IPv6 address in brackets;
 *   "unix:/path", made absolute now; or "unix:@name" for a Unix socket in the abstract namespace.
 *   Every address of a host name is bound; those that this machine does not have are reported
 *   (LISTEN_INCOMPLETE). A killed process's socket file is replaced; of several processes that
 *   start at once, one gets it.
 * - `out_port`: the port, 0 for a Unix socket; may be NULL.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL or text that is not UTF-8; `BAD_ADDRESS` if it does not
 * parse or resolve, which may take time, or if this machine does not have it; `ADDRESS_IN_USE`;
 * `IO` for other system errors; `INVALID_STATE` before sender_start(); `CLOSED` after
 * sender_stop().
 */
replication_status sender_listen(
    replication_sender *sender, const char *address, uint16_t *out_port);

/**
 * Streams to a reader whose Sync message the host has read; the library sends the reply. An earlier
 * connection of the reader is closed (REPLACED). A refusal is reported as an event. The call does
 * not wait for the peer.
 * - `fd`: a connected stream socket. On `OK` the library owns it; otherwise the caller keeps it,
 *   but its non-blocking mode may have changed.
 * - `reader_id`, `last_known_sequence`: from the Sync message. The id has 1 to
 *   `REPLICATION_MAX_READER_ID_BYTES` bytes without control characters.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for an invalid id; `BAD_DESCRIPTOR` if `fd` is closed or no
 * stream socket; `IO`; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
 */
replication_status sender_accept_reader(
    replication_sender *sender, int fd, const char *reader_id, uint64_t last_known_sequence);

/**
 * Serves a new connection, handshake included, otherwise as sender_accept_reader(). A failed
 * handshake is reported as an event. Returns `OK`; `BUFFER_FULL` while too many handshakes are in
 * progress; `BAD_DESCRIPTOR`, `INVALID_STATE`, `CLOSED` and `IO` as sender_accept_reader().
 */
replication_status sender_accept_connection(replication_sender *sender, int fd);

/**
 * Disconnects a reader with status REMOVED. It may connect again. Returns `OK`; `NOT_FOUND` if it
 * is not connected; `INVALID_ARGUMENT` for an invalid id; `INVALID_STATE` before sender_start();
 * `CLOSED` after sender_stop().
 */
replication_status sender_remove_reader(replication_sender *sender, const char *reader_id);

/** Returns how many readers are connected; 0 for a NULL or unusable handle. */
size_t sender_reader_count(const replication_sender *sender);

/* Sender: waiting for readers ------------------------------------------------------------------ */

/** How far a reader has processed an entry. The numbers are part of the ABI. */
REPLICATION_ENUM(replication_ack_level, uint32_t) {
    REPLICATION_ACK_LEVEL_RECEIVED = 1, /**< The reader has received and checked it. */
    REPLICATION_ACK_LEVEL_DURABLE = 2, /**< It is on the reader's disk. */
    REPLICATION_ACK_LEVEL_APPLIED = 3, /**< The reader's handler has applied it. */
};

/**
 * Adds a group of readers for quorums to name: a site, a rack, a role. A reader may be in many
 * groups and need not be connected.
 * - `name`: 1 to 255 bytes without control characters.
 * - `reader_ids`, `count`: at least one reader id; one that ends with `*` stands for all with that
 *   prefix.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, a name or id that is empty or too long, text that is
 * not UTF-8, a count of 0, a name that exists already, and a 65th group.
 */
replication_status sender_config_add_group(
    replication_sender_config *config, const char *name, const char *const *reader_ids,
    size_t count);

/**
 * Sets how many calls of sender_on_acked() may be outstanding; further ones are refused with
 * BUFFER_FULL. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 65536. At least: 1.
 */
replication_status sender_config_set_max_pending_acks(
    replication_sender_config *config, size_t calls);

/**
 * Creates a quorum without a condition, to be filled by replication_quorum_add(). Returns the
 * quorum, to be freed with replication_quorum_free(); NULL without memory.
 */
replication_quorum *replication_quorum_new(void);

/**
 * Creates a quorum of any `readers` readers, at least 1; replication_quorum_add() may add
 * conditions. Returns the quorum, to be freed with replication_quorum_free(); NULL for 0 readers,
 * and without memory.
 */
replication_quorum *replication_quorum_any(size_t readers);

/**
 * Adds a condition. All conditions of a quorum must be met; one reader may count for several.
 * - `group`: a name from sender_config_add_group(), which is checked when a sender gets the quorum;
 *   NULL for any readers.
 * - `readers`: how many readers of the group must have acknowledged; at least 1.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for 0 readers, text that is not UTF-8, and a 65th condition.
 */
replication_status replication_quorum_add(
    replication_quorum *quorum, const char *group, size_t readers);

/** Frees a quorum. NULL is ignored. Waits that began with it continue. */
void replication_quorum_free(replication_quorum *quorum);

/**
 * Waits until readers have acknowledged an entry and all before it. Before it sleeps, the call may
 * spin for up to 50 microseconds while that saves time.
 *
 * A reader counts with what it acknowledged of the entries that this sender sent it, and with what
 * it proved to have when it connected, by the hash of its history. Its bare claims count for
 * nothing. Readers that have left count, too.
 * - `sequence`: an entry that this sender numbered. See sender_wait_token() for others.
 * - `level`: a replication_ack_level. v1 readers acknowledge entries as received only.
 * - `readers`: how many readers must have acknowledged.
 * - `timeout_ms`: 0 returns at once, `UINT64_MAX` waits for ever.
 * - `out_readers`: how many have; also set with TIMEOUT; may be NULL.
 *
 * Returns `OK`; `TIMEOUT`, and readers may still have the entry, now or later; `LOST` for an entry
 * before the one at which this sender's epoch began, which another writer may have numbered;
 * `INVALID_ARGUMENT` for a number that is no level, a sequence that no entry has yet, and more
 * readers than there can be; `WRONG_THREAD`; `INVALID_STATE` before sender_start(); `CLOSED` when
 * the sender is or gets stopped.
 */
replication_status sender_wait_acked(
    replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers,
    uint64_t timeout_ms, size_t *out_readers);

/**
 * As sender_wait_acked(), for the entry of a token and for a quorum.
 * - `token`, `token_len`: from sender_replicate_token(), perhaps before a restart or a promotion.
 * - `quorum`: has at least one condition; read during the call only.
 * - `out_readers`: how many readers have, of any group; may be NULL.
 *
 * Returns what sender_wait_acked() returns; `LOST` if the entry is not in this sender's history: it
 * is of another stream, or was not in the log from which this sender went on; `WAL_ROTATED` if that
 * cannot be told, because the log no longer has the entry and another epoch's writer numbered it;
 * `INVALID_ARGUMENT` for a quorum without a condition, a group that this sender does not have, and
 * more readers of a group than it can have; `IO` and `DAMAGED` if the log on disk cannot be read.
 * The text of `TIMEOUT` names the groups that lack readers.
 */
replication_status sender_wait_token(
    replication_sender *sender, const uint8_t *token, size_t token_len, uint32_t level,
    const replication_quorum *quorum, uint64_t timeout_ms, size_t *out_readers);

/**
 * Reports, without waiting, whether readers have acknowledged the entry of a token, for example one
 * whose wait timed out. It can be asked at any time, also after a restart that continues the log
 * and after a promotion. Once it is OK for an entry, a level and a quorum, it stays so in this
 * process. Arguments are as for sender_wait_token(); `out_readers` may be NULL.
 *
 * Returns `OK` when enough readers have; `TIMEOUT` when not enough have so far; `CLOSED` when not
 * enough had when the sender was stopped; `LOST`, `WAL_ROTATED`, `INVALID_ARGUMENT`, `IO` and
 * `DAMAGED` as sender_wait_token(). Readers count while they are connected, and of those that left
 * twice sender_config_set_max_readers() are remembered.
 */
replication_status sender_acked(
    const replication_sender *sender, const uint8_t *token, size_t token_len, uint32_t level,
    const replication_quorum *quorum, size_t *out_readers);

/**
 * Calls a callback when readers have acknowledged the entry of a token, and does not wait.
 *
 * With `OK`, `callback` is called exactly once, on the sender's callback thread, perhaps before
 * this function returns: with `REPLICATION_STATUS_OK` when enough readers have the entry,
 * `_TIMEOUT` when the time has passed, `_CLOSED` when the sender is stopped before. If the sender
 * is freed in one of its own callbacks, only `user_data_free` runs. `user_data_free` (may be NULL)
 * runs once in any case: after the call, or when this function fails.
 * - `timeout_ms`: 0 calls back at once, `UINT64_MAX` waits until the sender is stopped; others as
 *   for sender_wait_token().
 *
 * Returns `OK`; `LOST`, `WAL_ROTATED`, `INVALID_ARGUMENT`, `IO` and `DAMAGED` as
 * sender_wait_token(), `INVALID_ARGUMENT` also for a NULL callback; `BUFFER_FULL` when as many
 * calls are outstanding as sender_config_set_max_pending_acks() allows; `OUT_OF_MEMORY`;
 * `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
 */
replication_status sender_on_acked(
    replication_sender *sender, const uint8_t *token, size_t token_len, uint32_t level,
    const replication_quorum *quorum, uint64_t timeout_ms, replication_acked_fn callback,
    void *user_data, replication_free_fn user_data_free);

/* Sender: the write gate ----------------------------------------------------------------------- */

/** What sender_replicate() does while the write gate is closed. */
REPLICATION_ENUM(replication_gate_policy, uint32_t) {
    REPLICATION_GATE_POLICY_REFUSE = 0, /**< Refuse the entry with `GATED`. */
    /** Wait for the gate up to a time, then refuse the entry. */
    REPLICATION_GATE_POLICY_SLOW = 1,
};

/**
 * Creates a write gate that asks for one reader at level received, with any lag. Returns the gate,
 * to be freed with replication_write_gate_free(); NULL without memory.
 *
 * The lag is measured by acknowledgements and checked before each entry, so entries of concurrent
 * calls may pass together. A gate promises nothing about a single entry: wait for its
 * acknowledgement instead.
 */
replication_write_gate *replication_write_gate_new(void);

/**
 * Sets how many connected readers must be within the lag, at most as many as may be connected.
 * Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 1. At least: 1.
 */
replication_status replication_write_gate_set_min_readers(
    replication_write_gate *gate, size_t readers);

/**
 * Sets how many of the last entries a reader may not have acknowledged; 0 allows any number.
 * Returns `OK`. Default: 0.
 */
replication_status replication_write_gate_set_max_lag_entries(
    replication_write_gate *gate, uint64_t entries);

/**
 * Sets how long a reader may leave an entry unacknowledged, to about an eighth; 0 allows any time.
 * Returns `OK`. Default: 0.
 */
replication_status replication_write_gate_set_max_lag_ms(
    replication_write_gate *gate, uint64_t lag_ms);

/**
 * Sets what counts as acknowledged, a replication_ack_level. v1 readers acknowledge entries as
 * received only. Returns `OK`; `INVALID_ARGUMENT` for a number that is no level. Default:
 * `REPLICATION_ACK_LEVEL_RECEIVED`.
 */
replication_status replication_write_gate_set_level(replication_write_gate *gate, uint32_t level);

/**
 * Sets what sender_replicate() does while the gate is closed. `max_wait_ms` is for
 * `REPLICATION_GATE_POLICY_SLOW`. Returns `OK`; `INVALID_ARGUMENT` for a number that is no policy.
 * Default: `REPLICATION_GATE_POLICY_REFUSE`.
 */
replication_status replication_write_gate_set_policy(
    replication_write_gate *gate, uint32_t policy, uint64_t max_wait_ms);

/** Frees a write gate. NULL is ignored. Configurations that it was set on keep their copy. */
void replication_write_gate_free(replication_write_gate *gate);

/**
 * Sets the write gate: while it is closed, sender_replicate() refuses entries with GATED or waits.
 * Returns `OK`. Default: none.
 * - `gate`: copied; NULL removes the gate.
 */
replication_status sender_config_set_write_gate(
    replication_sender_config *config, const replication_write_gate *gate);

/* Sender: the log on disk ---------------------------------------------------------------------- */

/** When a log on disk is synced, besides whenever somebody waits for it. */
REPLICATION_ENUM(replication_sync_policy, uint32_t) {
    REPLICATION_SYNC_POLICY_ALWAYS = 0, /**< Before the call that appends returns. */
    REPLICATION_SYNC_POLICY_GROUP = 1, /**< After an interval or a number of bytes. */
    REPLICATION_SYNC_POLICY_OS = 2, /**< When the system does; survives process crashes only. */
};

/**
 * Sets the directory of the log on disk. sender_new() opens it, continues the stream, epoch and
 * sequence found there, and keeps it locked until sender_free(). Readers receive entries once they
 * are synced, under `REPLICATION_SYNC_POLICY_OS` once they are written; those that fall behind the
 * buffer continue from disk, or get status WAL_ROTATED if the entries are gone from there. See
 * docs/durability.md. Returns `OK`; `INVALID_ARGUMENT` for an empty path or one that is not UTF-8;
 * `IO` for a relative path without a working directory. Default: none.
 * - `path`: made absolute now; NULL for a log in memory only. The directory is created if its
 *   parent exists. No one else may write to it, see
 *   sender_config_set_insecure_permissions_allowed(). If it, or its file `lock`, is moved, removed
 *   or replaced while in use, the log fails within about a second (WAL_FAILED).
 */
replication_status sender_config_set_wal_dir(replication_sender_config *config, const char *path);

/**
 * Sets when the log on disk is synced. Returns `OK`; `INVALID_ARGUMENT` for an unknown policy, and
 * for 0 with `GROUP`.
 * - `policy`: a replication_sync_policy. Default: `REPLICATION_SYNC_POLICY_GROUP`.
 * - `interval_ms`: under `GROUP` the most milliseconds between syncs. Default: 5. At least: 1.
 * - `bytes`: under `GROUP` the most bytes between syncs. Default: 1048576 (1 MiB). At least: 1.
 */
replication_status sender_config_set_wal_sync(
    replication_sender_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes);

/**
 * Sets the usual size of a log file, in bytes. Whole files are removed. Returns `OK`;
 * `INVALID_ARGUMENT` if out of range. Default: 67108864 (64 MiB). Range: 65536 to 1073741824.
 */
replication_status sender_config_set_wal_segment_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets how many bytes of the log stay on disk if no slot needs more. The newest file always stays.
 * Returns `OK`. Default: 1073741824 (1 GiB).
 */
replication_status sender_config_set_wal_retain_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets the age in milliseconds, from the write, not by its timestamp, at which entries that no slot
 * needs are removed from disk. Whole files go, so it may take a quarter longer, and ten seconds
 * more. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 86400000 (1 day). At least: 1.
 */
replication_status sender_config_set_wal_retain_ms(
    replication_sender_config *config, uint64_t age_ms);

/**
 * Sets how many bytes of the log a reader's slot may hold back beyond retention. A slot that
 * exceeds it is lost, with an event; its reader gets status WAL_ROTATED if it asks for removed
 * entries. Returns `OK`. Default: 8589934592 (8 GiB).
 */
replication_status sender_config_set_slot_max_bytes(
    replication_sender_config *config, uint64_t bytes);

/**
 * Sets for how many milliseconds the slot of an absent reader is kept; after a restart for at least
 * ten minutes, or this time if it is less. docs/durability.md explains changes of the clock.
 * Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 604800000 (7 days). At least: 1.
 */
replication_status sender_config_set_slot_expiry_ms(
    replication_sender_config *config, uint64_t expiry_ms);

/**
 * Sets for how many milliseconds sender_replicate() waits for the disk: for room in the buffer, and
 * under `REPLICATION_SYNC_POLICY_ALWAYS` for the sync. Returns `OK`; `INVALID_ARGUMENT` for 0.
 * Default: 5000 (5 s). At least: 1.
 */
replication_status sender_config_set_wal_timeout_ms(
    replication_sender_config *config, uint64_t timeout_ms);

/**
 * Allows permissions of a log directory or private key that are otherwise refused, and reports them
 * with the event UNPROTECTED. Call it before sender_config_set_tls(). Returns `OK`. Default: false.
 *
 * The function that opens them returns `INVALID_ARGUMENT` for a directory that everyone may write
 * to, for a key that its group or others may write to, that others may read, or that its group may
 * read unless root owns it, and for either if another user (not root) owns it. The text names the
 * remedy. A directory that its group may write to is only reported.
 */
replication_status sender_config_set_insecure_permissions_allowed(
    replication_sender_config *config, bool allowed);

/**
 * Syncs an entry to this node's disk now, whatever the sync policy, and waits until it is durable.
 * - `sequence`: an appended entry.
 * - `timeout_ms`: the time limit in milliseconds; 0 only checks.
 *
 * Returns `OK`; `TIMEOUT`; `INVALID_STATE` without sender_config_set_wal_dir() or before
 * sender_start(); `INVALID_ARGUMENT` for a sequence that no entry has yet; `IO` if the disk failed;
 * `DISK_FULL` or `STALLED` while it refuses writes; `CLOSED` if the sender is stopped;
 * `WRONG_THREAD` in a callback of this sender.
 */
replication_status sender_wait_durable(
    replication_sender *sender, uint64_t sequence, uint64_t timeout_ms);

/**
 * Gets the readers' slots as a JSON array. Each has `reader_id`, `connected`, `state` ("held" or
 * "lost"), `sequence`, `held_bytes`, `max_bytes`, `updated`, `acknowledged` (whether its reader
 * ever acknowledged or proved anything), and `lost_in_s` (in how many seconds it will be lost at
 * this rate, or null). Returns `OK`; `INVALID_ARGUMENT` for NULL; `INVALID_STATE` without
 * sender_config_set_wal_dir().
 */
replication_status sender_slots_json(const replication_sender *sender, char **out_json);

/**
 * Drops the slot of a reader that will not come back, so that it no longer holds back the log. A
 * connected reader stays connected, and gets a slot when it connects again. Allowed whether or not
 * the sender runs. Returns `OK`; `NOT_FOUND` without such a slot; `INVALID_STATE` without
 * sender_config_set_wal_dir(); `INVALID_ARGUMENT` for an invalid id; of a sender that does not run,
 * `IO`, `DISK_FULL` or `STALLED` if the disk refuses the change.
 */
replication_status sender_drop_slot(replication_sender *sender, const char *reader_id);

/* Sender: continuing a history ----------------------------------------------------------------- */

/**
 * Sets the position after which a new log begins, to continue a stream or to take over as its
 * writer, in place of sender_config_set_last_sequence(). Its hash lets readers recognise their
 * history. A log on disk keeps its stream and its position, and is only checked against them.
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, bytes that are no token, and a lower epoch. Default: a
 * new stream, with a random id and epoch 1.
 * - `token`, `token_len`: from receiver_token() or sender_token().
 * - `epoch`: the sender's, above the token's to take over from another writer; 0 for the token's.
 */
replication_status sender_config_set_token(
    replication_sender_config *config, const uint8_t *token, size_t token_len, uint64_t epoch);

/**
 * Sets the sequence after which the log begins; a log on disk is only checked against it. Unlike
 * sender_config_set_token(), it proves nothing about the history before. Returns `OK`. Default: 0.
 */
replication_status sender_config_set_last_sequence(
    replication_sender_config *config, uint64_t sequence);

/**
 * Gets the token of the position after the last entry. Returns `OK`; `INVALID_ARGUMENT` for NULL;
 * `BUFFER_TOO_SMALL`.
 */
replication_status sender_token(
    const replication_sender *sender, uint8_t *token, size_t token_size, size_t *out_len);

/* Sender: events and statistics ---------------------------------------------------------------- */

/** Sets the function that receives events; NULL for none. Returns `OK`. Default: none. */
replication_status sender_config_set_event_handler(
    replication_sender_config *config, replication_event_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets the function that receives log records. Returns `OK`; `INVALID_ARGUMENT` for a wrong level.
 * - `max_level`: the least severe replication_log_level to pass on; ignored if `handler` is NULL.
 * - `handler`: NULL for none, the default.
 */
replication_status sender_config_set_log_handler(
    replication_sender_config *config, int32_t max_level, replication_log_fn handler,
    void *user_data, replication_free_fn user_data_free);

/**
 * Gets the statistics as a JSON object, to be freed with replication_string_free(). Later versions
 * only add keys. Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status sender_stats_json(const replication_sender *sender, char **out_json);

/* Receiver ------------------------------------------------------------------------------------- */

/** Creates a configuration with default options. Returns NULL if out of memory. */
replication_receiver_config *receiver_config_new(void);

/** Frees a configuration, and the `user_data` of callbacks that no receiver has taken over. */
void receiver_config_free(replication_receiver_config *config);

/**
 * Creates a receiver, which receiver_start() starts.
 * - `config`: copied. Its callbacks move to the receiver, unless the call fails: set them again
 *   before creating another receiver.
 *
 * Returns `OK`; `INVALID_ARGUMENT` for NULL, without a reader id, writer address or handler, or for
 * contradictory options; `BAD_ADDRESS` if the writer address does not parse; `INVALID_STATE` if an
 * earlier receiver has the callbacks; `OUT_OF_MEMORY`. With receiver_config_set_wal_dir() also
 * `LOCKED`, `DAMAGED`, `IO` and `DISK_FULL` as sender_new(), and `DIVERGED` if the files have
 * another history than the configured token.
 */
replication_status receiver_new(
    const replication_receiver_config *config, replication_receiver **out);

/**
 * Starts a receiver. It connects, and reconnects, in the background and reports this as events.
 * Returns `OK`; `IO` as sender_start(); `INVALID_STATE` if started before; `CLOSED` after
 * receiver_stop().
 */
replication_status receiver_start(replication_receiver *receiver);

/** As sender_set_option(), for a receiver. Returns `OK`, or what that returns. */
replication_status receiver_set_option(
    replication_receiver *receiver, const char *name, uint64_t value);

/** As sender_option(), for a receiver. Returns `OK`, or what that returns. */
replication_status receiver_option(
    const replication_receiver *receiver, const char *name, uint64_t *out_value);

/**
 * Stops a receiver: waits for a running handler, acknowledges what was applied if the connection
 * allows it, disconnects and waits for its threads. Later calls return CLOSED, except queries and a
 * second stop. Returns `OK`; `WRONG_THREAD` in a callback of this receiver, which continues to run.
 */
replication_status receiver_stop(replication_receiver *receiver);

/** Stops a receiver if it runs, and frees it, as sender_free() does. */
void receiver_free(replication_receiver *receiver);

/* Receiver: following a writer ----------------------------------------------------------------- */

/** The longest reader id in bytes, without the NUL. */
#define REPLICATION_MAX_READER_ID_BYTES 255

/** The protocol versions that a receiver speaks. */
REPLICATION_ENUM(replication_protocol, uint32_t) {
    REPLICATION_PROTOCOL_AUTO = 0, /**< Offer v2, accept v1. */
    REPLICATION_PROTOCOL_V1 = 1, /**< Speak v1 only. */
    REPLICATION_PROTOCOL_V2 = 2, /**< Refuse a writer without v2. */
};

/** What a receiver does if the writer's entries have a gap. */
REPLICATION_ENUM(replication_gap_policy, uint32_t) {
    REPLICATION_GAP_POLICY_REFUSE = 0, /**< Report it and do not continue. */
    REPLICATION_GAP_POLICY_CONTINUE = 1, /**< Report it, count it and lose the entries. */
};

/**
 * Sets the name by which the writer knows this reader. A second connection with the same name
 * replaces the first. Required. Returns `OK`; `INVALID_ARGUMENT` for NULL or an invalid id.
 * - `reader_id`: 1 to `REPLICATION_MAX_READER_ID_BYTES` bytes of UTF-8 without control characters
 *   (of ASCII and C1, line and paragraph separators, marks that override the text direction).
 */
replication_status receiver_config_set_reader_id(
    replication_receiver_config *config, const char *reader_id);

/**
 * Sets the address of the writer, or several separated by commas, which are tried in turn until one
 * accepts this reader. Required, also with a connect handler. docs/embedding.md describes the order
 * and the pauses. Returns `OK`; `INVALID_ARGUMENT` for NULL, "" or text that is not UTF-8; `IO` if
 * a path cannot be made absolute. receiver_new() checks whether it parses.
 * - `writer_addr`: each "host:port", with an IPv6 address in brackets; "unix:/path", made absolute
 *   now; or "unix:@name" for a Unix socket in the abstract namespace ("unix:./@name" is a file).
 *   Host names are resolved at each attempt. With TLS the certificate must be for the dialled host,
 *   unless a server name is set.
 */
replication_status receiver_config_set_writer_addr(
    replication_receiver_config *config, const char *writer_addr);

/**
 * Sets a function that connects to the writer instead of the library. It receives one address of
 * the list, with a Unix socket path absolute, and may take that address's share of the connect
 * timeout, while no other callback runs. Returns `OK`.
 * - `handler`: NULL for none, the default.
 */
replication_status receiver_config_set_connect_handler(
    replication_receiver_config *config, replication_connect_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets the protocol versions to speak, a replication_protocol. Returns `OK`; `INVALID_ARGUMENT` for
 * another number. Default: `REPLICATION_PROTOCOL_AUTO`.
 */
replication_status receiver_config_set_protocol(
    replication_receiver_config *config, uint32_t protocol);

/**
 * Sets whether the handshake uses the message types of a cluster coordinator, 0x10 and 0x11 instead
 * of 0x12 and 0x13. Returns `OK`. Default: false.
 */
replication_status receiver_config_set_coordinator_handshake(
    replication_receiver_config *config, bool enabled);

/**
 * Encrypts all connections with TLS 1.3, also those of a connect handler, which returns a plain
 * socket. A writer without TLS or with an unsuitable certificate is not followed; nothing turns
 * this check off. Files are treated as by sender_config_set_tls(). Returns `OK`; `INVALID_ARGUMENT`
 * and `IO` as sender_config_set_tls(), and for an invalid server name. Default: none.
 * - `ca_file`: the writer must have a certificate of one of these authorities.
 * - `server_name`: the DNS name or IP address in the writer's certificate; NULL for the host in the
 *   writer address. It must be given with a Unix socket.
 * - `certificate_chain_file`, `private_key_file`: this reader's certificate, then those up to the
 *   writer's authority, and its unencrypted key; both NULL for none, which a writer may refuse.
 */
replication_status receiver_config_set_tls(
    replication_receiver_config *config, const char *ca_file, const char *server_name,
    const char *certificate_chain_file, const char *private_key_file);

/**
 * Sets the longest pause in milliseconds between attempts to connect. Pauses start shorter and
 * grow, with jitter; a connection that lasted twice this time resets them. A receiver that another
 * one with its reader id replaced waits up to one and a half times this. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
 */
replication_status receiver_config_set_reconnect_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Sets how many milliseconds connecting and the handshake, TLS included, may take together. Returns
 * `OK`; `INVALID_ARGUMENT` for 0. Default: 5000 (5 s). At least: 1.
 */
replication_status receiver_config_set_connect_timeout_ms(
    replication_receiver_config *config, uint64_t timeout_ms);

/**
 * As sender_config_set_heartbeat_interval_ms(). Returns `OK`; `INVALID_ARGUMENT` for 0. Default:
 * 1000 (1 s). At least: 1.
 */
replication_status receiver_config_set_heartbeat_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Sets how many milliseconds a v2 writer may be silent before it is disconnected. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 10000 (10 s). At least: 1.
 */
replication_status receiver_config_set_peer_timeout_ms(
    replication_receiver_config *config, uint64_t timeout_ms);

/**
 * Sets what happens if the writer's entries have a gap, a replication_gap_policy. Returns `OK`;
 * `INVALID_ARGUMENT` for an unknown policy. Default: `REPLICATION_GAP_POLICY_REFUSE`.
 */
replication_status receiver_config_set_gap_policy(
    replication_receiver_config *config, uint32_t policy);

/**
 * Sets by how much the writer's epoch may rise at once; a writer further above is refused with
 * DIVERGED. It stops an attacker from using up the epochs of a stream in one step, so fit it to
 * yours, such as counters or times. The first epoch is not limited, unless a token or the log on
 * disk sets one. Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 1152921504606846976 (2^60). At
 * least: 1.
 */
replication_status receiver_config_set_max_epoch_jump(
    replication_receiver_config *config, uint64_t jump);

/**
 * Sets the largest payload in bytes that the receiver accepts. A larger one is refused before
 * memory is allocated: the connection ends with status MESSAGE_TOO_LARGE and an event
 * PROTOCOL_ERROR with the entry's sequence, at the writer too. The receiver reconnects, but cannot
 * pass the entry until the limit is raised; no entry is skipped. Returns `OK`; `INVALID_ARGUMENT`
 * for 0. Default: 78643104 (the largest payload). At least: 1.
 */
replication_status receiver_config_set_max_entry_bytes(
    replication_receiver_config *config, uint64_t max_bytes);

/** Returns whether a connection is established; false for a NULL or unusable handle. */
bool receiver_is_connected(const replication_receiver *receiver);

/* Receiver: applying entries ------------------------------------------------------------------- */

/** What a receiver does if its handler fails on an entry. */
REPLICATION_ENUM(replication_apply_policy, uint32_t) {
    REPLICATION_APPLY_POLICY_RETRY = 0, /**< Retry forever, with growing pauses. */
    REPLICATION_APPLY_POLICY_STOP = 1, /**< Retry some times, then stop applying. */
    REPLICATION_APPLY_POLICY_SKIP = 2, /**< Retry some times, then skip and report it. */
};

/**
 * Sets the handler that receives entries one by one, in order, each once in the receiver's life. It
 * replaces a handler of any of the three kinds. Returns `OK`; `INVALID_ARGUMENT` for NULL.
 */
replication_status receiver_config_set_ingest_handler(
    replication_receiver_config *config, replication_ingest_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets a handler that receives many entries per call, otherwise as
 * receiver_config_set_ingest_handler(). Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
 * - `max_entries`: the most entries per call, which never waits for more to arrive; 0 for 1024.
 */
replication_status receiver_config_set_ingest_batch_handler(
    replication_receiver_config *config, size_t max_entries, replication_ingest_batch_fn handler,
    void *user_data, replication_free_fn user_data_free);

/**
 * Sets a handler that receives entries one by one with their msgpack payload decoded, otherwise as
 * receiver_config_set_ingest_handler(). Returns `OK`; `INVALID_ARGUMENT` for a NULL handler.
 */
replication_status receiver_config_set_record_handler(
    replication_receiver_config *config, replication_record_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets how many bytes of memory the decoded records of an entry may take besides its payload, which
 * may be a hundred times smaller. An entry that exceeds it fails, see replication_record_fn.
 * Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 268435456 (256 MiB). At least: 1.
 */
replication_status receiver_config_set_records_max_bytes(
    replication_receiver_config *config, uint64_t max_bytes);

/**
 * Sets a function that writes each entry to the host's own log before the handler receives it; NULL
 * for none. If it fails (returns a number other than 0), the apply policy decides, and the handler
 * does not receive the entry. Returns `OK`. Default: none.
 */
replication_status receiver_config_set_local_wal(
    replication_receiver_config *config, replication_ingest_fn append, void *user_data,
    replication_free_fn user_data_free);

/**
 * Sets whether the handler makes entries durable before it returns, so that applied entries are
 * also acknowledged as durable. Returns `OK`. Default: false.
 */
replication_status receiver_config_set_handler_durable(
    replication_receiver_config *config, bool durable);

/**
 * Sets what happens if the handler fails on an entry. A failure with `REPLICATION_STATUS_CLOSED` is
 * always retried. Returns `OK`; `INVALID_ARGUMENT` for an unknown policy.
 * - `policy`: a replication_apply_policy. Default: `REPLICATION_APPLY_POLICY_RETRY`.
 * - `retries`: how often the other two policies retry before they stop or skip.
 */
replication_status receiver_config_set_apply_policy(
    replication_receiver_config *config, uint32_t policy, uint32_t retries);

/**
 * Sets how many bytes may be received and not yet applied; a single entry may be larger. Returns
 * `OK`; `INVALID_ARGUMENT` for less than 65536. Default: 4194304 (4 MiB). At least: 65536.
 */
replication_status receiver_config_set_buffer_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * Sets the interval in milliseconds at which a moving position is acknowledged. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 100. At least: 1.
 */
replication_status receiver_config_set_ack_interval_ms(
    replication_receiver_config *config, uint64_t interval_ms);

/**
 * Pauses a receiver until receiver_resume(): on return no handler runs, unless it made the call.
 * The connection lasts until the buffer is full and the writer's time limit ends. Pausing twice is
 * allowed. Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED` after receiver_stop().
 */
replication_status receiver_pause(replication_receiver *receiver);

/**
 * Ends a pause, if there is one. Returns `OK`; `INVALID_STATE` before receiver_start(); `CLOSED`
 * after receiver_stop().
 */
replication_status receiver_resume(replication_receiver *receiver);

/* Receiver: reading one's own writes ----------------------------------------------------------- */

/** Returns the last applied sequence; 0 for a NULL or unusable handle. */
uint64_t receiver_last_sequence(const replication_receiver *receiver);

/**
 * Waits until an entry, and so every entry before it, is applied.
 * - `sequence`: the entry, which need not have arrived.
 * - `timeout_ms`: the time limit in milliseconds; 0 only checks.
 *
 * Returns `OK`, even after receiver_stop(); `TIMEOUT`; `INVALID_STATE` before receiver_start();
 * `WRONG_THREAD` in a callback of this receiver; `APPLY_FAILED` if the apply policy stopped before
 * the entry; `LINEAGE_CHANGED` if another writer took over, in whose history the sequence may be
 * another entry; `IO` or `DAMAGED` if the receiver's log on disk failed; `CLOSED` once stopped.
 */
replication_status receiver_wait_sequence(
    replication_receiver *receiver, uint64_t sequence, uint64_t timeout_ms);

/**
 * As receiver_wait_sequence(), for the entry of a token: a host that got the token at the writer
 * reads its writes here. Returns what receiver_wait_sequence() returns; `LOST` if the entry is not
 * in the history that was applied: it is of another stream, or another entry took its place at a
 * fail-over; `LINEAGE_CHANGED` if that cannot be told, because a receiver without a log on disk had
 * passed the entry, and follows another epoch than the token's; `NOT_FOUND` if the entry is applied
 * and no v2 writer has named its stream; `INVALID_ARGUMENT` for bytes that are no token.
 */
replication_status receiver_wait_token(
    replication_receiver *receiver, const uint8_t *token, size_t token_len, uint64_t timeout_ms);

/* Receiver: the log on disk -------------------------------------------------------------------- */

/**
 * Sets the directory of a log on disk, in which the receiver stores entries before the handler
 * receives them, and keeps them over a restart. They are acknowledged as durable once they are
 * synced there, whether or not they are applied. Without a configured position, the receiver
 * continues after the last applied entry, or a few before it. The log needs a v2 writer. On
 * promotion, give the directory to a sender with a higher epoch. Returns `OK`; `INVALID_ARGUMENT`
 * and `IO` as sender_config_set_wal_dir(). Default: none.
 * - `path`: as for sender_config_set_wal_dir(); NULL for no log.
 */
replication_status receiver_config_set_wal_dir(
    replication_receiver_config *config, const char *path);

/**
 * Sets when the receiver's log is synced, and its entries acknowledged as durable. Returns `OK`;
 * `INVALID_ARGUMENT` as sender_config_set_wal_sync().
 * - `policy`: a replication_sync_policy. `ALWAYS` syncs entries that arrived together before they
 *   are applied, `OS` when the writer waits for it. Default: `REPLICATION_SYNC_POLICY_ALWAYS`.
 * - `interval_ms`, `bytes`: under `GROUP`, as for sender_config_set_wal_sync(). At least: 1.
 */
replication_status receiver_config_set_wal_sync(
    replication_receiver_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes);

/**
 * As sender_config_set_wal_segment_bytes(). Returns `OK`; `INVALID_ARGUMENT` for a value out of
 * range. Default: 67108864 (64 MiB). Range: 65536 to 1073741824.
 */
replication_status receiver_config_set_wal_segment_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * Sets how many bytes of the receiver's log stay on disk once they are applied. Returns `OK`.
 * Default: 1073741824 (1 GiB).
 */
replication_status receiver_config_set_wal_retain_bytes(
    replication_receiver_config *config, uint64_t bytes);

/**
 * As sender_config_set_wal_retain_ms(), for applied entries; others stay. Returns `OK`;
 * `INVALID_ARGUMENT` for 0. Default: 86400000 (1 day). At least: 1.
 */
replication_status receiver_config_set_wal_retain_ms(
    replication_receiver_config *config, uint64_t age_ms);

/**
 * As sender_config_set_insecure_permissions_allowed(); call it before receiver_config_set_tls().
 * Returns `OK`. Default: false.
 */
replication_status receiver_config_set_insecure_permissions_allowed(
    replication_receiver_config *config, bool allowed);

/* Receiver: resuming exactly once -------------------------------------------------------------- */

/**
 * Sets the host's position: the token that it stored with its data. The writer continues after it
 * if it has the same history; one that was restored or forked, and one of another stream or an
 * older epoch, is refused with the event DIVERGED. It replaces receiver_config_set_last_sequence().
 * Returns `OK`; `INVALID_ARGUMENT` for NULL and for bytes that are no token. Default: none; the
 * receiver follows the first writer's stream.
 * - `token`, `token_len`: from receiver_token() or sender_token().
 */
replication_status receiver_config_set_token(
    replication_receiver_config *config, const uint8_t *token, size_t token_len);

/**
 * Sets the sequence of the last applied entry, after which the writer continues; 0: with the first
 * entry. For exactly-once delivery, store it in the transaction that applies the entry. Unlike
 * receiver_config_set_token() it proves nothing about the history before it: a forked writer may
 * not be noticed, and waits and the write gate count this reader only when it acknowledges new
 * entries. Returns `OK`. Default: 0.
 */
replication_status receiver_config_set_last_sequence(
    replication_receiver_config *config, uint64_t sequence);

/**
 * Gets the token of the receiver's position: in a handler, after the entry or entries of the call;
 * otherwise, after the last applied entry. Stored in the transaction that applies an entry, it
 * makes that happen exactly once, whatever crashes. Returns `OK`; `NOT_FOUND` while no stream is
 * known: neither a token nor the log on disk names one, and no v2 writer was connected yet;
 * `INVALID_ARGUMENT` for NULL; `BUFFER_TOO_SMALL`.
 */
replication_status receiver_token(
    const replication_receiver *receiver, uint8_t *token, size_t token_size, size_t *out_len);

/**
 * Gets the token of the position after the first entries of the call that a batch handler is in:
 * for a handler that commits a part of them, and sets `*applied` to their number.
 * - `applied`: how many of the call's entries; 0 for the position before them.
 *
 * Returns what receiver_token() returns; `INVALID_ARGUMENT` also for more entries than the call
 * has; `INVALID_STATE` outside of a batch handler of this receiver.
 */
replication_status receiver_batch_token(
    const replication_receiver *receiver, size_t applied, uint8_t *token, size_t token_size,
    size_t *out_len);

/* Receiver: events and statistics -------------------------------------------------------------- */

/** As sender_config_set_event_handler(). Returns `OK`. Default: none. */
replication_status receiver_config_set_event_handler(
    replication_receiver_config *config, replication_event_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * As sender_config_set_log_handler(). Returns `OK`; `INVALID_ARGUMENT` for a wrong level. Default:
 * none.
 */
replication_status receiver_config_set_log_handler(
    replication_receiver_config *config, int32_t max_level, replication_log_fn handler,
    void *user_data, replication_free_fn user_data_free);

/** As sender_stats_json(). Returns `OK`; `INVALID_ARGUMENT` for NULL. */
replication_status receiver_stats_json(const replication_receiver *receiver, char **out_json);

/* Tokens --------------------------------------------------------------------------------------- */

/** The most bytes of a token, also in later versions. */
#define REPLICATION_TOKEN_MAX_BYTES 96

/** How the positions of two tokens lie to each other, as far as the tokens tell. */
REPLICATION_ENUM(replication_token_order, int32_t) {
    REPLICATION_TOKEN_ORDER_EQUAL = 0, /**< The same position of one history. */
    REPLICATION_TOKEN_ORDER_BEFORE = 1, /**< The first position comes before the second. */
    REPLICATION_TOKEN_ORDER_AFTER = 2, /**< The first position comes after the second. */
    REPLICATION_TOKEN_ORDER_UNKNOWN = 3, /**< Only a log that has the entries can tell. */
    REPLICATION_TOKEN_ORDER_DIVERGED = 4, /**< The positions belong to different histories. */
};

/**
 * Compares the positions of two tokens, as far as tokens tell. `out_order` is a
 * replication_token_order: how the first position lies to the second. Returns `OK`;
 * `INVALID_ARGUMENT` for NULL and for bytes that are no token.
 */
replication_status replication_token_compare(
    const uint8_t *first, size_t first_len, const uint8_t *second, size_t second_len,
    int32_t *out_order);

/**
 * Writes a token as text, for logs and SQL: "STREAM:EPOCH:SEQUENCE:HASH", with the stream and the
 * hash in hexadecimal digits. Free the text with replication_string_free(). Returns `OK`;
 * `INVALID_ARGUMENT` for NULL and for bytes that are no token.
 */
replication_status replication_token_print(const uint8_t *token, size_t token_len, char **out_text);

/**
 * Reads the text that replication_token_print() writes. Returns `OK`; `INVALID_ARGUMENT` for NULL
 * and for any other text; `BUFFER_TOO_SMALL`.
 */
replication_status replication_token_parse(
    const char *text_form, uint8_t *token, size_t token_size, size_t *out_len);

#ifdef __cplusplus
}
#endif

#include "replication_access.h"
#include "replication_wire.h"
#include "replication_records.h"

#endif
