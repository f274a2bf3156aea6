/* What a host brings: handlers that remember what they were called with, and handles made in one line. */
#ifndef REPLICATION_TESTS_HOST_H
#define REPLICATION_TESTS_HOST_H

#include <pthread.h>
#include <stdatomic.h>

#include "harness.h"

/* A user_data whose release is counted. */
struct token {
    atomic_int calls;
    atomic_int released;
};
void token_release(void *user_data);
int32_t token_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len);
int32_t token_ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied);
int32_t token_records(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records);
int token_connect(void *user_data, const char *writer_addr);
void token_event(void *user_data, const replication_event *event);
void token_acked(void *user_data, int32_t status, size_t readers);
void token_log(void *user_data, int32_t level, const char *message, const char *fields_json);

/* The entries that a receiver handed over. The handler itself checks P1: each sequence is one more than the last, all
 * calls come from one thread, one after the other. */
struct inbox_entry {
    uint64_t sequence;
    uint64_t timestamp_us;
    uint8_t *payload; /* NUL-terminated copy */
    size_t payload_len;
};
struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    struct inbox_entry *entries;
    size_t count, capacity;
    uint64_t last_sequence; /* set it before the start to expect another first entry */
    bool gaps_allowed;
    bool held;           /* the handler waits while this is true */
    bool drop_payloads;  /* for streams too large to keep */
    atomic_int refusals; /* the handler fails this many times more */
    atomic_int refused;
    atomic_int calls;
    atomic_int waiting; /* calls that wait in a held handler */
    atomic_int inside;
    atomic_int released;
    unsigned long thread;
};
struct inbox *inbox_new(void);
void inbox_free(struct inbox *inbox);
size_t inbox_count(struct inbox *inbox);
struct inbox_entry inbox_at(struct inbox *inbox, size_t index);
void inbox_hold(struct inbox *inbox, bool held);
void inbox_release(void *user_data); /* a replication_free_fn */
int32_t inbox_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len);
int32_t inbox_ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied);

/* The events and log records of one handle; the handlers check that each is well-formed and that calls are serial. */
struct seen_event {
    int32_t kind;
    int32_t status;
    uint64_t sequence;
    char *reader_id, *address, *identity, *message, *detail;
};
struct events {
    pthread_mutex_t lock;
    struct seen_event *seen;
    size_t count, capacity;
    size_t logged, logged_above; /* log records, and those less important than `max_level` */
    int32_t max_level;
    atomic_int inside;
    atomic_int released;
    unsigned long thread;
};
struct events *events_new(void);
void events_free(struct events *events);
size_t events_count(struct events *events, int32_t kind);
size_t events_with(struct events *events, int32_t kind, int32_t status);
/* The first event of the kind, waited for. */
struct seen_event events_wait(struct events *events, int32_t kind);
size_t events_logged(struct events *events);
void events_release(void *user_data);
void events_event(void *user_data, const replication_event *event);
void events_log(void *user_data, int32_t level, const char *message, const char *fields_json);
void sender_config_listen_to(replication_sender_config *config, struct events *events);
void receiver_config_listen_to(replication_receiver_config *config, struct events *events);

/* Handles. A config given here is freed. */
replication_sender *make_sender(replication_sender_config *config); /* config may be NULL */
replication_sender *start_sender(replication_sender_config *config);
uint16_t listen_tcp(replication_sender *sender);
const char *tcp_address(uint16_t port); /* good until the next call in this thread */
replication_receiver_config *receiver_config_for(const char *reader_id, const char *writer_addr, struct inbox *inbox);
replication_receiver *make_receiver(replication_receiver_config *config);
replication_receiver *start_receiver(replication_receiver_config *config);
replication_receiver *follow(uint16_t port, const char *reader_id, struct inbox *inbox);

/* A token as a host keeps it, and the arguments that pass it and that give it room. */
struct place {
    uint8_t bytes[REPLICATION_TOKEN_MAX_BYTES];
    size_t len;
};
#define PLACE(place) (place).bytes, (place).len
#define PLACE_ROOM(place) (place).bytes, sizeof(place).bytes, &(place).len
struct place place_of_sender(const replication_sender *sender);
struct place place_of_receiver(const replication_receiver *receiver);
struct place place_of_text(const char *text); /* "STREAM:EPOCH:SEQUENCE:HASH" */
bool place_is(struct place one, struct place other);
struct place place_at(uint64_t epoch, uint64_t sequence); /* of one stream, with a hash that is not known */
uint64_t place_epoch(struct place place);
uint64_t place_sequence(struct place place);

/* The functions of these names, for any `readers` readers. */
replication_status wait_token_by(replication_sender *sender, struct place place, uint32_t level, size_t readers,
                                 uint64_t timeout_ms, size_t *out_readers);
replication_status acked_by(const replication_sender *sender, struct place place, uint32_t level, size_t readers,
                            size_t *out_readers);
replication_status on_acked_by(replication_sender *sender, struct place place, uint32_t level, size_t readers,
                               uint64_t timeout_ms, replication_acked_fn callback, void *user_data,
                               replication_free_fn user_data_free);

uint64_t replicate_text(replication_sender *sender, const char *text);
struct place replicate_place(replication_sender *sender, const char *text); /* the entry's token */
void replicate_many(replication_sender *sender, size_t count);
void wait_for(replication_receiver *receiver, uint64_t sequence);
uint64_t sender_stat(const replication_sender *sender, const char *path);
uint64_t receiver_stat(const replication_receiver *receiver, const char *path);

/* Sets a write gate of this many readers, which are to be this near at a level; 0 readers: none. */
replication_status set_write_gate(replication_sender_config *config, size_t readers, uint64_t entries, uint64_t ms,
                                  uint32_t level, uint32_t policy, uint64_t max_wait_ms);

#endif
