/* Runs tests/scenarios/scenarios.json, the list that all languages share; its README.md defines every verb and key. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "options.h"
#include "peer.h"
#include "tree.h"

static const char data_file[] = "tests/scenarios/scenarios.json";
static const char header_file[] = "include/replication.h";
static const uint64_t TIMESTAMP_US = 1700000000000000;
enum { DEFAULT_BYTES = 64, BATCH_ENTRIES = 16, NOT_YET = -1, APPLY_FAILURE = 7 };

static struct tree *data;

/* Objects ------------------------------------------------------------------------------------------------------- */

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
    uint8_t token[REPLICATION_TOKEN_BYTES];
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

static struct object *objects; /* of the scenario that runs, the newest first */

/* Steps --------------------------------------------------------------------------------------------------------- */

struct step {
    const struct tree *node;
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

#define STEP_FAIL(step, ...) harness_fail(data_file, (step)->node->line, __VA_ARGS__)

static const struct tree *given(const struct step *step, const char *key)
{
    return tree_get(step->node, key);
}

static const struct tree *needed(const struct step *step, const char *key)
{
    const struct tree *value = given(step, key);
    if (value == NULL)
        STEP_FAIL(step, "%s lacks \"%s\"", step->verb->name, key);
    return value;
}

static const char *text(const struct step *step, const char *key)
{
    const struct tree *value = needed(step, key);
    if (value->kind != TREE_STRING)
        STEP_FAIL(step, "\"%s\" is no string", key);
    return value->text;
}

static uint64_t number(const struct step *step, const char *key)
{
    uint64_t value = 0;
    if (!tree_is_u64(needed(step, key), &value))
        STEP_FAIL(step, "\"%s\" is no number", key);
    return value;
}

static uint64_t number_or(const struct step *step, const char *key, uint64_t fallback)
{
    return given(step, key) == NULL ? fallback : number(step, key);
}

static bool truth(const struct step *step, const char *key)
{
    const struct tree *value = given(step, key);
    return value != NULL && value->kind == TREE_TRUE;
}

static int32_t listed(const struct step *step, const char *table, const char *name)
{
    uint64_t value = 0;
    if (!tree_is_u64(tree_get(tree_get(data, table), name), &value))
        STEP_FAIL(step, "%s does not list %s", table, name);
    return (int32_t)value;
}

static uint32_t level(const struct step *step)
{
    int64_t value = constant("ACK_LEVEL", text(step, "level"));
    if (value < 0)
        STEP_FAIL(step, "there is no level %s", text(step, "level"));
    return (uint32_t)value;
}

/* The bytes of a text in hexadecimal, to be freed; never NULL. */
static uint8_t *bytes_of(const struct step *step, const char *hex, size_t *out_len)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = must_alloc(len);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'}, *end = NULL;
        bytes[i] = (uint8_t)strtoul(digits, &end, 16);
        if (*end != '\0')
            STEP_FAIL(step, "not hexadecimal: %s", hex);
    }
    *out_len = len;
    return bytes;
}

static void same_bytes(const struct step *step, const uint8_t *got, size_t got_len, const char *hex)
{
    size_t len = 0;
    uint8_t *expected = bytes_of(step, hex, &len);
    if (got_len != len || memcmp(got, expected, len) != 0)
        STEP_FAIL(step, "%zu bytes, not the %zu of %.200s", got_len, len, hex);
    free(expected);
}

/* Polls until the condition holds; past the deadline the step fails with the rest of the arguments. */
#define STEP_UNTIL(step, condition, ...)                                                                               \
    do {                                                                                                               \
        const int64_t step_since_ = now_ms();                                                                          \
        while (!(condition)) {                                                                                         \
            if (now_ms() - step_since_ >= PATIENCE_MS)                                                                 \
                STEP_FAIL(step, __VA_ARGS__);                                                                          \
            harness_poll(data_file, (step)->node->line, #condition, step_since_);                                      \
        }                                                                                                              \
    } while (0)

static struct object *find(const char *name)
{
    struct object *object = objects;
    while (object != NULL && strcmp(object->name, name) != 0)
        object = object->next;
    return object;
}

static struct object *find_kind(const struct step *step, const char *name, enum object_kind kind)
{
    struct object *object = find(name);
    if (object == NULL || object->kind != kind)
        STEP_FAIL(step, "there is no \"%s\" that fits", name);
    return object;
}

static struct object *object_new(const struct step *step, const char *name, enum object_kind kind)
{
    struct object *earlier = find(name);
    if (earlier != NULL && !earlier->freed)
        STEP_FAIL(step, "\"%s\" is there already", name);
    struct object *object = must_alloc(sizeof *object);
    memset(object, 0, sizeof *object);
    object->name = name;
    object->kind = kind;
    object->next = objects;
    atomic_store(&object->status, NOT_YET);
    if (kind == SENDER || kind == RECEIVER) {
        object->inbox = inbox_new();
        object->inbox->holes_allowed = true;
        object->events = events_new();
        CHECK(pthread_mutex_init(&object->lock, NULL) == 0);
    }
    objects = object;
    return object;
}

static void object_end(struct object *object)
{
    if (object->inbox != NULL)
        inbox_hold(object->inbox, false);
    receiver_free(object->receiver);
    sender_free(object->sender);
    if (object->kind == PEER && !object->freed)
        peer_close(&object->peer);
    object->receiver = NULL;
    object->sender = NULL;
    object->freed = true;
}

static void objects_end(void)
{
    static const enum object_kind order[] = {PEER, RECEIVER, SENDER};
    for (size_t i = 0; i < COUNT(order); i++)
        for (struct object *object = objects; object != NULL; object = object->next)
            if (object->kind == order[i])
                object_end(object);
    while (objects != NULL) {
        struct object *object = objects;
        objects = object->next;
        if (object->kind == CALL && !object->freed)
            FAIL("nothing joins the background call \"%s\"", object->name);
        if (object->inbox != NULL) {
            inbox_free(object->inbox);
            events_free(object->events);
            for (size_t i = 0; i < object->log_count; i++)
                free(object->logs[i].fields_json);
            free(object->logs);
            pthread_mutex_destroy(&object->lock);
        }
        free(object);
    }
}

static const uint8_t *token_named(const char *name)
{
    struct object *object = find(name);
    if (object == NULL || object->kind != TOKEN)
        FAIL("no token \"%s\" was kept", name);
    return object->token;
}

/* Callbacks of the host ----------------------------------------------------------------------------------------- */

static void stop_inside(struct object *object)
{
    if (atomic_exchange(&object->stop_inside, false))
        atomic_store(&object->status,
                     object->sender != NULL ? sender_stop(object->sender) : receiver_stop(object->receiver));
}

static bool fails(struct object *object, uint64_t sequence)
{
    if (sequence != object->fail_sequence || atomic_load(&object->fail_times) == 0)
        return false;
    atomic_fetch_sub(&object->fail_times, 1);
    return true;
}

static int32_t take_entry(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                          size_t payload_len)
{
    struct object *object = user_data;
    stop_inside(object);
    return fails(object, sequence) ? APPLY_FAILURE
                                   : inbox_ingest(object->inbox, sequence, timestamp_us, payload, payload_len);
}

static int32_t take_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct object *object = user_data;
    stop_inside(object);
    CHECK(count <= BATCH_ENTRIES);
    for (size_t i = 0; i < count; i++)
        if (fails(object, entries[i].sequence))
            return APPLY_FAILURE;
    return inbox_ingest_batch(object->inbox, entries, count, applied);
}

/* What is remembered of records is their JSON. */
static int32_t take_records(void *user_data, uint64_t sequence, uint64_t timestamp_us,
                            const replication_records *records)
{
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    return take_entry(user_data, sequence, timestamp_us, (const uint8_t *)json, len);
}

static void hear_event(void *user_data, const replication_event *event)
{
    struct object *object = user_data;
    events_event(object->events, event);
    if (object->kind == SENDER)
        stop_inside(object);
}

static void hear_log(void *user_data, int32_t level_number, const char *message, const char *fields_json)
{
    struct object *object = user_data;
    events_log(object->events, level_number, message, fields_json);
    char *copy = strdup(fields_json);
    CHECK(copy != NULL);
    CHECK(pthread_mutex_lock(&object->lock) == 0);
    if (object->log_count == object->log_capacity) {
        object->log_capacity = 2 * object->log_capacity + 16;
        object->logs = realloc(object->logs, object->log_capacity * sizeof *object->logs);
        CHECK(object->logs != NULL);
    }
    object->logs[object->log_count++] = (struct log_record){level_number, copy};
    CHECK(pthread_mutex_unlock(&object->lock) == 0);
}

static void hear_acked(void *user_data, uint64_t ticket, int32_t status, size_t readers)
{
    struct object *order = user_data;
    (void)ticket, (void)readers;
    CHECK(atomic_exchange(&order->status, status) == NOT_YET);
}

/* Senders ------------------------------------------------------------------------------------------------------- */

static int32_t sender_is_new(struct step *step)
{
    struct object *object = object_new(step, text(step, "on"), SENDER);
    replication_sender_config *config = sender_config_new();
    CHECK(config != NULL);
    int32_t status = REPLICATION_STATUS_OK;
    atomic_store(&object->stop_inside, truth(step, "stop_inside"));
    CHECK_OK(sender_config_set_event_handler(config, hear_event, object, NULL));
    CHECK_OK(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, hear_log, object, NULL));
    const struct tree *options = given(step, "config");
    for (const struct tree *option = options == NULL ? NULL : options->first;
         option != NULL && status == REPLICATION_STATUS_OK; option = option->next)
        status = sender_option(config, option, token_named);
    if (status == REPLICATION_STATUS_OK)
        status = sender_new(config, &object->sender);
    sender_config_free(config);
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t sender_starts(struct step *step)
{
    return sender_start(step->on->sender);
}

static int32_t sender_listens(struct step *step)
{
    struct object *object = step->on;
    char address[sizeof object->address] = "127.0.0.1:0";
    if (given(step, "same_as") != NULL) {
        snprintf(address, sizeof address, "%s", find_kind(step, text(step, "same_as"), SENDER)->address);
    } else if (given(step, "address") != NULL) {
        static const char mark[] = "{tmp}/";
        const char *wanted = text(step, "address"), *at = strstr(wanted, mark);
        if (at == NULL)
            snprintf(address, sizeof address, "%s", wanted);
        else
            snprintf(address, sizeof address, "%.*s%s", (int)(at - wanted), wanted, temp_path(at + strlen(mark)));
    }
    uint16_t port = 0;
    int32_t status = sender_listen(object->sender, address, &port);
    if (status != REPLICATION_STATUS_OK)
        return status;
    object->port = port;
    snprintf(object->address, sizeof object->address, "%s", port == 0 ? address : tcp_address(port));
    return status;
}

static int32_t sender_accepts(struct step *step)
{
    int ends[2];
    socket_pair(ends);
    if (truth(step, "closed")) {
        close(ends[0]);
        close(ends[1]);
        return sender_accept_connection(step->on->sender, ends[0]);
    }
    peer_open(&object_new(step, text(step, "peer"), PEER)->peer, ends[1]);
    int32_t status = sender_accept_connection(step->on->sender, ends[0]);
    if (status != REPLICATION_STATUS_OK)
        close(ends[0]);
    return status;
}

static uint8_t payload_byte(uint64_t sequence, size_t index)
{
    return (uint8_t)(31 * sequence + index);
}

static uint8_t *payload_for(uint64_t sequence, size_t len)
{
    uint8_t *payload = must_alloc(len);
    for (size_t i = 0; i < len; i++)
        payload[i] = payload_byte(sequence, i);
    return payload;
}

static int32_t replicate(struct step *step, const uint8_t *payload, size_t len)
{
    uint64_t expected = sender_current_sequence(step->on->sender) + 1, sequence = 0;
    int32_t status = sender_replicate(step->on->sender, TIMESTAMP_US, payload, len, &sequence);
    if (status == REPLICATION_STATUS_OK && sequence != expected)
        STEP_FAIL(step, "the entry got sequence %llu, not %llu", (unsigned long long)sequence,
                  (unsigned long long)expected);
    return status;
}

static int32_t sender_replicates(struct step *step)
{
    int32_t status = REPLICATION_STATUS_OK;
    uint64_t count = number_or(step, "count", 1);
    size_t len = number_or(step, "bytes", DEFAULT_BYTES);
    for (uint64_t i = 0; i < count && status == REPLICATION_STATUS_OK; i++) {
        uint8_t *payload = payload_for(sender_current_sequence(step->on->sender) + 1, len);
        status = replicate(step, payload, len);
        free(payload);
    }
    return status;
}

static int32_t sender_replicates_a_batch(struct step *step)
{
    size_t count = number_or(step, "count", 1), len = number_or(step, "bytes", DEFAULT_BYTES);
    uint64_t expected = sender_current_sequence(step->on->sender) + 1, first = 0;
    replication_slice *payloads = must_alloc(count * sizeof *payloads);
    for (size_t i = 0; i < count; i++)
        payloads[i] = (replication_slice){payload_for(expected + i, len), len};
    int32_t status = sender_replicate_batch(step->on->sender, TIMESTAMP_US, payloads, count, &first);
    for (size_t i = 0; i < count; i++)
        free((void *)payloads[i].data);
    free(payloads);
    if (status == REPLICATION_STATUS_OK && first != expected)
        STEP_FAIL(step, "the batch begins at %llu, not %llu", (unsigned long long)first, (unsigned long long)expected);
    return status;
}

static int32_t sender_replicates_hex(struct step *step)
{
    int32_t status = REPLICATION_STATUS_OK;
    for (const struct tree *hex = needed(step, "payloads")->first; hex != NULL && status == REPLICATION_STATUS_OK;
         hex = hex->next) {
        size_t len = 0;
        uint8_t *payload = bytes_of(step, hex->text, &len);
        status = replicate(step, payload, len);
        free(payload);
    }
    return status;
}

/* The child tells its status through a pipe and ends by a signal: what it has from its parent is not given back, and no
 * tool is to complain of that at an exit. */
static int32_t sender_replicates_in_a_child(struct step *step)
{
    int ends[2];
    int32_t status = NOT_YET;
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        status = sender_replicate(step->on->sender, TIMESTAMP_US, NULL, 0, NULL);
        CHECK(write(ends[1], &status, sizeof status) == sizeof status);
        raise(SIGKILL);
    }
    CHECK(harness_wait_child(pid) == -SIGKILL);
    CHECK(read(ends[0], &status, sizeof status) == sizeof status);
    close(ends[0]);
    close(ends[1]);
    return status;
}

static int32_t sender_removes_a_reader(struct step *step)
{
    return sender_remove_reader(step->on->sender, text(step, "reader_id"));
}

static int32_t sender_is_set_writable(struct step *step)
{
    needed(step, "writable");
    return sender_set_writable(step->on->sender, truth(step, "writable"));
}

static int32_t sender_waits_for_acks(struct step *step)
{
    return sender_wait_acked(step->on->sender, number(step, "sequence"), level(step), number(step, "readers"),
                             number_or(step, "timeout_ms", PATIENCE_MS), NULL);
}

static int32_t sender_is_asked_for_acks(struct step *step)
{
    return sender_acked(step->on->sender, number(step, "sequence"), level(step), number(step, "readers"), NULL);
}

static int32_t sender_waits_for_a_quorum(struct step *step)
{
    replication_quorum *quorum = replication_quorum_new();
    CHECK(quorum != NULL);
    int32_t status = REPLICATION_STATUS_OK;
    for (const struct tree *condition = needed(step, "quorum")->first;
         condition != NULL && status == REPLICATION_STATUS_OK; condition = condition->next) {
        uint64_t readers = 0;
        if (!tree_is_u64(tree_at(condition, 1), &readers))
            STEP_FAIL(step, "a condition is a group and a number of readers");
        status = replication_quorum_add(quorum, tree_at(condition, 0)->text, readers);
    }
    if (status == REPLICATION_STATUS_OK)
        status = sender_wait_acked_quorum(step->on->sender, number(step, "sequence"), level(step), quorum,
                                          number_or(step, "timeout_ms", PATIENCE_MS), NULL);
    replication_quorum_free(quorum);
    return status;
}

static int32_t sender_orders_a_call(struct step *step)
{
    struct object *order = object_new(step, text(step, "order"), ORDER);
    return sender_on_acked(step->on->sender, number(step, "sequence"), level(step), number(step, "readers"),
                           number_or(step, "timeout_ms", PATIENCE_MS), hear_acked, order, NULL, NULL);
}

static int32_t sender_waits_for_the_disk(struct step *step)
{
    return sender_wait_durable(step->on->sender, number(step, "sequence"), number_or(step, "timeout_ms", PATIENCE_MS));
}

static int32_t sender_drops_a_slot(struct step *step)
{
    return sender_drop_slot(step->on->sender, text(step, "reader_id"));
}

static int32_t sender_gives_a_token(struct step *step)
{
    return sender_get_token(step->on->sender, object_new(step, text(step, "token"), TOKEN)->token);
}

static int32_t sender_stops(struct step *step)
{
    return sender_stop(step->on->sender);
}

static int32_t handle_is_freed(struct step *step)
{
    object_end(step->on);
    return REPLICATION_STATUS_OK;
}

/* Receivers ----------------------------------------------------------------------------------------------------- */

static void set_handler(const struct step *step, replication_receiver_config *config, struct object *object)
{
    const char *handler = given(step, "handler") == NULL ? "entry" : text(step, "handler");
    if (strcmp(handler, "entry") == 0)
        CHECK_OK(receiver_config_set_ingest_handler(config, take_entry, object, NULL));
    else if (strcmp(handler, "batch") == 0)
        CHECK_OK(receiver_config_set_ingest_batch_handler(config, BATCH_ENTRIES, take_batch, object, NULL));
    else if (strcmp(handler, "record") == 0)
        CHECK_OK(receiver_config_set_record_handler(config, take_records, object, NULL));
    else
        STEP_FAIL(step, "there is no handler \"%s\"", handler);
    CHECK_OK(receiver_config_set_event_handler(config, hear_event, object, NULL));
    CHECK_OK(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, hear_log, object, NULL));
}

static int32_t receiver_is_new(struct step *step)
{
    struct object *object = object_new(step, text(step, "on"), RECEIVER);
    replication_receiver_config *config = receiver_config_new();
    CHECK(config != NULL);
    uint64_t times = 0;
    const struct tree *fail = given(step, "fail"), *options = given(step, "config");
    if (fail != NULL && (!tree_is_u64(tree_get(fail, "sequence"), &object->fail_sequence) ||
                         !tree_is_u64(tree_get(fail, "times"), &times)))
        STEP_FAIL(step, "\"fail\" has a sequence and times");
    atomic_store(&object->fail_times, (int)times);
    atomic_store(&object->stop_inside, truth(step, "stop_inside"));
    inbox_hold(object->inbox, truth(step, "held"));
    set_handler(step, config, object);
    CHECK_OK(receiver_config_set_reader_id(config, object->name));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(config, 100));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 10));
    if (given(step, "of") != NULL)
        CHECK_OK(receiver_config_set_writer_addr(config, find_kind(step, text(step, "of"), SENDER)->address));
    int32_t status = REPLICATION_STATUS_OK;
    for (const struct tree *option = options == NULL ? NULL : options->first;
         option != NULL && status == REPLICATION_STATUS_OK; option = option->next)
        status = receiver_option(config, option, token_named);
    if (status == REPLICATION_STATUS_OK)
        status = receiver_new(config, &object->receiver);
    receiver_config_free(config);
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t receiver_starts(struct step *step)
{
    return receiver_start(step->on->receiver);
}

static int32_t receiver_pauses(struct step *step)
{
    return receiver_pause(step->on->receiver);
}

static int32_t receiver_resumes(struct step *step)
{
    return receiver_resume(step->on->receiver);
}

static int32_t receiver_is_released(struct step *step)
{
    inbox_hold(step->on->inbox, false);
    return REPLICATION_STATUS_OK;
}

static int32_t receiver_waits(struct step *step)
{
    return receiver_wait_sequence(step->on->receiver, number(step, "sequence"),
                                  number_or(step, "timeout_ms", PATIENCE_MS));
}

static int32_t receiver_gives_a_token(struct step *step)
{
    return receiver_get_token(step->on->receiver, object_new(step, text(step, "token"), TOKEN)->token);
}

static int32_t receiver_stops(struct step *step)
{
    return receiver_stop(step->on->receiver);
}

/* What is expected ---------------------------------------------------------------------------------------------- */

/* Waits until the handler has taken so many entries, and not one more. */
static void expect_count(struct step *step, size_t count)
{
    struct inbox *inbox = step->on->inbox;
    STEP_UNTIL(step, inbox_count(inbox) >= count, "%zu entries came, not %zu", inbox_count(inbox), count);
    if (inbox_count(inbox) > count)
        STEP_FAIL(step, "%zu entries came, not %zu", inbox_count(inbox), count);
    for (size_t i = 0; i < count; i++)
        if (inbox_at(inbox, i).timestamp_us != TIMESTAMP_US)
            STEP_FAIL(step, "the timestamp of entry %zu is another", i + 1);
}

static void expect_entry(struct step *step, size_t index, uint64_t sequence, size_t len)
{
    struct inbox_entry entry = inbox_at(step->on->inbox, index);
    if (entry.sequence != sequence || entry.payload_len != len)
        STEP_FAIL(step, "entry %llu of %zu bytes came, not %llu of %zu", (unsigned long long)entry.sequence,
                  entry.payload_len, (unsigned long long)sequence, len);
    for (size_t i = 0; i < len; i++)
        if (entry.payload[i] != payload_byte(sequence, i))
            STEP_FAIL(step, "byte %zu of entry %llu is another", i, (unsigned long long)sequence);
}

struct range {
    uint64_t first, last, bytes;
};

static struct range range_of(const struct step *step, const struct tree *node)
{
    struct range range = {.bytes = DEFAULT_BYTES};
    if (!tree_is_u64(tree_at(node, 0), &range.first) || !tree_is_u64(tree_at(node, 1), &range.last) ||
        (node->count > 2 && !tree_is_u64(tree_at(node, 2), &range.bytes)))
        STEP_FAIL(step, "a range is first, last and perhaps bytes");
    return range;
}

static int32_t expect_entries(struct step *step)
{
    size_t count = 0, index = 0;
    const struct tree *ranges = needed(step, "entries");
    for (const struct tree *each = ranges->first; each != NULL; each = each->next)
        count += range_of(step, each).last - range_of(step, each).first + 1;
    expect_count(step, count);
    for (const struct tree *each = ranges->first; each != NULL; each = each->next) {
        struct range range = range_of(step, each);
        for (uint64_t sequence = range.first; sequence <= range.last; sequence++)
            expect_entry(step, index++, sequence, range.bytes);
    }
    return REPLICATION_STATUS_OK;
}

static int32_t expect_payloads(struct step *step)
{
    const struct tree *payloads = needed(step, "payloads");
    expect_count(step, payloads->count);
    for (size_t i = 0; i < payloads->count; i++) {
        struct inbox_entry entry = inbox_at(step->on->inbox, i);
        same_bytes(step, entry.payload, entry.payload_len, tree_at(payloads, i)->text);
    }
    return REPLICATION_STATUS_OK;
}

static void same_json(struct step *step, const char *json, const struct tree *expected)
{
    struct tree *got = tree_parse(json);
    if (!tree_equal(got, expected))
        STEP_FAIL(step, "not the records expected: %.1500s", json);
    tree_free(got);
}

static int32_t expect_records(struct step *step)
{
    const struct tree *records = needed(step, "records");
    expect_count(step, records->count);
    for (size_t i = 0; i < records->count; i++)
        same_json(step, (const char *)inbox_at(step->on->inbox, i).payload, tree_at(records, i));
    return REPLICATION_STATUS_OK;
}

static uint64_t asked(struct step *step)
{
    const char *what = text(step, "what");
    const struct object *on = step->on;
    if (on->sender != NULL && strcmp(what, "current_sequence") == 0)
        return sender_current_sequence(on->sender);
    if (on->sender != NULL && strcmp(what, "reader_count") == 0)
        return sender_reader_count(on->sender);
    if (on->receiver != NULL && strcmp(what, "last_sequence") == 0)
        return receiver_last_sequence(on->receiver);
    if (on->receiver != NULL && strcmp(what, "is_connected") == 0)
        return receiver_is_connected(on->receiver);
    STEP_FAIL(step, "\"%s\" has no %s", on->name, what);
}

static int32_t expect_get(struct step *step)
{
    const struct tree *equals = needed(step, "equals");
    uint64_t wanted = equals->kind == TREE_TRUE;
    if (equals->kind != TREE_TRUE && equals->kind != TREE_FALSE)
        wanted = number(step, "equals");
    STEP_UNTIL(step, asked(step) == wanted, "%s stays %llu", text(step, "what"), (unsigned long long)asked(step));
    return REPLICATION_STATUS_OK;
}

/* The statistics, to be freed. */
static struct tree *statistics(struct step *step)
{
    char *json = NULL;
    CHECK_OK(step->on->sender != NULL ? sender_stats_json(step->on->sender, &json)
                                      : receiver_stats_json(step->on->receiver, &json));
    struct tree *stats = tree_parse(json);
    replication_string_free(json);
    return stats;
}

/* Whether the statistics are as the step says; writes what is there instead. */
static bool stat_is(struct step *step, char *seen, size_t seen_bytes)
{
    struct tree *stats = statistics(step);
    const struct tree *value = tree_path(stats, text(step, "path")), *equals = given(step, "equals");
    uint64_t got = 0;
    bool so = equals != NULL ? value != NULL && tree_equal(value, equals)
                             : tree_is_u64(value, &got) && got >= number(step, "at_least");
    snprintf(seen, seen_bytes, "%s",
             value == NULL         ? "not there"
             : value->text == NULL ? "null, a boolean or a list"
                                   : value->text);
    tree_free(stats);
    return so;
}

static int32_t expect_stat(struct step *step)
{
    char seen[256];
    STEP_UNTIL(step, stat_is(step, seen, sizeof seen), "%s stays %s", text(step, "path"), seen);
    return REPLICATION_STATUS_OK;
}

static int32_t expect_keys(struct step *step)
{
    struct tree *stats = statistics(step);
    const struct tree *object = given(step, "path") == NULL ? stats : tree_path(stats, text(step, "path"));
    for (const struct tree *key = needed(step, "keys")->first; key != NULL; key = key->next)
        if (tree_get(object, key->text) == NULL)
            STEP_FAIL(step, "the statistics lack \"%s\"", key->text);
    tree_free(stats);
    return REPLICATION_STATUS_OK;
}

static size_t events_like(struct step *step)
{
    struct events *events = step->on->events;
    int32_t kind = listed(step, "event_kinds", text(step, "kind"));
    int32_t status = given(step, "status") == NULL ? NOT_YET : listed(step, "statuses", text(step, "status"));
    size_t found = 0;
    CHECK(pthread_mutex_lock(&events->lock) == 0);
    for (size_t i = 0; i < events->count; i++)
        found += events->seen[i].kind == kind && (status == NOT_YET || events->seen[i].status == status) &&
                 events->seen[i].sequence == number_or(step, "sequence", events->seen[i].sequence);
    CHECK(pthread_mutex_unlock(&events->lock) == 0);
    return found;
}

static int32_t expect_event(struct step *step)
{
    uint64_t wanted = number_or(step, "at_least", 1);
    STEP_UNTIL(step, events_like(step) >= wanted, "%zu such events came", events_like(step));
    return REPLICATION_STATUS_OK;
}

static bool was_logged(struct step *step)
{
    struct object *object = step->on;
    int32_t wanted = listed(step, "log_levels", text(step, "level"));
    bool found = false;
    CHECK(pthread_mutex_lock(&object->lock) == 0);
    for (size_t i = 0; i < object->log_count && !found; i++)
        found = object->logs[i].level == wanted &&
                json_is_string(object->logs[i].fields_json, "event", text(step, "event"));
    CHECK(pthread_mutex_unlock(&object->lock) == 0);
    return found;
}

static int32_t expect_log(struct step *step)
{
    STEP_UNTIL(step, was_logged(step), "no such record came");
    return REPLICATION_STATUS_OK;
}

/* Of an order, or of a stop inside a callback. */
static int32_t expect_status(struct step *step)
{
    int32_t wanted = listed(step, "statuses", text(step, "status"));
    STEP_UNTIL(step, atomic_load(&step->on->status) != NOT_YET, "there is no status yet");
    if (atomic_load(&step->on->status) != wanted)
        STEP_FAIL(step, "the status is %s", replication_status_name(atomic_load(&step->on->status)));
    return REPLICATION_STATUS_OK;
}

static int32_t join(struct step *step)
{
    struct object *object = step->on;
    thread_join(object->thread);
    int32_t status = object->call->status;
    memcpy(step->message, object->call->message, sizeof step->message);
    free(object->call);
    object->freed = true;
    return status;
}

/* Peers --------------------------------------------------------------------------------------------------------- */

static int32_t peer_connects(struct step *step)
{
    uint16_t port = find_kind(step, text(step, "of"), SENDER)->port;
    peer_open(&object_new(step, text(step, "on"), PEER)->peer, dial_tcp(port));
    return REPLICATION_STATUS_OK;
}

/* The bytes that a step gives in hexadecimal, or as type and JSON; to be freed. */
static uint8_t *bytes_given(struct step *step, size_t *out_len)
{
    if (given(step, "hex") != NULL)
        return bytes_of(step, text(step, "hex"), out_len);
    const char *json = text(step, "json");
    uint8_t *bytes = must_alloc(REPLICATION_HEADER_SIZE + strlen(json));
    CHECK_OK(replication_write_message((uint8_t)number(step, "type"), (const uint8_t *)json, strlen(json), bytes,
                                       REPLICATION_HEADER_SIZE + strlen(json), out_len));
    return bytes;
}

static int32_t peer_sends(struct step *step)
{
    size_t len = 0;
    uint8_t *bytes = bytes_given(step, &len);
    peer_send(&step->on->peer, bytes, len);
    free(bytes);
    return REPLICATION_STATUS_OK;
}

static int32_t peer_receives(struct step *step)
{
    size_t len = 0;
    uint8_t *expected = bytes_given(step, &len), *got = must_alloc(len);
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    CHECK(setsockopt(step->on->peer.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    if (recv(step->on->peer.fd, got, len, MSG_WAITALL) != (ssize_t)len || memcmp(got, expected, len) != 0)
        STEP_FAIL(step, "other bytes came, or too few");
    free(got);
    free(expected);
    return REPLICATION_STATUS_OK;
}

static int32_t peer_is_closed(struct step *step)
{
    peer_drain(&step->on->peer);
    return REPLICATION_STATUS_OK;
}

/* Messages ------------------------------------------------------------------------------------------------------ */

/* A message that was written, and what is in it. */
struct written {
    uint8_t bytes[512];
    size_t len;
    const uint8_t *json;
    size_t json_len;
};

/* The message is the expected one; finds its JSON. */
static void expect_written(struct step *step, struct written *message)
{
    uint8_t type = 0;
    size_t consumed = 0;
    same_bytes(step, message->bytes, message->len, text(step, "hex"));
    CHECK_OK(
        replication_read_message(message->bytes, message->len, &type, &message->json, &message->json_len, &consumed));
    CHECK_U64(consumed, message->len);
}

static int32_t codec_entry(struct step *step)
{
    struct written message;
    uint8_t got[512];
    uint64_t sequence = 0, timestamp_us = 0;
    size_t len = 0, got_len = 0;
    const struct tree *given_payload = needed(step, "payload");
    uint8_t *payload = given_payload->kind == TREE_NULL ? NULL : bytes_of(step, given_payload->text, &len);
    CHECK_OK(replication_write_entry(number(step, "sequence"), number(step, "timestamp_us"), payload, len,
                                     message.bytes, sizeof message.bytes, &message.len));
    expect_written(step, &message);
    CHECK_OK(
        replication_parse_entry(message.json, message.json_len, &sequence, &timestamp_us, got, sizeof got, &got_len));
    CHECK_U64(sequence, number(step, "sequence"));
    CHECK_U64(timestamp_us, number(step, "timestamp_us"));
    same_bytes(step, got, got_len, payload == NULL ? "" : given_payload->text);
    free(payload);
    return REPLICATION_STATUS_OK;
}

static int32_t codec_ack(struct step *step)
{
    struct written message;
    uint64_t sequence = 0;
    char id[256];
    size_t len = 0;
    CHECK_OK(replication_write_ack(number(step, "last_sequence"), text(step, "reader_id"), message.bytes,
                                   sizeof message.bytes, &message.len));
    expect_written(step, &message);
    CHECK_OK(replication_parse_ack(message.json, message.json_len, &sequence, id, sizeof id, &len));
    CHECK_U64(sequence, number(step, "last_sequence"));
    CHECK_TEXT(id, text(step, "reader_id"));
    return REPLICATION_STATUS_OK;
}

static int32_t codec_sync(struct step *step)
{
    struct written message;
    uint64_t sequence = 0;
    char id[256];
    size_t len = 0;
    CHECK_OK(replication_write_sync(text(step, "reader_id"), number(step, "last_known_sequence"), false, message.bytes,
                                    sizeof message.bytes, &message.len));
    expect_written(step, &message);
    CHECK_OK(replication_parse_sync(message.json, message.json_len, &sequence, id, sizeof id, &len));
    CHECK_U64(sequence, number(step, "last_known_sequence"));
    CHECK_TEXT(id, text(step, "reader_id"));
    return REPLICATION_STATUS_OK;
}

static int32_t codec_sync_ack(struct step *step)
{
    struct written message;
    uint64_t sequence = 0;
    bool can_resume = false;
    char error[256];
    size_t len = 0;
    CHECK_OK(replication_write_sync_ack(number(step, "current_sequence"), truth(step, "can_resume"),
                                        text(step, "error"), false, message.bytes, sizeof message.bytes, &message.len));
    expect_written(step, &message);
    CHECK_OK(
        replication_parse_sync_ack(message.json, message.json_len, &sequence, &can_resume, error, sizeof error, &len));
    CHECK_U64(sequence, number(step, "current_sequence"));
    CHECK_TEXT(error, text(step, "error"));
    CHECK(can_resume == truth(step, "can_resume"));
    return REPLICATION_STATUS_OK;
}

static int32_t codec_error(struct step *step)
{
    struct written message;
    char code[64], said[256];
    size_t code_len = 0, said_len = 0;
    CHECK_OK(replication_write_error(text(step, "code"), text(step, "text"), message.bytes, sizeof message.bytes,
                                     &message.len));
    expect_written(step, &message);
    CHECK_OK(replication_parse_error(message.json, message.json_len, code, sizeof code, &code_len, said, sizeof said,
                                     &said_len));
    CHECK_TEXT(code, text(step, "code"));
    CHECK_TEXT(said, text(step, "text"));
    return REPLICATION_STATUS_OK;
}

static int32_t codec_read(struct step *step)
{
    uint8_t type = 0;
    const uint8_t *json = NULL;
    size_t len = 0, json_len = 0, consumed = 0;
    uint8_t *bytes = bytes_of(step, text(step, "hex"), &len);
    int32_t status = replication_read_message(bytes, len, &type, &json, &json_len, &consumed);
    if (status == REPLICATION_STATUS_OK) {
        const char *expected = text(step, "json");
        CHECK_U64(type, number(step, "type"));
        CHECK_U64(consumed, REPLICATION_HEADER_SIZE + json_len);
        if (json_len != strlen(expected) || memcmp(json, expected, json_len) != 0)
            STEP_FAIL(step, "the message has %.*s", (int)json_len, (const char *)json);
    }
    free(bytes);
    return status;
}

static int32_t codec_write(struct step *step)
{
    uint8_t bytes[512];
    size_t len = 0;
    const char *json = text(step, "json");
    int32_t status = replication_write_message((uint8_t)number(step, "type"), (const uint8_t *)json, strlen(json),
                                               bytes, sizeof bytes, &len);
    if (status == REPLICATION_STATUS_OK)
        same_bytes(step, bytes, len, text(step, "hex"));
    return status;
}

static int32_t codec_parse(struct step *step)
{
    const char *kind = text(step, "kind");
    const uint8_t *json = (const uint8_t *)text(step, "json");
    size_t json_len = strlen(text(step, "json")), len = 0, other_len = 0;
    uint64_t sequence = 0, timestamp_us = 0;
    uint8_t payload[256];
    char one[256], other[256];
    bool can_resume = false;
    if (strcmp(kind, "entry") == 0)
        return replication_parse_entry(json, json_len, &sequence, &timestamp_us, payload, sizeof payload, &len);
    if (strcmp(kind, "ack") == 0)
        return replication_parse_ack(json, json_len, &sequence, one, sizeof one, &len);
    if (strcmp(kind, "sync") == 0)
        return replication_parse_sync(json, json_len, &sequence, one, sizeof one, &len);
    if (strcmp(kind, "sync_ack") == 0)
        return replication_parse_sync_ack(json, json_len, &sequence, &can_resume, one, sizeof one, &len);
    if (strcmp(kind, "error") == 0)
        return replication_parse_error(json, json_len, one, sizeof one, &len, other, sizeof other, &other_len);
    STEP_FAIL(step, "there is no message \"%s\"", kind);
}

static int32_t codec_buffer(struct step *step)
{
    const char *json = text(step, "json");
    size_t capacity = number(step, "capacity"), len = 0;
    uint8_t *buffer = must_alloc(capacity);
    int32_t status = replication_write_message(0x10, (const uint8_t *)json, strlen(json), buffer, capacity, &len);
    CHECK_U64(len, REPLICATION_HEADER_SIZE + strlen(json));
    free(buffer);
    return status;
}

/* Records ------------------------------------------------------------------------------------------------------- */

static int32_t records_parse(struct step *step)
{
    size_t len = 0, json_len = 0;
    uint8_t *payload = bytes_of(step, text(step, "hex"), &len);
    replication_records *records = NULL;
    int32_t status = replication_records_parse(payload, len, &records);
    free(payload);
    if (status != REPLICATION_STATUS_OK)
        return status;
    const char *json = NULL;
    CHECK_OK(replication_records_json(records, &json, &json_len));
    same_json(step, json, needed(step, "records"));
    replication_records_free(records);
    return status;
}

/* Reads the value as the type that the step asks for, and writes it as JSON. */
static int32_t value_as(struct step *step, const replication_value *value, char json[256])
{
    const char *as = text(step, "as"), *string = NULL;
    bool boolean = false;
    int64_t whole = 0;
    uint64_t positive = 0;
    double real = 0;
    size_t len = 0;
    int32_t status = REPLICATION_STATUS_OK;
    if (strcmp(as, "bool") == 0) {
        status = replication_value_bool(value, &boolean);
        snprintf(json, 256, "%s", boolean ? "true" : "false");
    } else if (strcmp(as, "i64") == 0) {
        status = replication_value_i64(value, &whole);
        snprintf(json, 256, "%lld", (long long)whole);
    } else if (strcmp(as, "u64") == 0) {
        status = replication_value_u64(value, &positive);
        snprintf(json, 256, "%llu", (unsigned long long)positive);
    } else if (strcmp(as, "f64") == 0) {
        status = replication_value_f64(value, &real);
        snprintf(json, 256, "%.17g", real);
    } else if (strcmp(as, "string") == 0) {
        status = replication_value_string(value, &string, &len);
        snprintf(json, 256, "\"%.*s\"", (int)len, string);
    } else {
        STEP_FAIL(step, "there is no type \"%s\"", as);
    }
    return status;
}

static int32_t records_value(struct step *step)
{
    char json[256];
    size_t len = 0;
    uint8_t *payload = bytes_of(step, text(step, "hex"), &len);
    replication_records *records = NULL;
    const replication_value *value = NULL;
    CHECK_OK(replication_records_parse(payload, len, &records));
    free(payload);
    int32_t status = replication_records_get(records, number(step, "row"), text(step, "key"), &value);
    if (status == REPLICATION_STATUS_OK)
        status = value_as(step, value, json);
    if (status == REPLICATION_STATUS_OK)
        same_json(step, json, needed(step, "value"));
    replication_records_free(records);
    return status;
}

/* Others -------------------------------------------------------------------------------------------------------- */

static char *file_text(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        FAIL("cannot read %s", path);
    size_t len = 0, capacity = 1 << 20;
    char *bytes = must_alloc(capacity);
    len = fread(bytes, 1, capacity - 1, file);
    CHECK(feof(file));
    fclose(file);
    bytes[len] = '\0';
    return bytes;
}

/* The table of the data has the constants of the header that begin so, and no others. */
static void same_constants(struct step *step, const char *header, const char *prefix, const char *table)
{
    size_t found = 0;
    for (const char *at = strstr(header, prefix); at != NULL; at = strstr(at + 1, prefix)) {
        char name[64];
        long value = 0;
        if (sscanf(at + strlen(prefix), "%63[A-Z0-9_] = %ld,", name, &value) != 2)
            continue; /* it is only spoken of */
        found++;
        if (listed(step, table, name) != value)
            STEP_FAIL(step, "%s%s is %ld", prefix, name, value);
    }
    if (found != tree_get(data, table)->count)
        STEP_FAIL(step, "%s has %zu entries, the header %zu", table, tree_get(data, table)->count, found);
}

static int32_t status_names(struct step *step)
{
    char *header = file_text(header_file);
    same_constants(step, header, "REPLICATION_STATUS_", "statuses");
    same_constants(step, header, "REPLICATION_EVENT_KIND_", "event_kinds");
    same_constants(step, header, "REPLICATION_LOG_LEVEL_", "log_levels");
    free(header);
    for (const struct tree *status = tree_get(data, "statuses")->first; status != NULL; status = status->next)
        CHECK_TEXT(replication_status_name(listed(step, "statuses", status->key)), status->key);
    return REPLICATION_STATUS_OK;
}

static int32_t file_is_damaged(struct step *step)
{
    const char *path = temp_path(text(step, "path"));
    off_t at = (off_t)number(step, "at");
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, at) != 1)
        STEP_FAIL(step, "cannot read %s", path);
    byte ^= 0x40;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
    return REPLICATION_STATUS_OK;
}

/* The verbs ----------------------------------------------------------------------------------------------------- */

static const struct verb verbs[] = {
    {"sender.new", true, " config stop_inside ", sender_is_new},
    {"sender.start", true, "", sender_starts},
    {"sender.listen", true, " address same_as ", sender_listens},
    {"sender.accept_connection", true, " peer closed ", sender_accepts},
    {"sender.replicate", true, " count bytes ", sender_replicates},
    {"sender.replicate_batch", true, " count bytes ", sender_replicates_a_batch},
    {"sender.replicate_hex", true, " payloads ", sender_replicates_hex},
    {"sender.replicate_in_child", true, "", sender_replicates_in_a_child},
    {"sender.remove_reader", true, " reader_id ", sender_removes_a_reader},
    {"sender.set_writable", true, " writable ", sender_is_set_writable},
    {"sender.wait_acked", true, " sequence level readers timeout_ms ", sender_waits_for_acks},
    {"sender.acked", true, " sequence level readers ", sender_is_asked_for_acks},
    {"sender.wait_quorum", true, " sequence level quorum timeout_ms ", sender_waits_for_a_quorum},
    {"sender.on_acked", true, " sequence level readers timeout_ms order ", sender_orders_a_call},
    {"sender.wait_durable", true, " sequence timeout_ms ", sender_waits_for_the_disk},
    {"sender.drop_slot", true, " reader_id ", sender_drops_a_slot},
    {"sender.get_token", true, " token ", sender_gives_a_token},
    {"sender.stop", true, "", sender_stops},
    {"sender.free", false, "", handle_is_freed},
    {"receiver.new", true, " of config handler fail held stop_inside ", receiver_is_new},
    {"receiver.start", true, "", receiver_starts},
    {"receiver.pause", true, "", receiver_pauses},
    {"receiver.resume", true, "", receiver_resumes},
    {"receiver.release", false, "", receiver_is_released},
    {"receiver.wait_sequence", true, " sequence timeout_ms ", receiver_waits},
    {"receiver.get_token", true, " token ", receiver_gives_a_token},
    {"receiver.stop", true, "", receiver_stops},
    {"receiver.free", false, "", handle_is_freed},
    {"expect.entries", false, " entries ", expect_entries},
    {"expect.payloads", false, " payloads ", expect_payloads},
    {"expect.records", false, " records ", expect_records},
    {"expect.get", false, " what equals ", expect_get},
    {"expect.stat", false, " path equals at_least ", expect_stat},
    {"expect.keys", false, " path keys ", expect_keys},
    {"expect.event", false, " kind status sequence at_least ", expect_event},
    {"expect.log", false, " level event ", expect_log},
    {"expect.acked", false, " status ", expect_status},
    {"expect.stopped_inside", false, " status ", expect_status},
    {"join", true, "", join},
    {"peer.connect", false, " of ", peer_connects},
    {"peer.send", false, " hex type json ", peer_sends},
    {"peer.receive", false, " hex type json ", peer_receives},
    {"peer.closed", false, "", peer_is_closed},
    {"peer.close", false, "", handle_is_freed},
    {"codec.entry", false, " sequence timestamp_us payload hex ", codec_entry},
    {"codec.ack", false, " last_sequence reader_id hex ", codec_ack},
    {"codec.sync", false, " reader_id last_known_sequence hex ", codec_sync},
    {"codec.sync_ack", false, " current_sequence can_resume error hex ", codec_sync_ack},
    {"codec.error", false, " code text hex ", codec_error},
    {"codec.read", true, " hex type json ", codec_read},
    {"codec.write", true, " type json hex ", codec_write},
    {"codec.parse", true, " kind json ", codec_parse},
    {"codec.buffer", true, " capacity json ", codec_buffer},
    {"records.parse", true, " hex records ", records_parse},
    {"records.value", true, " hex row key as value ", records_value},
    {"status.names", false, "", status_names},
    {"file.damage", false, " path at ", file_is_damaged},
};

static bool has_word(const char *words, const char *word)
{
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

/* The step of the data, whose verb is known and has no key that it should not have. */
static struct step step_of(const struct tree *node)
{
    struct step step = {.node = node};
    const struct tree *name = tree_get(node, "do");
    for (size_t i = 0; name != NULL && i < COUNT(verbs); i++)
        if (strcmp(verbs[i].name, name->text) == 0)
            step.verb = &verbs[i];
    if (step.verb == NULL)
        STEP_FAIL(&step, "there is no verb \"%s\"", name == NULL ? "" : name->text);
    for (const struct tree *key = node->first; key != NULL; key = key->next)
        if (!has_word(" do on ", key->key) && !has_word(step.verb->keys, key->key) &&
            !(step.verb->is_call && has_word(" expect message background ", key->key)))
            STEP_FAIL(&step, "%s has no key \"%s\"", step.verb->name, key->key);
    return step;
}

/* Whether the verb makes its object, or has none. */
static bool needs_no_object(const struct step *step)
{
    return has_word(" sender.new receiver.new peer.connect ", step->verb->name) || given(step, "on") == NULL;
}

static void *run_verb(void *argument)
{
    struct step *step = argument;
    step->status = step->verb->run(step);
    if (step->message[0] == '\0')
        snprintf(step->message, sizeof step->message, "%s", replication_last_error_message());
    return NULL;
}

static void run_in_background(const struct step *step)
{
    struct object *object = object_new(step, text(step, "background"), CALL);
    object->call = must_alloc(sizeof *object->call);
    *object->call = *step;
    object->thread = thread_start(run_verb, object->call);
}

static void run_step(const struct tree *node)
{
    struct step step = step_of(node);
    if (!needs_no_object(&step)) {
        step.on = find(text(&step, "on"));
        if (step.on == NULL || step.on->freed)
            STEP_FAIL(&step, "there is no \"%s\"", text(&step, "on"));
    }
    if (given(&step, "background") != NULL) {
        run_in_background(&step);
        return;
    }
    run_verb(&step);
    const char *expected = given(&step, "expect") == NULL ? "OK" : text(&step, "expect");
    if (step.status != listed(&step, "statuses", expected))
        STEP_FAIL(&step, "%s gave %s, expected %s: %s", step.verb->name, replication_status_name(step.status), expected,
                  step.message);
    if (given(&step, "message") != NULL && strstr(step.message, text(&step, "message")) == NULL)
        STEP_FAIL(&step, "the text lacks \"%s\": %s", text(&step, "message"), step.message);
}

static const struct tree *scenario_named(const char *name)
{
    const struct tree *scenario = tree_get(data, "scenarios")->first;
    while (scenario != NULL && strcmp(tree_get(scenario, "name")->text, name) != 0)
        scenario = scenario->next;
    return scenario;
}

static void run_scenario(void)
{
    const struct tree *steps = tree_get(scenario_named(harness_test()->name), "steps");
    for (const struct tree *step = steps->first; step != NULL; step = step->next)
        run_step(step);
    objects_end();
}

/* The list itself ----------------------------------------------------------------------------------------------- */

TEST(the_list_is_well_formed)
{
    const struct tree *scenarios = tree_get(data, "scenarios");
    CHECK(scenarios != NULL && scenarios->count > 0);
    for (const struct tree *scenario = scenarios->first; scenario != NULL; scenario = scenario->next) {
        for (const struct tree *part = scenario->first; part != NULL; part = part->next)
            if (!has_word(" name what needs steps ", part->key))
                harness_fail(data_file, part->line, "a scenario has no \"%s\"", part->key);
        const struct tree *name = tree_get(scenario, "name"), *needs = tree_get(scenario, "needs");
        CHECK(name != NULL && tree_get(scenario, "what") != NULL && tree_get(scenario, "steps")->count > 0);
        if (name->text[strspn(name->text, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0' ||
            scenario_named(name->text) != scenario)
            harness_fail(data_file, name->line, "not a name, or one that is taken: %s", name->text);
        for (const struct tree *need = needs == NULL ? NULL : needs->first; need != NULL; need = need->next)
            if (!has_word(" buffers descriptors fork values ", need->text))
                harness_fail(data_file, need->line, "unknown need: %s", need->text);
        for (const struct tree *step = tree_get(scenario, "steps")->first; step != NULL; step = step->next)
            (void)step_of(step);
    }
}

static bool is_reached(const char *status)
{
    for (const struct tree *scenario = tree_get(data, "scenarios")->first; scenario != NULL; scenario = scenario->next)
        for (const struct tree *step = tree_get(scenario, "steps")->first; step != NULL; step = step->next) {
            const struct tree *expect = tree_get(step, "expect"), *told = tree_get(step, "status");
            if ((expect != NULL && strcmp(expect->text, status) == 0) ||
                (told != NULL && strcmp(told->text, status) == 0))
                return true;
        }
    return false;
}

TEST(every_status_is_reached_or_explained)
{
    const struct tree *statuses = tree_get(data, "statuses"), *unreachable = tree_get(data, "unreachable");
    for (const struct tree *status = statuses->first; status != NULL; status = status->next)
        if (is_reached(status->key) == (tree_get(unreachable, status->key) != NULL))
            FAIL("%s is %s", status->key, is_reached(status->key) ? "reached and explained" : "neither");
    for (const struct tree *reason = unreachable->first; reason != NULL; reason = reason->next)
        CHECK(tree_get(statuses, reason->key) != NULL && strlen(reason->text) > 0);
}

int main(int argc, char **argv)
{
    char *json = file_text(data_file);
    data = tree_parse(json);
    free(json);
    const struct tree *scenarios = tree_get(data, "scenarios");
    CHECK(scenarios != NULL);
    struct test_case *cases = must_alloc((scenarios->count + 2) * sizeof *cases);
    size_t count = 0;
    cases[count++] = (struct test_case)CASE(the_list_is_well_formed);
    cases[count++] = (struct test_case)CASE(every_status_is_reached_or_explained);
    for (const struct tree *scenario = scenarios->first; scenario != NULL; scenario = scenario->next) {
        const struct tree *name = tree_get(scenario, "name");
        cases[count++] = (struct test_case){name == NULL ? "without a name" : name->text, run_scenario};
    }
    int code = harness_main(argc, argv, cases, count);
    free(cases);
    tree_free(data);
    return code;
}
