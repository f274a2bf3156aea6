#include "host.h"

#include <stdio.h>
#include <stdlib.h>

#include "json.h"

void token_release(void *user_data)
{
    struct token *token = user_data;
    atomic_fetch_add(&token->released, 1);
}

static void token_called(void *user_data)
{
    struct token *token = user_data;
    CHECK(atomic_load(&token->released) == 0);
    atomic_fetch_add(&token->calls, 1);
}

int32_t token_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    (void)sequence, (void)timestamp_us, (void)payload, (void)payload_len;
    token_called(user_data);
    return 0;
}

int32_t token_ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    (void)entries, (void)count, (void)applied;
    token_called(user_data);
    return 0;
}

int32_t token_records(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records)
{
    (void)sequence, (void)timestamp_us, (void)records;
    token_called(user_data);
    return 0;
}

int token_connect(void *user_data, const char *writer_addr)
{
    (void)writer_addr;
    token_called(user_data);
    return -1;
}

void token_event(void *user_data, const replication_event *event)
{
    (void)event;
    token_called(user_data);
}

void token_acked(void *user_data, int32_t status, size_t readers)
{
    struct token *token = user_data;
    (void)status, (void)readers;
    atomic_fetch_add(&token->calls, 1);
}

void token_log(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    (void)level, (void)message, (void)fields_json;
    token_called(user_data);
}

/* Calls of one handle come from one thread, one at a time. */
static void enter(atomic_int *inside, unsigned long *thread)
{
    CHECK(atomic_fetch_add(inside, 1) == 0);
    unsigned long self = (unsigned long)pthread_self();
    if (*thread == 0)
        *thread = self;
    CHECK(*thread == self);
}

static void leave(atomic_int *inside)
{
    CHECK(atomic_fetch_sub(inside, 1) == 1);
}

static void lock(pthread_mutex_t *mutex)
{
    CHECK(pthread_mutex_lock(mutex) == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    CHECK(pthread_mutex_unlock(mutex) == 0);
}

/* Makes room for one element more. */
static void *grown(void *elements, size_t count, size_t *capacity, size_t element_bytes)
{
    if (count < *capacity)
        return elements;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    void *larger = realloc(elements, *capacity * element_bytes);
    CHECK(larger != NULL);
    return larger;
}

struct inbox *inbox_new(void)
{
    struct inbox *inbox = must_alloc(sizeof *inbox);
    memset(inbox, 0, sizeof *inbox);
    CHECK(pthread_mutex_init(&inbox->lock, NULL) == 0);
    CHECK(pthread_cond_init(&inbox->opened, NULL) == 0);
    return inbox;
}

void inbox_free(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++)
        free(inbox->entries[i].payload);
    free(inbox->entries);
    pthread_cond_destroy(&inbox->opened);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

size_t inbox_count(struct inbox *inbox)
{
    lock(&inbox->lock);
    size_t count = inbox->count;
    unlock(&inbox->lock);
    return count;
}

struct inbox_entry inbox_at(struct inbox *inbox, size_t index)
{
    lock(&inbox->lock);
    CHECK(index < inbox->count);
    struct inbox_entry entry = inbox->entries[index];
    unlock(&inbox->lock);
    return entry;
}

void inbox_hold(struct inbox *inbox, bool held)
{
    lock(&inbox->lock);
    inbox->held = held;
    pthread_cond_broadcast(&inbox->opened);
    unlock(&inbox->lock);
}

void inbox_release(void *user_data)
{
    struct inbox *inbox = user_data;
    atomic_fetch_add(&inbox->released, 1);
}

static void inbox_store(struct inbox *inbox, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                        size_t payload_len)
{
    if (inbox->gaps_allowed ? sequence <= inbox->last_sequence : sequence != inbox->last_sequence + 1)
        FAIL("P1: entry %llu came after %llu", (unsigned long long)sequence, (unsigned long long)inbox->last_sequence);
    inbox->last_sequence = sequence;
    inbox->entries = grown(inbox->entries, inbox->count, &inbox->capacity, sizeof *inbox->entries);
    struct inbox_entry *entry = &inbox->entries[inbox->count++];
    *entry = (struct inbox_entry){.sequence = sequence, .timestamp_us = timestamp_us, .payload_len = payload_len};
    if (inbox->drop_payloads)
        return;
    entry->payload = must_alloc(payload_len + 1);
    if (payload_len > 0)
        memcpy(entry->payload, payload, payload_len);
    entry->payload[payload_len] = '\0';
}

/* Waits while the inbox is held; then says whether this call is to fail. Called locked. */
static bool inbox_refuses(struct inbox *inbox)
{
    atomic_fetch_add(&inbox->calls, 1);
    atomic_fetch_add(&inbox->waiting, inbox->held ? 1 : 0);
    bool waited = inbox->held;
    while (inbox->held)
        pthread_cond_wait(&inbox->opened, &inbox->lock);
    atomic_fetch_sub(&inbox->waiting, waited ? 1 : 0);
    if (atomic_load(&inbox->refusals) == 0)
        return false;
    atomic_fetch_sub(&inbox->refusals, 1);
    atomic_fetch_add(&inbox->refused, 1);
    return true;
}

int32_t inbox_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    struct inbox *inbox = user_data;
    enter(&inbox->inside, &inbox->thread);
    lock(&inbox->lock);
    bool refuse = inbox_refuses(inbox);
    if (!refuse)
        inbox_store(inbox, sequence, timestamp_us, payload, payload_len);
    unlock(&inbox->lock);
    leave(&inbox->inside);
    return refuse ? 7 : 0;
}

int32_t inbox_ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct inbox *inbox = user_data;
    enter(&inbox->inside, &inbox->thread);
    CHECK(count > 0);
    CHECK(*applied == 0);
    lock(&inbox->lock);
    /* A refusal is a partial one: the first half is applied. */
    bool refuse = inbox_refuses(inbox);
    size_t take = refuse ? count / 2 : count;
    for (size_t i = 0; i < take; i++)
        inbox_store(inbox, entries[i].sequence, entries[i].timestamp_us, entries[i].payload, entries[i].payload_len);
    unlock(&inbox->lock);
    leave(&inbox->inside);
    if (!refuse)
        return 0;
    *applied = take;
    return -3;
}

struct events *events_new(void)
{
    struct events *events = must_alloc(sizeof *events);
    memset(events, 0, sizeof *events);
    events->max_level = REPLICATION_LOG_LEVEL_DEBUG;
    CHECK(pthread_mutex_init(&events->lock, NULL) == 0);
    return events;
}

void events_free(struct events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        free(events->seen[i].reader_id);
        free(events->seen[i].address);
        free(events->seen[i].message);
        free(events->seen[i].detail);
        free(events->seen[i].identity);
    }
    free(events->seen);
    pthread_mutex_destroy(&events->lock);
    free(events);
}

size_t events_count(struct events *events, int32_t kind)
{
    return events_with(events, kind, -1);
}

size_t events_with(struct events *events, int32_t kind, int32_t status)
{
    size_t found = 0;
    lock(&events->lock);
    for (size_t i = 0; i < events->count; i++)
        found += events->seen[i].kind == kind && (status < 0 || events->seen[i].status == status);
    unlock(&events->lock);
    return found;
}

struct seen_event events_wait(struct events *events, int32_t kind)
{
    const int64_t since = now_ms();
    while (events_count(events, kind) == 0) {
        if (now_ms() - since > PATIENCE_MS)
            FAIL("no event of kind %d came", kind);
        harness_poll(__FILE__, __LINE__, "event", since);
    }
    struct seen_event found = {0};
    lock(&events->lock);
    for (size_t i = events->count; i-- > 0;)
        if (events->seen[i].kind == kind)
            found = events->seen[i];
    unlock(&events->lock);
    return found;
}

size_t events_logged(struct events *events)
{
    lock(&events->lock);
    size_t logged = events->logged;
    unlock(&events->lock);
    return logged;
}

void events_release(void *user_data)
{
    struct events *events = user_data;
    atomic_fetch_add(&events->released, 1);
}

static char *copied(const char *text)
{
    CHECK(text != NULL);
    CHECK(utf8_valid(text));
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

void events_event(void *user_data, const replication_event *event)
{
    struct events *events = user_data;
    enter(&events->inside, &events->thread);
    CHECK(event->struct_size >= sizeof *event);
    CHECK(event->kind >= REPLICATION_EVENT_KIND_CONNECTED && event->kind <= REPLICATION_EVENT_KIND_UNPROTECTED);
    CHECK(strcmp(replication_status_name(event->status), "UNKNOWN") != 0);
    if (!json_is_object(event->detail_json))
        FAIL("detail_json is not a JSON object: %s", event->detail_json);
    lock(&events->lock);
    events->seen = grown(events->seen, events->count, &events->capacity, sizeof *events->seen);
    events->seen[events->count++] = (struct seen_event){
        .kind = event->kind,
        .status = event->status,
        .sequence = event->sequence,
        .reader_id = copied(event->reader_id),
        .address = copied(event->address),
        .identity = copied(event->identity),
        .message = copied(event->message),
        .detail = copied(event->detail_json),
    };
    unlock(&events->lock);
    leave(&events->inside);
}

void events_log(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    struct events *events = user_data;
    enter(&events->inside, &events->thread);
    CHECK(level >= REPLICATION_LOG_LEVEL_ERROR && level <= REPLICATION_LOG_LEVEL_DEBUG);
    CHECK(message[0] != '\0');
    CHECK(utf8_valid(message));
    if (!json_is_object(fields_json))
        FAIL("fields_json is not a JSON object: %s", fields_json);
    lock(&events->lock);
    events->logged++;
    events->logged_above += level > events->max_level;
    unlock(&events->lock);
    leave(&events->inside);
}

void sender_config_listen_to(replication_sender_config *config, struct events *events)
{
    CHECK_OK(sender_config_set_event_handler(config, events_event, events, events_release));
}

void receiver_config_listen_to(replication_receiver_config *config, struct events *events)
{
    CHECK_OK(receiver_config_set_event_handler(config, events_event, events, events_release));
}

replication_sender *make_sender(replication_sender_config *config)
{
    replication_sender *sender = NULL;
    CHECK_OK(sender_new(config, &sender));
    CHECK(sender != NULL);
    sender_config_free(config);
    return sender;
}

replication_sender *start_sender(replication_sender_config *config)
{
    replication_sender *sender = make_sender(config);
    CHECK_OK(sender_start(sender));
    return sender;
}

uint16_t listen_tcp(replication_sender *sender)
{
    uint16_t port = 0;
    CHECK_OK(sender_listen(sender, "127.0.0.1:0", &port));
    CHECK(port != 0);
    return port;
}

const char *tcp_address(uint16_t port)
{
    static _Thread_local char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    return address;
}

replication_receiver_config *receiver_config_for(const char *reader_id, const char *writer_addr, struct inbox *inbox)
{
    replication_receiver_config *config = receiver_config_new();
    CHECK(config != NULL);
    CHECK_OK(receiver_config_set_reader_id(config, reader_id));
    CHECK_OK(receiver_config_set_writer_addr(config, writer_addr));
    CHECK_OK(receiver_config_set_ingest_handler(config, inbox_ingest, inbox, inbox_release));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(config, 100));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 10));
    return config;
}

replication_receiver *make_receiver(replication_receiver_config *config)
{
    replication_receiver *receiver = NULL;
    CHECK_OK(receiver_new(config, &receiver));
    CHECK(receiver != NULL);
    receiver_config_free(config);
    return receiver;
}

replication_receiver *start_receiver(replication_receiver_config *config)
{
    replication_receiver *receiver = make_receiver(config);
    CHECK_OK(receiver_start(receiver));
    return receiver;
}

replication_receiver *follow(uint16_t port, const char *reader_id, struct inbox *inbox)
{
    return start_receiver(receiver_config_for(reader_id, tcp_address(port), inbox));
}

uint64_t replicate_text(replication_sender *sender, const char *text)
{
    uint64_t sequence = 0;
    CHECK_OK(sender_replicate(sender, 1700000000000000, (const uint8_t *)text, strlen(text), &sequence));
    CHECK(sequence > 0);
    return sequence;
}

struct place replicate_place(replication_sender *sender, const char *text)
{
    struct place place = {0};
    CHECK_OK(sender_replicate_token(sender, 1700000000000000, (const uint8_t *)text, strlen(text), PLACE_ROOM(place)));
    return place;
}

struct place place_of_sender(const replication_sender *sender)
{
    struct place place = {0};
    CHECK_OK(sender_token(sender, PLACE_ROOM(place)));
    return place;
}

struct place place_of_receiver(const replication_receiver *receiver)
{
    struct place place = {0};
    CHECK_OK(receiver_token(receiver, PLACE_ROOM(place)));
    return place;
}

struct place place_of_text(const char *text)
{
    struct place place = {0};
    CHECK_OK(replication_token_parse(text, PLACE_ROOM(place)));
    return place;
}

bool place_is(struct place one, struct place other)
{
    return one.len == other.len && memcmp(one.bytes, other.bytes, one.len) == 0;
}

struct place place_at(uint64_t epoch, uint64_t sequence)
{
    char text[128];
    snprintf(text, sizeof text, "30313233343536373839616263646566:%llu:%llu:0000000000000000",
             (unsigned long long)epoch, (unsigned long long)sequence);
    return place_of_text(text);
}

static void read_place(struct place place, unsigned long long *epoch, unsigned long long *sequence)
{
    char *text = NULL;
    CHECK_OK(replication_token_print(PLACE(place), &text));
    CHECK(sscanf(text, "%*[^:]:%llu:%llu:", epoch, sequence) == 2);
    replication_string_free(text);
}

uint64_t place_epoch(struct place place)
{
    unsigned long long epoch = 0, sequence = 0;
    read_place(place, &epoch, &sequence);
    return epoch;
}

uint64_t place_sequence(struct place place)
{
    unsigned long long epoch = 0, sequence = 0;
    read_place(place, &epoch, &sequence);
    return sequence;
}

static replication_quorum *any(size_t readers)
{
    replication_quorum *quorum = replication_quorum_any(readers);
    CHECK(quorum != NULL);
    return quorum;
}

replication_status wait_token_by(replication_sender *sender, struct place place, uint32_t level, size_t readers,
                                 uint64_t timeout_ms, size_t *out_readers)
{
    replication_quorum *quorum = any(readers);
    replication_status status = sender_wait_token(sender, PLACE(place), level, quorum, timeout_ms, out_readers);
    replication_quorum_free(quorum);
    return status;
}

replication_status acked_by(const replication_sender *sender, struct place place, uint32_t level, size_t readers,
                            size_t *out_readers)
{
    replication_quorum *quorum = any(readers);
    replication_status status = sender_acked(sender, PLACE(place), level, quorum, out_readers);
    replication_quorum_free(quorum);
    return status;
}

replication_status on_acked_by(replication_sender *sender, struct place place, uint32_t level, size_t readers,
                               uint64_t timeout_ms, replication_acked_fn callback, void *user_data,
                               replication_free_fn user_data_free)
{
    replication_quorum *quorum = any(readers);
    replication_status status =
        sender_on_acked(sender, PLACE(place), level, quorum, timeout_ms, callback, user_data, user_data_free);
    replication_quorum_free(quorum);
    return status;
}

void replicate_many(replication_sender *sender, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "entry %zu", i);
        replicate_text(sender, text);
    }
}

void wait_for(replication_receiver *receiver, uint64_t sequence)
{
    CHECK_OK(receiver_wait_sequence(receiver, sequence, PATIENCE_MS));
    CHECK(receiver_last_sequence(receiver) >= sequence);
}

uint64_t sender_stat(const replication_sender *sender, const char *path)
{
    char *json = NULL;
    CHECK_OK(sender_stats_json(sender, &json));
    uint64_t value = json_u64(json, path);
    replication_string_free(json);
    return value;
}

uint64_t receiver_stat(const replication_receiver *receiver, const char *path)
{
    char *json = NULL;
    CHECK_OK(receiver_stats_json(receiver, &json));
    uint64_t value = json_u64(json, path);
    replication_string_free(json);
    return value;
}

replication_status set_write_gate(replication_sender_config *config, size_t readers, uint64_t entries, uint64_t ms,
                                  uint32_t level, uint32_t policy, uint64_t max_wait_ms)
{
    if (readers == 0)
        return sender_config_set_write_gate(config, NULL);
    replication_write_gate *gate = replication_write_gate_new();
    CHECK(gate != NULL);
    CHECK_OK(replication_write_gate_set_min_readers(gate, readers));
    CHECK_OK(replication_write_gate_set_max_lag_entries(gate, entries));
    CHECK_OK(replication_write_gate_set_max_lag_ms(gate, ms));
    replication_status status = replication_write_gate_set_level(gate, level);
    if (status == REPLICATION_STATUS_OK)
        status = replication_write_gate_set_policy(gate, policy, max_wait_ms);
    if (status == REPLICATION_STATUS_OK)
        status = sender_config_set_write_gate(config, gate);
    replication_write_gate_free(gate);
    return status;
}
