/* What tokens say by themselves. */
#include <stdlib.h>

#include "host.h"

static const char BEGINNING[] = "30313233343536373839616263646566:1:0:0000000000000000";
static const char FIFTH[] = "30313233343536373839616263646566:1:5:00000000000000ab";
static const char OTHER_FIFTH[] = "30313233343536373839616263646566:1:5:00000000000000cd";
static const char LATER_EPOCH[] = "30313233343536373839616263646566:2:9:00000000000000ef";

static void check_order(const char *first, const char *second, int32_t expected)
{
    const struct place one = place_of_text(first), other = place_of_text(second);
    int32_t order = -1;
    CHECK_OK(replication_token_compare(PLACE(one), PLACE(other), &order));
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
    char *text = NULL;
    int32_t order = -1;
    CHECK_U64(replicate_text(sender, "one"), 1);
    const struct place token = place_of_sender(sender);
    CHECK_OK(replication_token_print(PLACE(token), &text));
    CHECK(strstr(text, ":1:1:") != NULL);
    const struct place parsed = place_of_text(text);
    CHECK(place_is(token, parsed));
    CHECK_OK(replication_token_compare(PLACE(token), PLACE(parsed), &order));
    CHECK(order == REPLICATION_TOKEN_ORDER_EQUAL);
    replication_string_free(text);
    sender_free(sender);
}

TEST(what_is_no_token_is_refused)
{
    const struct place token = place_of_text(FIFTH);
    struct place damaged = token, room = {0};
    char *text = NULL;
    int32_t order = -1;
    const int32_t refused = REPLICATION_STATUS_INVALID_ARGUMENT;
    damaged.bytes[30] ^= 1;
    CHECK_ERROR(replication_token_print(PLACE(damaged), &text), refused, "CRC-32C");
    CHECK_ERROR(replication_token_print(token.bytes, 47, &text), refused, "47 of them");
    CHECK_ERROR(replication_token_print(token.bytes, 0, &text), refused, "0 of them");
    CHECK_ERROR(replication_token_print(NULL, token.len, &text), refused, "token is NULL");
    CHECK_ERROR(replication_token_print(PLACE(token), NULL), refused, "out_text is NULL");
    CHECK_ERROR(replication_token_compare(PLACE(damaged), PLACE(token), &order), refused, "first: ");
    CHECK_ERROR(replication_token_compare(PLACE(token), token.bytes, 0, &order), refused, "second: ");
    CHECK_ERROR(replication_token_compare(PLACE(token), PLACE(token), NULL), refused, "out_order is NULL");
    CHECK_ERROR(replication_token_parse("a\nb", PLACE_ROOM(room)), refused, "STREAM:EPOCH:SEQUENCE:HASH");
    CHECK_ERROR(replication_token_parse(NULL, PLACE_ROOM(room)), refused, "NULL");
    CHECK_ERROR(replication_token_parse(FIFTH, NULL, sizeof room.bytes, &room.len), refused, "token is NULL");
    CHECK_ERROR(replication_token_parse(FIFTH, room.bytes, sizeof room.bytes, NULL), refused, "out_len");
    CHECK_U64(room.len, 0);
    CHECK_ERROR(replication_token_parse(FIFTH, room.bytes, token.len - 1, &room.len),
                REPLICATION_STATUS_BUFFER_TOO_SMALL, "48 bytes");
    CHECK_U64(room.len, token.len);
}

TEST(a_replicated_entrys_token_is_its_place)
{
    replication_sender *sender = start_sender(NULL);
    const uint8_t *payload = (const uint8_t *)"x";
    struct place room = {0};
    const struct place first = replicate_place(sender, "one"), second = replicate_place(sender, "one");
    int32_t order = -1;
    CHECK(place_is(second, place_of_sender(sender)));
    CHECK_OK(replication_token_compare(PLACE(first), PLACE(second), &order));
    CHECK(order == REPLICATION_TOKEN_ORDER_BEFORE);
    /* Without room for the token nothing is appended. */
    CHECK_ERROR(sender_replicate_token(sender, 1, payload, 1, room.bytes, second.len - 1, &room.len),
                REPLICATION_STATUS_BUFFER_TOO_SMALL, "48 bytes");
    CHECK_U64(room.len, second.len);
    CHECK_U64(sender_current_sequence(sender), 2);
    CHECK_OK(sender_replicate_token(sender, 1, payload, 1, room.bytes, second.len, &room.len));
    CHECK_U64(place_sequence(room), 3);
    sender_free(sender);
}

TEST_MAIN(CASE(tokens_are_ordered_as_far_as_they_tell), CASE(the_token_of_a_sender_is_printed_and_parsed),
          CASE(what_is_no_token_is_refused), CASE(a_replicated_entrys_token_is_its_place))
