/* Header section "Tokens": what tokens say by themselves. */
#include <stdlib.h>

#include "harness.h"
#include "host.h"

enum { BYTES = REPLICATION_TOKEN_BYTES };

static const char BEGINNING[] = "30313233343536373839616263646566:1:0:0000000000000000";
static const char FIFTH[] = "30313233343536373839616263646566:1:5:00000000000000ab";
static const char OTHER_FIFTH[] = "30313233343536373839616263646566:1:5:00000000000000cd";
static const char LATER_EPOCH[] = "30313233343536373839616263646566:2:9:00000000000000ef";

/* The token with this text. */
static void parse(const char *text, uint8_t token[BYTES])
{
    size_t len = 0;
    CHECK_OK(replication_token_parse(text, token, BYTES, &len));
    CHECK_U64(len, BYTES);
}

static void check_order(const char *first, const char *second, int32_t expected)
{
    uint8_t one[BYTES], other[BYTES];
    int32_t order = -1;
    parse(first, one);
    parse(second, other);
    CHECK_OK(replication_token_compare(one, BYTES, other, BYTES, &order));
    CHECK(order == expected);
}

TEST(tokens_are_ordered_as_far_as_they_tell)
{
    check_order(FIFTH, FIFTH, REPLICATION_TOKEN_ORDER_EQUAL);
    check_order(BEGINNING, FIFTH, REPLICATION_TOKEN_ORDER_BEFORE);
    check_order(FIFTH, BEGINNING, REPLICATION_TOKEN_ORDER_AFTER);
    check_order(FIFTH, LATER_EPOCH, REPLICATION_TOKEN_ORDER_UNKNOWN);
    check_order(FIFTH, OTHER_FIFTH, REPLICATION_TOKEN_ORDER_DIVERGED);
}

TEST(the_token_of_a_sender_is_printed_and_parsed)
{
    replication_sender *sender = start_sender(NULL);
    uint8_t token[BYTES], parsed[BYTES];
    char *text = NULL;
    int32_t order = -1;
    CHECK_U64(replicate_text(sender, "one"), 1);
    CHECK_OK(sender_token(sender, token));
    CHECK_OK(replication_token_print(token, BYTES, &text));
    CHECK(strstr(text, ":1:1:") != NULL);
    parse(text, parsed);
    CHECK(memcmp(token, parsed, BYTES) == 0);
    CHECK_OK(replication_token_compare(token, BYTES, parsed, BYTES, &order));
    CHECK(order == REPLICATION_TOKEN_ORDER_EQUAL);
    replication_string_free(text);
    sender_free(sender);
}

TEST(what_is_no_token_is_refused)
{
    uint8_t token[BYTES], damaged[BYTES];
    char *text = NULL;
    size_t len = 0;
    int32_t order = -1;
    parse(FIFTH, token);
    memcpy(damaged, token, BYTES);
    damaged[30] ^= 1;
    CHECK_ERROR(replication_token_print(damaged, BYTES, &text), REPLICATION_STATUS_INVALID_ARGUMENT, "CRC-32C");
    CHECK_ERROR(replication_token_print(token, BYTES - 1, &text), REPLICATION_STATUS_INVALID_ARGUMENT, "47 of them");
    CHECK_ERROR(replication_token_print(NULL, BYTES, &text), REPLICATION_STATUS_INVALID_ARGUMENT, "token is NULL");
    CHECK_ERROR(replication_token_print(token, BYTES, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_text is NULL");
    CHECK_ERROR(replication_token_compare(damaged, BYTES, token, BYTES, &order), REPLICATION_STATUS_INVALID_ARGUMENT,
                "first: ");
    CHECK_ERROR(replication_token_compare(token, BYTES, token, 0, &order), REPLICATION_STATUS_INVALID_ARGUMENT,
                "second: ");
    CHECK_ERROR(replication_token_compare(token, BYTES, token, BYTES, NULL), REPLICATION_STATUS_INVALID_ARGUMENT,
                "out_order is NULL");
    CHECK_ERROR(replication_token_parse("a\nb", token, BYTES, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "STREAM:EPOCH:SEQUENCE:HASH");
    CHECK_ERROR(replication_token_parse(NULL, token, BYTES, &len), REPLICATION_STATUS_INVALID_ARGUMENT, "NULL");
    CHECK_ERROR(replication_token_parse(FIFTH, NULL, BYTES, &len), REPLICATION_STATUS_INVALID_ARGUMENT,
                "token is NULL");
    CHECK_ERROR(replication_token_parse(FIFTH, token, BYTES, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out_len");
    CHECK_ERROR(replication_token_parse(FIFTH, token, BYTES - 1, &len), REPLICATION_STATUS_BUFFER_TOO_SMALL,
                "48 bytes");
    CHECK_U64(len, BYTES);
}

TEST_MAIN(CASE(tokens_are_ordered_as_far_as_they_tell), CASE(the_token_of_a_sender_is_printed_and_parsed),
          CASE(what_is_no_token_is_refused))
