/* A step of a scenario, the objects that steps name, and what a step says. */
#ifndef REPLICATION_TESTS_STEP_H
#define REPLICATION_TESTS_STEP_H

#include "../host.h"
#include "../json.h"
#include "../peer.h"

static const uint64_t TIMESTAMP_US = 1700000000000000;
enum { DEFAULT_BYTES = 64, BATCH_ENTRIES = 16, NOT_YET = -1 };

extern struct json_object *data; /* the whole file */

struct log_record {
    int32_t level;
    char *fields_json;
};

struct step;

enum object_kind { SENDER, RECEIVER, PEER, TOKEN, ORDER, CALL };

/* What a scenario has given a name. One that is freed stays in the list, so that its address can be found. */
struct object {
    const char *name;
    enum object_kind kind;
    bool freed;
    replication_sender *sender;
    replication_receiver *receiver;
    struct peer peer;
    struct place token;
    struct step *call; /* of a background call */
    unsigned long thread;

    char address[160]; /* of a sender's last listen */
    uint16_t port;
    struct inbox *inbox;
    struct events *events;
    pthread_mutex_t lock; /* of the log records */
    struct log_record *logs;
    size_t log_count, log_capacity;
    uint64_t fail_sequence;
    atomic_int fail_times;
    atomic_bool stop_inside;
    atomic_int status; /* of the stop inside a callback, or of an order */
    struct object *next;
};

struct step {
    size_t number; /* in its scenario, from 1 on */
    struct json_object *node;
    const struct verb *verb;
    struct object *on;
    char message[512]; /* of the error, if the call gave one */
    int32_t status;
};

struct verb {
    const char *name;
    bool is_call;     /* gives a status */
    const char *keys; /* besides those of every step, with a space around each */
    int32_t (*run)(struct step *step);
};

/* Fails the test, and says in which step. */
_Noreturn void step_fail(const char *file, int line, const struct step *step, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define STEP_FAIL(step, ...) step_fail(__FILE__, __LINE__, step, __VA_ARGS__)

/* The verbs, each table ended by one without a name. */
extern const struct verb sender_verbs[], receiver_verbs[], expect_verbs[], peer_verbs[], codec_verbs[], record_verbs[],
    token_verbs[];

/* Polls until the condition holds; past the deadline the step fails with the rest of the arguments. */
#define STEP_UNTIL(step, condition, ...)                                                                               \
    do {                                                                                                               \
        const int64_t step_since_ = now_ms();                                                                          \
        while (!(condition)) {                                                                                         \
            if (now_ms() - step_since_ >= PATIENCE_MS)                                                                 \
                STEP_FAIL(step, __VA_ARGS__);                                                                          \
            harness_poll(__FILE__, __LINE__, #condition, step_since_);                                                 \
        }                                                                                                              \
    } while (0)

/* What the step says under a key. The step fails when it is not there, or of another type. */
bool given(const struct step *step, const char *key); /* whether it is there */
struct json_object *needed(const struct step *step, const char *key);
const char *text(const struct step *step, const char *key);
uint64_t number(const struct step *step, const char *key);
uint64_t number_or(const struct step *step, const char *key, uint64_t fallback);
bool truth(const struct step *step, const char *key); /* false when it is not there */
uint32_t level(const struct step *step);              /* a replication_ack_level */

/* The number that a table of the file, such as "statuses", has for a name. */
int32_t listed(const struct step *step, const char *table, const char *name);

/* The bytes of a text in hexadecimal, to be freed; never NULL. */
uint8_t *bytes_of(const struct step *step, const char *hex, size_t *out_len);
void same_bytes(const struct step *step, const uint8_t *got, size_t got_len, const char *hex);

/* The payload of an entry by its sequence. */
uint8_t payload_byte(uint64_t sequence, size_t index);

/* The JSON is the value expected. */
void same_json(const struct step *step, const char *json, struct json_object *expected);

struct object *find(const char *name); /* the newest of the name, or NULL */
struct object *find_kind(const struct step *step, const char *name, enum object_kind kind);
struct object *object_new(const struct step *step, const char *name, enum object_kind kind);
void object_end(struct object *object);
int32_t object_is_freed(struct step *step); /* the verbs that free */
void objects_end(void);
struct place token_named(const char *name);

#endif
