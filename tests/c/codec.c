/* The five v1 messages over the caller's buffers. The expected frames are those that Go's
 * encoding/json writes for the same values. */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

enum { ENTRY = 0x10, ACK = 0x11, SYNC = 0x12, SYNC_ACK = 0x13, ERROR_MESSAGE = 0x1F };

static uint8_t frame[4096];
static size_t frame_len;

/* The frame that was just written: its length field, type and text are these. */
static void check_frame(uint8_t type, const char *json)
{
    size_t json_len = strlen(json);
    CHECK_U64(frame_len, REPLICATION_HEADER_SIZE + json_len);
    CHECK_U64((uint64_t)frame[0] << 24 | (uint64_t)frame[1] << 16 | (uint64_t)frame[2] << 8 | frame[3], json_len + 1);
    CHECK_U64(frame[4], type);
    if (memcmp(frame + REPLICATION_HEADER_SIZE, json, json_len) != 0)
        FAIL("wrote %.*s, expected %s", (int)json_len, (const char *)frame + REPLICATION_HEADER_SIZE, json);
}

TEST(entries_are_written_as_go_writes_them)
{
    static const uint8_t all[] = {0xfb, 0xff};
    CHECK_OK(replication_write_entry(42, 1234567890, (const uint8_t *)"{\"test\": \"data\"}", 16, frame, sizeof frame,
                                     &frame_len));
    check_frame(ENTRY, "{\"seq\":42,\"ts\":1234567890,\"payload\":\"eyJ0ZXN0IjogImRhdGEifQ==\"}");
    CHECK_OK(replication_write_entry(1, 0, NULL, 0, frame, sizeof frame, &frame_len));
    check_frame(ENTRY, "{\"seq\":1,\"ts\":0,\"payload\":null}");
    CHECK_OK(replication_write_entry(1, 0, all, 0, frame, sizeof frame, &frame_len));
    check_frame(ENTRY, "{\"seq\":1,\"ts\":0,\"payload\":\"\"}");
    CHECK_OK(replication_write_entry(UINT64_MAX, UINT64_MAX, all + 1, 1, frame, sizeof frame, &frame_len));
    check_frame(ENTRY, "{\"seq\":18446744073709551615,\"ts\":18446744073709551615,\"payload\":\"/w==\"}");
    CHECK_OK(replication_write_entry(9007199254740993, 9007199254740993, all, 2, frame, sizeof frame, &frame_len));
    check_frame(ENTRY, "{\"seq\":9007199254740993,\"ts\":9007199254740993,\"payload\":\"+/8=\"}");
}

TEST(acks_are_written_as_go_writes_them)
{
    CHECK_OK(replication_write_ack(100, "reader-1", frame, sizeof frame, &frame_len));
    check_frame(ACK, "{\"last_seq\":100,\"reader_id\":\"reader-1\"}");
    CHECK_OK(replication_write_ack(0, "a\\b<c>&\"/\xe2\x80\xa8\xe2\x80\xa9\n\t\x01\xc3\xa9", frame, sizeof frame,
                                   &frame_len));
    check_frame(ACK, "{\"last_seq\":0,\"reader_id\":\"a\\\\b\\u003cc\\u003e\\u0026\\\"/\\u2028\\u2029\\n\\t\\u0001"
                     "\xc3\xa9\"}");
}

TEST(syncs_are_written_as_go_writes_them)
{
    CHECK_OK(replication_write_sync("reader-1", 50, false, frame, sizeof frame, &frame_len));
    check_frame(SYNC, "{\"reader_id\":\"reader-1\",\"last_known_seq\":50}");
    CHECK_OK(replication_write_sync("reader-1", 50, true, frame, sizeof frame, &frame_len));
    check_frame(0x10, "{\"reader_id\":\"reader-1\",\"last_known_seq\":50}");
}

TEST(sync_acks_are_written_as_go_writes_them)
{
    static const char refused[] = "{\"current_seq\":0,\"can_resume\":false,\"error\":\"this node is not the writer\"}";
    CHECK_OK(replication_write_sync_ack(200, true, NULL, false, frame, sizeof frame, &frame_len));
    check_frame(SYNC_ACK, "{\"current_seq\":200,\"can_resume\":true}");
    CHECK_OK(replication_write_sync_ack(200, false, "", true, frame, sizeof frame, &frame_len));
    check_frame(0x11, "{\"current_seq\":200,\"can_resume\":false}");
    CHECK_OK(
        replication_write_sync_ack(0, false, "this node is not the writer", false, frame, sizeof frame, &frame_len));
    check_frame(SYNC_ACK, refused);
}

TEST(errors_are_written_as_go_writes_them)
{
    CHECK_OK(replication_write_error("SEQUENCE_GAP", "Reader is too far behind", frame, sizeof frame, &frame_len));
    check_frame(ERROR_MESSAGE, "{\"code\":\"SEQUENCE_GAP\",\"message\":\"Reader is too far behind\"}");
    CHECK_OK(replication_write_error("INVALID_MSG", "unexpected <html> & more", frame, sizeof frame, &frame_len));
    check_frame(ERROR_MESSAGE, "{\"code\":\"INVALID_MSG\",\"message\":\"unexpected \\u003chtml\\u003e \\u0026 more\"}");
}

TEST(any_type_and_payload_make_a_message)
{
    CHECK_OK(replication_write_message(0xEE, (const uint8_t *)"raw", 3, frame, sizeof frame, &frame_len));
    check_frame(0xEE, "raw");
    CHECK_OK(replication_write_message(1, NULL, 0, frame, sizeof frame, &frame_len));
    check_frame(1, "");
}

/* Each function asked for the size, given one byte too few, and given just enough. */
typedef int32_t (*write_fn)(uint8_t *buffer, size_t cap, size_t *out_len);
static int32_t write_message(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_message(7, (const uint8_t *)"abc", 3, buffer, cap, out_len);
}
static int32_t write_entry(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_entry(1, 2, (const uint8_t *)"abc", 3, buffer, cap, out_len);
}
static int32_t write_ack(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_ack(1, "r", buffer, cap, out_len);
}
static int32_t write_sync(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_sync("r", 1, false, buffer, cap, out_len);
}
static int32_t write_sync_ack(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_sync_ack(1, true, "no", false, buffer, cap, out_len);
}
static int32_t write_error(uint8_t *buffer, size_t cap, size_t *out_len)
{
    return replication_write_error("IO", "no", buffer, cap, out_len);
}

static const write_fn writers[] = {write_message, write_entry, write_ack, write_sync, write_sync_ack, write_error};

TEST(a_writer_says_how_much_room_it_needs)
{
    for (size_t i = 0; i < COUNT(writers); i++) {
        size_t needed = 0, len = 0;
        CHECK_STATUS(writers[i](NULL, 0, &needed), REPLICATION_STATUS_BUFFER_TOO_SMALL);
        CHECK(needed > REPLICATION_HEADER_SIZE);
        /* Exactly as large, on the heap, so that the tools see a byte too many. */
        uint8_t *buffer = must_alloc(needed);
        CHECK_OK(writers[i](buffer, needed, &len));
        CHECK_U64(len, needed);
        memset(buffer, 0xA5, needed);
        for (size_t cap = 0; cap < needed; cap++) {
            len = 0;
            CHECK_STATUS(writers[i](buffer, cap, &len), REPLICATION_STATUS_BUFFER_TOO_SMALL);
            CHECK_U64(len, needed);
        }
        CHECK_INVALID(writers[i](NULL, needed, &len));
        CHECK_INVALID(writers[i](buffer, needed, NULL));
        free(buffer);
    }
}

TEST(writers_refuse_null_and_bad_text)
{
    size_t len = 77;
    CHECK_ERROR(replication_write_message(1, NULL, 3, frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "payload");
    CHECK_ERROR(replication_write_entry(1, 1, NULL, 3, frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "payload");
    CHECK_ERROR(replication_write_ack(1, NULL, frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "reader_id");
    CHECK_ERROR(replication_write_sync(NULL, 1, false, frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "reader_id");
    CHECK_ERROR(replication_write_error(NULL, "m", frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "code");
    CHECK_ERROR(replication_write_error("c", NULL, frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "message");
    CHECK_ERROR(replication_write_ack(1, "bad\xff", frame, sizeof frame, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "reader_id");
    CHECK_INVALID(replication_write_sync("bad\xc0\xaf", 1, false, frame, sizeof frame, &len));
    CHECK_INVALID(replication_write_sync_ack(1, true, "\xed\xa0\x80", false, frame, sizeof frame, &len));
    CHECK_INVALID(replication_write_error("c", "\xf8", frame, sizeof frame, &len));
    CHECK_U64(len, 77);
}

/* The length is checked before the pointer is read: there is no such buffer. */
TEST(p8_a_message_over_the_limit_is_refused_before_it_is_read)
{
    size_t len = 77;
    const uint8_t *one = (const uint8_t *)"x";
    CHECK_ERROR(replication_write_message(1, one, REPLICATION_MAX_MESSAGE_SIZE, frame, sizeof frame, &len),
                REPLICATION_STATUS_MESSAGE_TOO_LARGE, "too large");
    CHECK_ERROR(replication_write_message(1, one, SIZE_MAX, frame, sizeof frame, &len),
                REPLICATION_STATUS_MESSAGE_TOO_LARGE, "too large");
    CHECK_STATUS(replication_write_entry(1, 1, one, REPLICATION_MAX_MESSAGE_SIZE, frame, sizeof frame, &len),
                 REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_STATUS(replication_write_entry(1, 1, one, SIZE_MAX, frame, sizeof frame, &len),
                 REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_U64(len, 77);
    CHECK_STATUS(replication_write_message(1, one, REPLICATION_MAX_MESSAGE_SIZE - 1, NULL, 0, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK_U64(len, REPLICATION_MAX_MESSAGE_SIZE + 4);
}

TEST(a_message_is_read_where_it_lies)
{
    const uint8_t bytes[] = {0, 0, 0, 4, 0x12, 'a', 'b', 'c', 0xFF};
    uint8_t type = 0;
    const uint8_t *payload = NULL;
    size_t payload_len = 0, consumed = 0;
    CHECK_OK(replication_read_message(bytes, sizeof bytes, &type, &payload, &payload_len, &consumed));
    CHECK_U64(type, SYNC);
    CHECK(payload == bytes + REPLICATION_HEADER_SIZE);
    CHECK_U64(payload_len, 3);
    CHECK_U64(consumed, 8);
    const uint8_t empty[] = {0, 0, 0, 1, 0x1F};
    CHECK_OK(replication_read_message(empty, sizeof empty, &type, &payload, &payload_len, &consumed));
    CHECK_U64(payload_len, 0);
    CHECK_U64(consumed, sizeof empty);
}

TEST(p8_a_message_cut_at_any_byte_says_which_part_is_missing)
{
    CHECK_OK(replication_write_sync("reader-1", 50, false, frame, sizeof frame, &frame_len));
    for (size_t len = 0; len < frame_len; len++) {
        uint8_t *cut = must_alloc(len);
        memcpy(cut, frame, len);
        uint8_t type = 99;
        const uint8_t *payload = frame;
        size_t payload_len = 77, consumed = 78;
        const char *part = len < 4 ? "read length" : len < 5 ? "read type" : "read payload";
        CHECK_STATUS(replication_read_message(cut, len, &type, &payload, &payload_len, &consumed),
                     REPLICATION_STATUS_TRUNCATED);
        if (strncmp(replication_last_error_message(), part, strlen(part)) != 0)
            FAIL("cut at %zu: the text does not begin with \"%s\"", len, part);
        CHECK(type == 99 && payload == frame && payload_len == 77 && consumed == 78);
        free(cut);
    }
}

TEST(p8_bad_lengths_are_refused_from_the_header_alone)
{
    const uint8_t zero[] = {0, 0, 0, 0};
    const uint8_t over[] = {0x06, 0x40, 0x00, 0x01}; /* one more than the maximum */
    const uint8_t most[] = {0x06, 0x40, 0x00, 0x00, 0x10};
    const uint8_t huge[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x10};
    uint8_t type;
    const uint8_t *payload;
    size_t payload_len, consumed;
    CHECK_ERROR(replication_read_message(zero, sizeof zero, &type, &payload, &payload_len, &consumed),
                REPLICATION_STATUS_MESSAGE_TOO_SMALL, "too small");
    CHECK_ERROR(replication_read_message(over, sizeof over, &type, &payload, &payload_len, &consumed),
                REPLICATION_STATUS_MESSAGE_TOO_LARGE, "too large");
    CHECK_STATUS(replication_read_message(huge, sizeof huge, &type, &payload, &payload_len, &consumed),
                 REPLICATION_STATUS_MESSAGE_TOO_LARGE);
    CHECK_ERROR(replication_read_message(most, sizeof most, &type, &payload, &payload_len, &consumed),
                REPLICATION_STATUS_TRUNCATED, "read payload");
}

TEST(the_reader_refuses_null)
{
    const uint8_t bytes[] = {0, 0, 0, 1, 0x10};
    uint8_t type;
    const uint8_t *payload;
    size_t payload_len, consumed;
    CHECK_ERROR(replication_read_message(NULL, 5, &type, &payload, &payload_len, &consumed),
                REPLICATION_STATUS_INVALID_ARGUMENT, "buffer");
    CHECK_STATUS(replication_read_message(NULL, 0, &type, &payload, &payload_len, &consumed),
                 REPLICATION_STATUS_TRUNCATED);
    CHECK_INVALID(replication_read_message(bytes, 5, NULL, &payload, &payload_len, &consumed));
    CHECK_INVALID(replication_read_message(bytes, 5, &type, NULL, &payload_len, &consumed));
    CHECK_INVALID(replication_read_message(bytes, 5, &type, &payload, NULL, &consumed));
    CHECK_INVALID(replication_read_message(bytes, 5, &type, &payload, &payload_len, NULL));
}

static const uint8_t *text_of(const char *json)
{
    return (const uint8_t *)json;
}

/* What an entry's text parses to. */
struct entry {
    int32_t status;
    uint64_t sequence, timestamp_us;
    uint8_t payload[512];
    size_t payload_len;
};

static struct entry parse_entry(const char *json)
{
    struct entry entry = {.payload_len = 99999};
    entry.status = replication_parse_entry(text_of(json), strlen(json), &entry.sequence, &entry.timestamp_us,
                                           entry.payload, sizeof entry.payload, &entry.payload_len);
    return entry;
}

TEST(entries_are_parsed)
{
    struct entry entry = parse_entry("{\"seq\":42,\"ts\":1234567890,\"payload\":\"eyJ0ZXN0IjogImRhdGEifQ==\"}");
    CHECK_OK(entry.status);
    CHECK_U64(entry.sequence, 42);
    CHECK_U64(entry.timestamp_us, 1234567890);
    CHECK_U64(entry.payload_len, 16);
    CHECK(memcmp(entry.payload, "{\"test\": \"data\"}", 16) == 0);
    entry = parse_entry("{\"seq\":18446744073709551615,\"ts\":18446744073709551615,\"payload\":\"/w==\"}");
    CHECK_OK(entry.status);
    CHECK_U64(entry.sequence, UINT64_MAX);
    CHECK_U64(entry.timestamp_us, UINT64_MAX);
    CHECK(entry.payload_len == 1 && entry.payload[0] == 0xFF);
    entry = parse_entry("{\"seq\":9007199254740993,\"ts\":9007199254740993,\"payload\":null}");
    CHECK_U64(entry.sequence, 9007199254740993);
    CHECK_U64(entry.timestamp_us, 9007199254740993);
    CHECK_U64(entry.payload_len, 0);
    entry = parse_entry(" { \"payload\" : \"\" , \"new\" : [ { \"x\" : 1 } ] , \"ts\" : 3 , \"seq\" : 2 } ");
    CHECK_OK(entry.status);
    CHECK_U64(entry.sequence, 2);
    CHECK_U64(entry.timestamp_us, 3);
    CHECK_U64(entry.payload_len, 0);
}

TEST(every_byte_survives_an_entry)
{
    uint8_t payload[256];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)i;
    for (size_t len = 0; len <= sizeof payload; len++) {
        CHECK_OK(replication_write_entry(len, len + 1, payload, len, frame, sizeof frame, &frame_len));
        uint8_t back[256];
        uint64_t sequence = 0, timestamp_us = 0;
        size_t back_len = 0;
        CHECK_OK(
            replication_parse_entry(frame + 5, frame_len - 5, &sequence, &timestamp_us, back, sizeof back, &back_len));
        CHECK(sequence == len && timestamp_us == len + 1 && back_len == len && memcmp(back, payload, len) == 0);
    }
}

TEST(p8_texts_that_are_no_entry_are_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "nul",
        "\"text\"",
        "{\"seq\":1,\"ts\":1,\"payload\":\"AA==\"",
        "{\"seq\":1,\"ts\":1,\"payload\":\"AA==\"}}",
        "{\"seq\":-1,\"ts\":1,\"payload\":\"AA==\"}",
        "{\"seq\":18446744073709551616,\"ts\":1,\"payload\":\"AA==\"}",
        "{\"seq\":1.5,\"ts\":1,\"payload\":\"AA==\"}",
        "{\"seq\":\"1\",\"ts\":1,\"payload\":\"AA==\"}",
        "{\"seq\":1,\"ts\":1,\"payload\":\"A\"}",
        "{\"seq\":1,\"ts\":1,\"payload\":\"AA\"}",
        "{\"seq\":1,\"ts\":1,\"payload\":\"A*==\"}",
        "{\"seq\":1,\"ts\":1,\"payload\":\"_w==\"}",
        "{\"seq\":1,\"ts\":1,\"payload\":5}",
        "{\"seq\":1,\"ts\":1,\"payload\":[256]}",
        "{\"seq\":1,\"ts\":1,\"payload\":\"AA==\xff\"}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct entry entry = parse_entry(bad[i]);
        if (entry.status != REPLICATION_STATUS_INVALID_MSG)
            FAIL("%s gave %s", bad[i], replication_status_name(entry.status));
        CHECK(replication_last_error_message()[0] != '\0');
        CHECK(entry.sequence == 0 && entry.payload_len == 99999);
    }
}

TEST(other_messages_are_parsed)
{
    uint64_t sequence = 0;
    bool can_resume = false;
    char text[64], message[64];
    size_t len = 0, message_len = 0;
    const char *json =
        "{\"last_seq\":0,\"reader_id\":\"a\\u003cc\\u003e\\u0026\\\"\\\\/\\u2028\\n\\u00e9\\ud83d\\ude00\"}";
    CHECK_OK(replication_parse_ack(text_of(json), strlen(json), &sequence, text, sizeof text, &len));
    CHECK_TEXT(text, "a<c>&\"\\/\xe2\x80\xa8\n\xc3\xa9\xf0\x9f\x98\x80");
    CHECK_U64(len, strlen(text));
    json = "{\"last_seq\":100,\"reader_id\":\"reader-1\"}";
    CHECK_OK(replication_parse_ack(text_of(json), strlen(json), &sequence, text, sizeof text, &len));
    CHECK_U64(sequence, 100);
    json = "{\"reader_id\":\"reader-2\",\"last_known_seq\":50,\"cluster_name\":\"x\"}";
    CHECK_OK(replication_parse_sync(text_of(json), strlen(json), &sequence, text, sizeof text, &len));
    CHECK_U64(sequence, 50);
    CHECK_TEXT(text, "reader-2");
    json = "{\"current_seq\":200,\"can_resume\":true}";
    CHECK_OK(replication_parse_sync_ack(text_of(json), strlen(json), &sequence, &can_resume, text, sizeof text, &len));
    CHECK_U64(sequence, 200);
    CHECK(can_resume);
    CHECK_TEXT(text, "");
    CHECK_U64(len, 0);
    json = "{\"current_seq\":0,\"can_resume\":false,\"error\":\"no\"}";
    CHECK_OK(replication_parse_sync_ack(text_of(json), strlen(json), &sequence, &can_resume, text, sizeof text, &len));
    CHECK(!can_resume);
    CHECK_TEXT(text, "no");
    json = "{\"code\":\"SEQUENCE_GAP\",\"message\":\"too far\"}";
    CHECK_OK(replication_parse_error(text_of(json), strlen(json), text, sizeof text, &len, message, sizeof message,
                                     &message_len));
    CHECK_TEXT(text, "SEQUENCE_GAP");
    CHECK_TEXT(message, "too far");
    CHECK_U64(len, 12);
    CHECK_U64(message_len, 7);
}

TEST(a_parser_says_how_much_room_it_needs)
{
    uint64_t sequence = 77, timestamp_us = 78;
    bool can_resume = true;
    char small[4], other[64];
    uint8_t bytes[2];
    size_t len = 0, other_len = 0;
    const char *json = "{\"seq\":1,\"ts\":2,\"payload\":\"AAEC\"}";
    CHECK_STATUS(replication_parse_entry(text_of(json), strlen(json), &sequence, &timestamp_us, NULL, 0, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK_U64(len, 3);
    len = 0;
    CHECK_STATUS(replication_parse_entry(text_of(json), strlen(json), &sequence, &timestamp_us, bytes, 2, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK_U64(len, 3);
    CHECK_INVALID(replication_parse_entry(text_of(json), strlen(json), &sequence, &timestamp_us, NULL, 3, &len));
    /* The NUL needs room too, but is not counted. */
    json = "{\"last_seq\":1,\"reader_id\":\"abcd\"}";
    CHECK_STATUS(replication_parse_ack(text_of(json), strlen(json), &sequence, small, sizeof small, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK(len >= 4);
    CHECK_STATUS(replication_parse_ack(text_of(json), strlen(json), &sequence, NULL, 0, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    json = "{\"last_known_seq\":1,\"reader_id\":\"abcd\"}";
    CHECK_STATUS(replication_parse_sync(text_of(json), strlen(json), &sequence, small, sizeof small, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    json = "{\"current_seq\":1,\"can_resume\":false,\"error\":\"abcd\"}";
    CHECK_STATUS(
        replication_parse_sync_ack(text_of(json), strlen(json), &sequence, &can_resume, small, sizeof small, &len),
        REPLICATION_STATUS_BUFFER_TOO_SMALL);
    json = "{\"code\":\"abcd\",\"message\":\"m\"}";
    CHECK_STATUS(replication_parse_error(text_of(json), strlen(json), small, sizeof small, &len, other, sizeof other,
                                         &other_len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    json = "{\"code\":\"c\",\"message\":\"abcd\"}";
    CHECK_STATUS(replication_parse_error(text_of(json), strlen(json), other, sizeof other, &other_len, small,
                                         sizeof small, &len),
                 REPLICATION_STATUS_BUFFER_TOO_SMALL);
    CHECK(sequence == 77 && timestamp_us == 78 && can_resume);
}

TEST(parsers_refuse_null)
{
    uint64_t number;
    bool flag;
    char text[64];
    uint8_t bytes[64];
    size_t len;
    const uint8_t *entry = text_of("{\"seq\":1,\"ts\":2,\"payload\":\"AAEC\"}");
    CHECK_ERROR(replication_parse_entry(NULL, 33, &number, &number, bytes, 64, &len),
                REPLICATION_STATUS_INVALID_ARGUMENT, "json");
    CHECK_INVALID(replication_parse_entry(entry, 33, NULL, &number, bytes, 64, &len));
    CHECK_INVALID(replication_parse_entry(entry, 33, &number, NULL, bytes, 64, &len));
    CHECK_INVALID(replication_parse_entry(entry, 33, &number, &number, bytes, 64, NULL));
    const uint8_t *ack = text_of("{\"last_seq\":1,\"reader_id\":\"abcd\"}");
    CHECK_INVALID(replication_parse_ack(NULL, 33, &number, text, 64, &len));
    CHECK_INVALID(replication_parse_ack(ack, 33, NULL, text, 64, &len));
    CHECK_INVALID(replication_parse_ack(ack, 33, &number, NULL, 64, &len));
    CHECK_INVALID(replication_parse_ack(ack, 33, &number, text, 64, NULL));
    const uint8_t *sync = text_of("{\"reader_id\":\"a\",\"last_known_seq\":1}");
    CHECK_INVALID(replication_parse_sync(NULL, 36, &number, text, 64, &len));
    CHECK_INVALID(replication_parse_sync(sync, 36, NULL, text, 64, &len));
    CHECK_INVALID(replication_parse_sync(sync, 36, &number, NULL, 64, &len));
    CHECK_INVALID(replication_parse_sync(sync, 36, &number, text, 64, NULL));
    const uint8_t *sync_ack = text_of("{\"current_seq\":1,\"can_resume\":true}");
    CHECK_INVALID(replication_parse_sync_ack(NULL, 35, &number, &flag, text, 64, &len));
    CHECK_INVALID(replication_parse_sync_ack(sync_ack, 35, NULL, &flag, text, 64, &len));
    CHECK_INVALID(replication_parse_sync_ack(sync_ack, 35, &number, NULL, text, 64, &len));
    CHECK_INVALID(replication_parse_sync_ack(sync_ack, 35, &number, &flag, NULL, 64, &len));
    CHECK_INVALID(replication_parse_sync_ack(sync_ack, 35, &number, &flag, text, 64, NULL));
    const uint8_t *error = text_of("{\"code\":\"c\",\"message\":\"m\"}");
    CHECK_INVALID(replication_parse_error(NULL, 26, text, 64, &len, text, 64, &len));
    CHECK_INVALID(replication_parse_error(error, 26, NULL, 64, &len, text, 64, &len));
    CHECK_INVALID(replication_parse_error(error, 26, text, 64, NULL, text, 64, &len));
    CHECK_INVALID(replication_parse_error(error, 26, text, 64, &len, NULL, 64, &len));
    CHECK_INVALID(replication_parse_error(error, 26, text, 64, &len, text, 64, NULL));
}

/* Whatever the bytes are, a parser answers OK or INVALID_MSG and reads nothing outside of them (the tools watch). */
TEST(p8_random_bytes_never_break_a_parser)
{
    static const char *const seeds[] = {
        "{\"seq\":42,\"ts\":1234567890,\"payload\":\"eyJ0ZXN0IjogImRhdGEifQ==\"}",
        "{\"last_seq\":0,\"reader_id\":\"a\\u003cc\\ud83d\\ude00\"}",
        "{\"reader_id\":\"reader-1\",\"last_known_seq\":50}",
        "{\"current_seq\":0,\"can_resume\":false,\"error\":\"this node\"}",
        "{\"code\":\"SEQUENCE_GAP\",\"message\":\"too far\"}",
    };
    uint64_t seed = random_seed(), state = seed;
    for (size_t round = 0; round < scaled(20000); round++) {
        const char *start = seeds[random_below(&state, COUNT(seeds))];
        size_t len = strlen(start) - random_below(&state, 3);
        uint8_t *bytes = must_alloc(len);
        memcpy(bytes, start, len);
        for (uint64_t changes = random_below(&state, 4); changes > 0; changes--)
            bytes[random_below(&state, len)] = (uint8_t)random_next(&state);
        uint64_t first, second;
        bool flag;
        uint8_t payload[256];
        char text[256], more[256];
        size_t used, more_used;
        const int32_t given[] = {
            replication_parse_entry(bytes, len, &first, &second, payload, sizeof payload, &used),
            replication_parse_ack(bytes, len, &first, text, sizeof text, &used),
            replication_parse_sync(bytes, len, &first, text, sizeof text, &used),
            replication_parse_sync_ack(bytes, len, &first, &flag, text, sizeof text, &used),
            replication_parse_error(bytes, len, text, sizeof text, &used, more, sizeof more, &more_used),
        };
        for (size_t i = 0; i < COUNT(given); i++)
            if (given[i] != REPLICATION_STATUS_OK && given[i] != REPLICATION_STATUS_INVALID_MSG)
                FAIL("TEST_SEED=%llu: parser %zu gave %d", (unsigned long long)seed, i, given[i]);
        free(bytes);
    }
}

TEST_MAIN(CASE(entries_are_written_as_go_writes_them), CASE(acks_are_written_as_go_writes_them),
          CASE(syncs_are_written_as_go_writes_them), CASE(sync_acks_are_written_as_go_writes_them),
          CASE(errors_are_written_as_go_writes_them), CASE(any_type_and_payload_make_a_message),
          CASE(a_writer_says_how_much_room_it_needs), CASE(writers_refuse_null_and_bad_text),
          CASE(p8_a_message_over_the_limit_is_refused_before_it_is_read), CASE(a_message_is_read_where_it_lies),
          CASE(p8_a_message_cut_at_any_byte_says_which_part_is_missing),
          CASE(p8_bad_lengths_are_refused_from_the_header_alone), CASE(the_reader_refuses_null),
          CASE(entries_are_parsed), CASE(every_byte_survives_an_entry), CASE(p8_texts_that_are_no_entry_are_refused),
          CASE(other_messages_are_parsed), CASE(a_parser_says_how_much_room_it_needs), CASE(parsers_refuse_null),
          CASE(p8_random_bytes_never_break_a_parser))
