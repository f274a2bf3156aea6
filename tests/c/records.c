/* Records: an array of maps in msgpack, written out byte by byte here. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "json.h"

/* [ {"id":7, "name":"disk <0>", "ok":true, "ratio":0.5, "none":nil, "raw":bin(3), "neg":-300, "big":u64max,
 *    "tags":["a",{"k":1}], "when":ext(5, 2 bytes), "small":f32 1.5, "max":i64max}, {"id":8} ] */
static const uint8_t sample[] = "\x92"
                                "\x8c"
                                "\xa2id\x07"
                                "\xa4name\xa8"
                                "disk <0>"
                                "\xa2ok\xc3"
                                "\xa5ratio\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"
                                "\xa4none\xc0"
                                "\xa3raw\xc4\x03\x00\xff\x10"
                                "\xa3neg\xd1\xfe\xd4"
                                "\xa3"
                                "big\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
                                "\xa4tags\x92\xa1"
                                "a\x81\xa1k\x01"
                                "\xa4when\xd5\x05\x12\x34"
                                "\xa5small\xca\x3f\xc0\x00\x00"
                                "\xa3max\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"
                                "\x81\xa2id\x08";
enum { SAMPLE_LEN = sizeof sample - 1 };

static replication_records *parsed(const uint8_t *payload, size_t len)
{
    replication_records *records = NULL;
    CHECK_OK(replication_records_parse(payload, len, &records));
    CHECK(records != NULL);
    return records;
}

static const replication_value *get(const replication_records *records, size_t row, const char *key)
{
    const replication_value *value = NULL;
    CHECK_OK(replication_records_get(records, row, key, &value));
    CHECK(value != NULL);
    return value;
}

TEST(rows_are_counted_and_read_by_key)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    int64_t number = 0;
    CHECK_U64(replication_records_count(records), 2);
    CHECK_OK(replication_value_i64(get(records, 0, "id"), &number));
    CHECK_U64(number, 7);
    CHECK_OK(replication_value_i64(get(records, 1, "id"), &number));
    CHECK_U64(number, 8);
    replication_records_free(records);
}

TEST(each_value_has_its_type)
{
    static const struct {
        const char *key;
        int32_t type;
    } expected[] = {
        {"id", REPLICATION_VALUE_TYPE_I64},     {"name", REPLICATION_VALUE_TYPE_STRING},
        {"ok", REPLICATION_VALUE_TYPE_BOOL},    {"ratio", REPLICATION_VALUE_TYPE_F64},
        {"none", REPLICATION_VALUE_TYPE_NIL},   {"raw", REPLICATION_VALUE_TYPE_BYTES},
        {"neg", REPLICATION_VALUE_TYPE_I64},    {"big", REPLICATION_VALUE_TYPE_U64},
        {"tags", REPLICATION_VALUE_TYPE_ARRAY}, {"when", REPLICATION_VALUE_TYPE_EXT},
        {"small", REPLICATION_VALUE_TYPE_F64},  {"max", REPLICATION_VALUE_TYPE_I64},
    };
    replication_records *records = parsed(sample, SAMPLE_LEN);
    for (size_t i = 0; i < COUNT(expected); i++)
        if (replication_value_type_of(get(records, 0, expected[i].key)) != expected[i].type)
            FAIL("%s is not of type %d", expected[i].key, expected[i].type);
    CHECK(replication_value_type_of(NULL) == -1);
    replication_records_free(records);
}

TEST(values_are_read_by_their_type)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    bool truth = false;
    int64_t number = 0;
    uint64_t positive = 0;
    double real = 0;
    const char *text = NULL;
    const uint8_t *bytes = NULL;
    size_t len = 0;
    int8_t ext = 0;
    CHECK_OK(replication_value_bool(get(records, 0, "ok"), &truth));
    CHECK(truth);
    CHECK_OK(replication_value_i64(get(records, 0, "neg"), &number));
    CHECK(number == -300);
    CHECK_OK(replication_value_u64(get(records, 0, "big"), &positive));
    CHECK_U64(positive, UINT64_MAX);
    CHECK_OK(replication_value_u64(get(records, 0, "id"), &positive));
    CHECK_U64(positive, 7);
    CHECK_OK(replication_value_i64(get(records, 0, "max"), &number));
    CHECK(number == INT64_MAX);
    CHECK_OK(replication_value_f64(get(records, 0, "ratio"), &real));
    CHECK(real == 0.5);
    CHECK_OK(replication_value_f64(get(records, 0, "small"), &real));
    CHECK(real == 1.5);
    CHECK_OK(replication_value_f64(get(records, 0, "neg"), &real));
    CHECK(real == -300.0);
    CHECK_OK(replication_value_f64(get(records, 0, "big"), &real));
    CHECK(real == 18446744073709551616.0);
    CHECK_OK(replication_value_string(get(records, 0, "name"), &text, &len));
    CHECK(len == 8 && memcmp(text, "disk <0>", 8) == 0);
    CHECK_OK(replication_value_bytes(get(records, 0, "raw"), &bytes, &len));
    CHECK(len == 3 && memcmp(bytes, "\x00\xff\x10", 3) == 0);
    CHECK_OK(replication_value_bytes(get(records, 0, "name"), &bytes, &len));
    CHECK_U64(len, 8);
    CHECK_OK(replication_value_bytes(get(records, 0, "when"), &bytes, &len));
    CHECK(len == 2 && memcmp(bytes, "\x12\x34", 2) == 0);
    CHECK_OK(replication_value_ext_type(get(records, 0, "when"), &ext));
    CHECK(ext == 5);
    replication_records_free(records);
}

TEST(a_value_of_another_type_is_refused)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    bool truth = true;
    int64_t number = 77;
    uint64_t positive = 77;
    double real = 77;
    const char *text = NULL;
    const uint8_t *bytes = NULL;
    size_t len = 77;
    int8_t ext = 77;
    CHECK_STATUS(replication_value_bool(get(records, 0, "id"), &truth), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_i64(get(records, 0, "big"), &number), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_i64(get(records, 0, "ratio"), &number), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_i64(get(records, 0, "none"), &number), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_u64(get(records, 0, "neg"), &positive), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_f64(get(records, 0, "name"), &real), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_string(get(records, 0, "raw"), &text, &len), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_bytes(get(records, 0, "id"), &bytes, &len), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_ext_type(get(records, 0, "raw"), &ext), REPLICATION_STATUS_WRONG_TYPE);
    CHECK(truth && number == 77 && positive == 77 && real == 77 && text == NULL && bytes == NULL && len == 77);
    CHECK(ext == 77);
    replication_records_free(records);
}

TEST(nested_values_are_reached)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    const replication_value *tags = get(records, 0, "tags"), *first = NULL, *map = NULL, *inner = NULL, *key = NULL;
    int64_t number = 0;
    const char *text = NULL;
    size_t len = 0;
    CHECK_U64(replication_value_count(tags), 2);
    CHECK_OK(replication_value_at(tags, 0, &first));
    CHECK_OK(replication_value_string(first, &text, &len));
    CHECK(len == 1 && text[0] == 'a');
    CHECK_OK(replication_value_at(tags, 1, &map));
    CHECK(replication_value_type_of(map) == REPLICATION_VALUE_TYPE_MAP);
    CHECK_U64(replication_value_count(map), 1);
    CHECK_OK(replication_value_get(map, "k", &inner));
    CHECK_OK(replication_value_i64(inner, &number));
    CHECK_U64(number, 1);
    CHECK_OK(replication_value_key_at(map, 0, &key));
    CHECK_OK(replication_value_string(key, &text, &len));
    CHECK(len == 1 && text[0] == 'k');
    CHECK_OK(replication_value_at(map, 0, &inner));
    CHECK_OK(replication_value_i64(inner, &number));
    CHECK_U64(number, 1);
    CHECK_ERROR(replication_value_at(tags, 2, &inner), REPLICATION_STATUS_NOT_FOUND, "2");
    CHECK_STATUS(replication_value_key_at(map, 1, &key), REPLICATION_STATUS_NOT_FOUND);
    CHECK_ERROR(replication_value_get(map, "absent", &inner), REPLICATION_STATUS_NOT_FOUND, "absent");
    CHECK_STATUS(replication_value_key_at(tags, 0, &key), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_get(tags, "k", &inner), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_STATUS(replication_value_at(first, 0, &inner), REPLICATION_STATUS_WRONG_TYPE);
    CHECK_U64(replication_value_count(first), 0);
    CHECK_U64(replication_value_count(NULL), 0);
    replication_records_free(records);
}

TEST(a_row_is_a_map)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    const replication_value *row = NULL, *key = NULL;
    const char *text = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_row(records, 0, &row));
    CHECK(replication_value_type_of(row) == REPLICATION_VALUE_TYPE_MAP);
    CHECK_U64(replication_value_count(row), 12);
    CHECK_OK(replication_value_key_at(row, 1, &key));
    CHECK_OK(replication_value_string(key, &text, &len));
    CHECK(len == 4 && memcmp(text, "name", 4) == 0);
    replication_records_free(records);
}

TEST(missing_values_are_named)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    const replication_value *value = NULL;
    CHECK_ERROR(replication_records_get(records, 1, "name", &value), REPLICATION_STATUS_NOT_FOUND, "name");
    CHECK_ERROR(replication_records_get(records, 17, "id", &value), REPLICATION_STATUS_NOT_FOUND, "17");
    CHECK_ERROR(replication_records_row(records, 2, &value), REPLICATION_STATUS_NOT_FOUND, "2");
    CHECK(value == NULL);
    replication_records_free(records);
}

TEST(records_as_json)
{
    replication_records *records = parsed(sample, SAMPLE_LEN);
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_U64(strlen(json), len);
    CHECK(json_valid(json));
    CHECK_U64(json_u64(json, "0.id"), 7);
    CHECK_U64(json_u64(json, "1.id"), 8);
    CHECK(json_is_true(json, "0.ok"));
    CHECK(json_is_string(json, "0.raw", "AP8Q"));
    CHECK_U64(json_u64(json, "0.big"), UINT64_MAX);
    CHECK_U64(json_u64(json, "0.tags.1.k"), 1);
    CHECK_U64(json_u64(json, "0.when.ext"), 5);
    CHECK(json_is_string(json, "0.when.data", "EjQ="));
    CHECK(json_is(json, "0.none", "null"));
    CHECK(json_is(json, "0.neg", "-300"));
    CHECK(json_is(json, "0.ratio", "0.5"));
    /* The same text again, owned by the records. */
    const char *again = NULL;
    CHECK_OK(replication_records_json(records, &again, &len));
    CHECK_TEXT(again, json);
    replication_records_free(records);
}

TEST(numbers_that_json_lacks_are_null)
{
    static const uint8_t payload[] =
        "\x91\x83\xa1n\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa1p\xcb\x7f\xf0\x00\x00\x00\x00"
        "\x00\x00\xa1m\xca\xff\x80\x00\x00";
    replication_records *records = parsed(payload, sizeof payload - 1);
    const char *json = NULL;
    size_t len = 0;
    double real = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_TEXT(json, "[{\"n\":null,\"p\":null,\"m\":null}]");
    CHECK_OK(replication_value_f64(get(records, 0, "n"), &real));
    CHECK(isnan(real));
    replication_records_free(records);
}

TEST(an_empty_array_has_no_rows)
{
    replication_records *records = parsed((const uint8_t *)"\x90", 1);
    const char *json = NULL;
    size_t len = 0;
    CHECK_U64(replication_records_count(records), 0);
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_TEXT(json, "[]");
    replication_records_free(records);
    CHECK_U64(replication_records_count(NULL), 0);
    replication_records_free(NULL);
}

TEST(what_is_no_array_of_maps_is_refused_with_the_offset)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *offset;
    } bad[] = {
        {"", 0, "0"},
        {"\x07", 1, "0"},                     /* a number */
        {"\x81\xa1k\x01", 4, "0"},            /* a map */
        {"\x91\x07", 2, "1"},                 /* an array of a number */
        {"\x92\x80\x93\x01\x02\x03", 6, "2"}, /* an array in the second place */
        {"\x91\x81\xa1k", 4, "4"},            /* the value is missing */
        {"\x91\x81\xa9k", 4, ""},             /* a string that is cut */
        {"\x91\xc1", 2, "1"},                 /* the byte that msgpack never uses */
        {"\x90\x00", 2, "1"},                 /* bytes after the end */
        {"\xdd\xff\xff\xff\xff", 5, ""},      /* four thousand million rows announced */
        {"\x91\xdf\xff\xff\xff\xff", 6, ""},
        {"\x91\x81\xa1k\xc6\xff\xff\xff\xff", 9, ""},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        replication_records *records = NULL;
        int32_t status = replication_records_parse((const uint8_t *)bad[i].bytes, bad[i].len, &records);
        if (status != REPLICATION_STATUS_DECODE_FAILED || records != NULL)
            FAIL("payload %zu gave %s", i, replication_status_name(status));
        CHECK_CONTAINS(replication_last_error_message(), bad[i].offset);
        CHECK(strpbrk(replication_last_error_message(), "0123456789") != NULL);
    }
}

TEST(p8_a_payload_cut_at_any_byte_is_refused)
{
    for (size_t len = 0; len < SAMPLE_LEN; len++) {
        uint8_t *cut = must_alloc(len);
        replication_records *records = NULL;
        memcpy(cut, sample, len);
        CHECK_STATUS(replication_records_parse(cut, len, &records), REPLICATION_STATUS_DECODE_FAILED);
        CHECK(records == NULL);
        free(cut);
    }
}

TEST(p8_deep_nesting_does_not_eat_the_stack)
{
    enum { DEPTH = 1000000 };
    uint8_t *payload = must_alloc(DEPTH + 4);
    replication_records *records = NULL;
    memcpy(payload, "\x91\x81\xa1k", 4);
    memset(payload + 4, 0x91, DEPTH);
    CHECK_STATUS(replication_records_parse(payload, DEPTH + 4, &records), REPLICATION_STATUS_DECODE_FAILED);
    free(payload);
}

/* Levels of nesting that are read, the array of records and the record included. */
enum { DEEPEST = 128 };

static void *on_a_small_stack(void *unused)
{
    uint8_t payload[4 + DEEPEST - 2 + 1] = "\x91\x81\xa1k";
    const char *text = NULL;
    size_t len = 0;
    memset(payload + 4, 0x91, DEEPEST - 2);
    payload[sizeof payload - 1] = 0xc0;
    replication_records *records = parsed(payload, sizeof payload);
    CHECK_OK(replication_records_json(records, &text, &len));
    CHECK_U64(len, sizeof "[{\"k\":null}]" - 1 + 2 * (DEEPEST - 2));
    replication_records_free(records);
    return unused;
}

/* What the header says is enough, and what this test itself and its thread need. */
TEST(p5_the_deepest_records_need_the_stack_that_the_header_says)
{
    pthread_attr_t small;
    pthread_t thread;
    CHECK(pthread_attr_init(&small) == 0);
    CHECK(pthread_attr_setstacksize(&small, (96 + 16) * 1024) == 0);
    CHECK(pthread_create(&thread, &small, on_a_small_stack, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&small) == 0);
}

/* Rows of one small value: four bytes each, and about a hundred in memory. */
static uint8_t *many_rows(uint32_t rows, size_t *len)
{
    *len = 5 + (size_t)rows * 4;
    uint8_t *payload = must_alloc(*len);
    const uint8_t head[] = {0xdd, (uint8_t)(rows >> 24), (uint8_t)(rows >> 16), (uint8_t)(rows >> 8), (uint8_t)rows};
    memcpy(payload, head, sizeof head);
    for (uint32_t row = 0; row < rows; row++)
        memcpy(payload + 5 + (size_t)row * 4, "\x81\xa1k\x01", 4);
    return payload;
}

TEST(p5_records_that_take_too_much_memory_are_refused)
{
    size_t len;
    uint8_t *payload = many_rows(3 << 20, &len);
    replication_records *records = NULL;
    CHECK_ERROR(replication_records_parse(payload, len, &records), REPLICATION_STATUS_DECODE_FAILED, "268435456");
    CHECK_ERROR(replication_records_parse_within(payload, len, 1000, &records), REPLICATION_STATUS_DECODE_FAILED,
                "more than 1000 bytes of memory");
    CHECK_OK(replication_records_parse_within(sample, SAMPLE_LEN, 10000, &records));
    CHECK_U64(replication_records_count(records), 2);
    replication_records_free(records);
    free(payload);
}

TEST(p8_random_payloads_never_break_the_decoder)
{
    uint64_t seed = random_seed(), state = seed;
    for (size_t round = 0; round < scaled(20000); round++) {
        size_t len = SAMPLE_LEN - random_below(&state, 4);
        uint8_t *payload = must_alloc(len);
        replication_records *records = NULL;
        memcpy(payload, sample, len);
        for (uint64_t changes = 1 + random_below(&state, 4); changes > 0; changes--)
            payload[random_below(&state, len)] = (uint8_t)random_next(&state);
        int32_t status = replication_records_parse(payload, len, &records);
        memset(payload, 0, len);
        free(payload); /* the records do not need it any more */
        if (status == REPLICATION_STATUS_OK) {
            const char *json = NULL;
            size_t json_len = 0;
            CHECK_OK(replication_records_json(records, &json, &json_len));
            if (!json_valid(json))
                FAIL("TEST_SEED=%llu: not JSON: %s", (unsigned long long)seed, json);
        } else {
            CHECK_STATUS(status, REPLICATION_STATUS_DECODE_FAILED);
        }
        replication_records_free(records);
    }
}

TEST(records_refuse_null)
{
    replication_records *records = parsed(sample, SAMPLE_LEN), *other = NULL;
    const replication_value *value = get(records, 0, "tags"), *found = NULL;
    const char *text = NULL;
    const uint8_t *bytes = NULL;
    size_t len = 0;
    bool truth;
    int64_t number;
    uint64_t positive;
    double real;
    int8_t ext;
    CHECK_ERROR(replication_records_parse(NULL, 5, &other), REPLICATION_STATUS_INVALID_ARGUMENT, "payload");
    CHECK_INVALID(replication_records_parse(sample, SAMPLE_LEN, NULL));
    CHECK_ERROR(replication_records_parse_within(NULL, 5, 1, &other), REPLICATION_STATUS_INVALID_ARGUMENT, "payload");
    CHECK_INVALID(replication_records_parse_within(sample, SAMPLE_LEN, 10000, NULL));
    CHECK_ERROR(replication_records_get(NULL, 0, "id", &found), REPLICATION_STATUS_INVALID_ARGUMENT, "records");
    CHECK_ERROR(replication_records_get(records, 0, NULL, &found), REPLICATION_STATUS_INVALID_ARGUMENT, "key");
    CHECK_INVALID(replication_records_get(records, 0, "\xff", &found));
    CHECK_INVALID(replication_records_get(records, 0, "id", NULL));
    CHECK_INVALID(replication_records_row(NULL, 0, &found));
    CHECK_INVALID(replication_records_row(records, 0, NULL));
    CHECK_INVALID(replication_records_json(NULL, &text, &len));
    CHECK_INVALID(replication_records_json(records, NULL, &len));
    CHECK_ERROR(replication_value_bool(NULL, &truth), REPLICATION_STATUS_INVALID_ARGUMENT, "value");
    CHECK_INVALID(replication_value_bool(value, NULL));
    CHECK_INVALID(replication_value_i64(NULL, &number));
    CHECK_INVALID(replication_value_i64(value, NULL));
    CHECK_INVALID(replication_value_u64(NULL, &positive));
    CHECK_INVALID(replication_value_u64(value, NULL));
    CHECK_INVALID(replication_value_f64(NULL, &real));
    CHECK_INVALID(replication_value_f64(value, NULL));
    CHECK_INVALID(replication_value_string(NULL, &text, &len));
    CHECK_INVALID(replication_value_string(value, NULL, &len));
    CHECK_INVALID(replication_value_string(value, &text, NULL));
    CHECK_INVALID(replication_value_bytes(NULL, &bytes, &len));
    CHECK_INVALID(replication_value_bytes(value, NULL, &len));
    CHECK_INVALID(replication_value_bytes(value, &bytes, NULL));
    CHECK_INVALID(replication_value_ext_type(NULL, &ext));
    CHECK_INVALID(replication_value_ext_type(value, NULL));
    CHECK_INVALID(replication_value_at(NULL, 0, &found));
    CHECK_INVALID(replication_value_at(value, 0, NULL));
    CHECK_INVALID(replication_value_key_at(NULL, 0, &found));
    CHECK_INVALID(replication_value_key_at(value, 0, NULL));
    CHECK_INVALID(replication_value_get(NULL, "k", &found));
    CHECK_INVALID(replication_value_get(value, NULL, &found));
    CHECK_INVALID(replication_value_get(value, "k", NULL));
    replication_records_free(records);
}

/* The same, as a record handler gets it. */
struct rows {
    atomic_int calls;
    atomic_int released;
    int64_t ids[2];
};

static void rows_release(void *user_data)
{
    struct rows *rows = user_data;
    atomic_fetch_add(&rows->released, 1);
}

static int32_t take_rows(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records)
{
    struct rows *rows = user_data;
    CHECK_U64(sequence, 1);
    CHECK_U64(timestamp_us, 123456);
    CHECK_U64(replication_records_count(records), 2);
    for (size_t row = 0; row < 2; row++)
        CHECK_OK(replication_value_i64(get(records, row, "id"), &rows->ids[row]));
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_U64(json_u64(json, "0.id"), 7);
    atomic_fetch_add(&rows->calls, 1);
    return 0;
}

static replication_receiver *follow_rows(uint16_t port, struct rows *rows, struct events *events)
{
    struct inbox *unused = inbox_new();
    replication_receiver_config *config = receiver_config_for("rows", tcp_address(port), unused);
    CHECK_OK(receiver_config_set_record_handler(config, take_rows, rows, rows_release));
    CHECK_U64(atomic_load(&unused->released), 1); /* replaced by the record handler */
    receiver_config_listen_to(config, events);
    CHECK_OK(receiver_config_set_apply_policy(config, REPLICATION_APPLY_POLICY_STOP, 0));
    inbox_free(unused);
    return start_receiver(config);
}

TEST(a_record_handler_gets_the_decoded_payload)
{
    struct rows rows = {0};
    struct events *events = events_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow_rows(listen_tcp(sender), &rows, events);
    CHECK_OK(sender_replicate(sender, 123456, sample, SAMPLE_LEN, NULL));
    wait_for(receiver, 1);
    CHECK(atomic_load(&rows.calls) == 1 && rows.ids[0] == 7 && rows.ids[1] == 8);
    receiver_free(receiver);
    sender_free(sender);
    CHECK(atomic_load(&rows.released) == 1);
    events_free(events);
}

TEST(a_record_handler_does_not_see_what_is_no_record)
{
    struct rows rows = {0};
    struct events *events = events_new();
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow_rows(listen_tcp(sender), &rows, events);
    CHECK_OK(sender_replicate(sender, 123456, (const uint8_t *)"\x91\x07", 2, NULL));
    CHECK_ERROR(receiver_wait_sequence(receiver, 1, PATIENCE_MS), REPLICATION_STATUS_APPLY_FAILED, "1");
    struct seen_event stopped = events_wait(events, REPLICATION_EVENT_KIND_STOPPED);
    CHECK_U64(stopped.sequence, 1);
    CHECK(events_count(events, REPLICATION_EVENT_KIND_APPLY_FAILED) >= 1);
    CHECK(atomic_load(&rows.calls) == 0);
    CHECK_U64(receiver_last_sequence(receiver), 0);
    receiver_free(receiver);
    sender_free(sender);
    events_free(events);
}

TEST_MAIN(CASE(rows_are_counted_and_read_by_key), CASE(each_value_has_its_type), CASE(values_are_read_by_their_type),
          CASE(a_value_of_another_type_is_refused), CASE(nested_values_are_reached), CASE(a_row_is_a_map),
          CASE(missing_values_are_named), CASE(records_as_json), CASE(numbers_that_json_lacks_are_null),
          CASE(an_empty_array_has_no_rows), CASE(what_is_no_array_of_maps_is_refused_with_the_offset),
          CASE(p8_a_payload_cut_at_any_byte_is_refused), CASE(p8_deep_nesting_does_not_eat_the_stack),
          CASE(p5_the_deepest_records_need_the_stack_that_the_header_says),
          CASE(p5_records_that_take_too_much_memory_are_refused), CASE(p8_random_payloads_never_break_the_decoder),
          CASE(records_refuse_null), CASE(a_record_handler_gets_the_decoded_payload),
          CASE(a_record_handler_does_not_see_what_is_no_record))
