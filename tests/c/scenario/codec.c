/* The verbs of v1 messages. */
#include <stdlib.h>

#include "step.h"

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
    const char *hex = json_object_get_string(needed(step, "payload")); /* NULL for null */
    uint8_t *payload = hex == NULL ? NULL : bytes_of(step, hex, &len);
    CHECK_OK(replication_write_entry(number(step, "sequence"), number(step, "timestamp_us"), payload, len,
                                     message.bytes, sizeof message.bytes, &message.len));
    expect_written(step, &message);
    CHECK_OK(
        replication_parse_entry(message.json, message.json_len, &sequence, &timestamp_us, got, sizeof got, &got_len));
    CHECK_U64(sequence, number(step, "sequence"));
    CHECK_U64(timestamp_us, number(step, "timestamp_us"));
    same_bytes(step, got, got_len, hex == NULL ? "" : hex);
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

const struct verb codec_verbs[] = {
    {"codec.entry", false, " sequence timestamp_us payload hex ", codec_entry},
    {"codec.ack", false, " last_sequence reader_id hex ", codec_ack},
    {"codec.sync", false, " reader_id last_known_sequence hex ", codec_sync},
    {"codec.sync_ack", false, " current_sequence can_resume error hex ", codec_sync_ack},
    {"codec.error", false, " code text hex ", codec_error},
    {"codec.read", true, " hex type json ", codec_read},
    {"codec.write", true, " type json hex ", codec_write},
    {"codec.parse", true, " kind json ", codec_parse},
    {"codec.buffer", true, " capacity json ", codec_buffer},
    {NULL, false, NULL, NULL},
};
