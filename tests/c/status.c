/* Header section "status": codes, their names, the error text of the thread, strings given to the host. */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "json.h"

/* The numbers are written out: they are part of the ABI and never change. */
static const struct {
    int32_t number;
    int32_t constant;
    const char *name;
} statuses[] = {
    {0, REPLICATION_STATUS_OK, "OK"},
    {1, REPLICATION_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT"},
    {2, REPLICATION_STATUS_INVALID_STATE, "INVALID_STATE"},
    {3, REPLICATION_STATUS_CLOSED, "CLOSED"},
    {4, REPLICATION_STATUS_WRONG_THREAD, "WRONG_THREAD"},
    {5, REPLICATION_STATUS_FORKED, "FORKED"},
    {6, REPLICATION_STATUS_PANIC, "PANIC"},
    {7, REPLICATION_STATUS_TIMEOUT, "TIMEOUT"},
    {8, REPLICATION_STATUS_IO, "IO"},
    {9, REPLICATION_STATUS_BAD_ADDRESS, "BAD_ADDRESS"},
    {10, REPLICATION_STATUS_ADDRESS_IN_USE, "ADDRESS_IN_USE"},
    {11, REPLICATION_STATUS_BAD_DESCRIPTOR, "BAD_DESCRIPTOR"},
    {12, REPLICATION_STATUS_NOT_FOUND, "NOT_FOUND"},
    {13, REPLICATION_STATUS_WRONG_TYPE, "WRONG_TYPE"},
    {14, REPLICATION_STATUS_BUFFER_TOO_SMALL, "BUFFER_TOO_SMALL"},
    {15, REPLICATION_STATUS_TRUNCATED, "TRUNCATED"},
    {16, REPLICATION_STATUS_MESSAGE_TOO_SMALL, "MESSAGE_TOO_SMALL"},
    {17, REPLICATION_STATUS_MESSAGE_TOO_LARGE, "MESSAGE_TOO_LARGE"},
    {18, REPLICATION_STATUS_OUT_OF_MEMORY, "OUT_OF_MEMORY"},
    {19, REPLICATION_STATUS_DECODE_FAILED, "DECODE_FAILED"},
    {20, REPLICATION_STATUS_DAMAGED, "DAMAGED"},
    {21, REPLICATION_STATUS_LOCKED, "LOCKED"},
    {22, REPLICATION_STATUS_DISK_FULL, "DISK_FULL"},
    {23, REPLICATION_STATUS_GATED, "GATED"},
    {24, REPLICATION_STATUS_STALLED, "STALLED"},
    {100, REPLICATION_STATUS_SEQUENCE_GAP, "SEQUENCE_GAP"},
    {101, REPLICATION_STATUS_WAL_ROTATED, "WAL_ROTATED"},
    {102, REPLICATION_STATUS_INVALID_MSG, "INVALID_MSG"},
    {103, REPLICATION_STATUS_NOT_WRITER, "NOT_WRITER"},
    {104, REPLICATION_STATUS_BUFFER_FULL, "BUFFER_FULL"},
    {105, REPLICATION_STATUS_WRITE_FAILED, "WRITE_FAILED"},
    {106, REPLICATION_STATUS_APPLY_FAILED, "APPLY_FAILED"},
    {120, REPLICATION_STATUS_DIVERGED, "DIVERGED"},
    {121, REPLICATION_STATUS_REGRESSED, "REGRESSED"},
    {122, REPLICATION_STATUS_REPLACED, "REPLACED"},
    {123, REPLICATION_STATUS_PEER_TIMEOUT, "PEER_TIMEOUT"},
    {124, REPLICATION_STATUS_REMOVED, "REMOVED"},
    {125, REPLICATION_STATUS_LINEAGE_CHANGED, "LINEAGE_CHANGED"},
};

TEST(every_status_has_its_number_and_its_name)
{
    for (size_t i = 0; i < COUNT(statuses); i++) {
        CHECK_U64(statuses[i].constant, statuses[i].number);
        CHECK_TEXT(replication_status_name(statuses[i].number), statuses[i].name);
    }
}

TEST(every_other_number_is_unknown)
{
    for (int32_t number = -200; number <= 300; number++) {
        bool known = false;
        for (size_t i = 0; i < COUNT(statuses); i++)
            known = known || statuses[i].number == number;
        if (!known)
            CHECK_TEXT(replication_status_name(number), "UNKNOWN");
    }
    CHECK_TEXT(replication_status_name(INT32_MAX), "UNKNOWN");
    CHECK_TEXT(replication_status_name(INT32_MIN), "UNKNOWN");
}

TEST(other_enums_have_their_numbers)
{
    CHECK_U64(REPLICATION_LOG_LEVEL_ERROR, 1);
    CHECK_U64(REPLICATION_LOG_LEVEL_DEBUG, 4);
    CHECK_U64(REPLICATION_FULL_POLICY_CUT_OFF_SLOWEST, 0);
    CHECK_U64(REPLICATION_FULL_POLICY_REFUSE, 1);
    CHECK_U64(REPLICATION_FULL_POLICY_WAIT, 2);
    CHECK_U64(REPLICATION_GATE_POLICY_REFUSE, 0);
    CHECK_U64(REPLICATION_GATE_POLICY_SLOW, 1);
    CHECK_U64(REPLICATION_APPLY_POLICY_RETRY, 0);
    CHECK_U64(REPLICATION_APPLY_POLICY_STOP, 1);
    CHECK_U64(REPLICATION_APPLY_POLICY_SKIP, 2);
    CHECK_U64(REPLICATION_GAP_POLICY_REFUSE, 0);
    CHECK_U64(REPLICATION_GAP_POLICY_CONTINUE, 1);
    CHECK_U64(REPLICATION_PROTOCOL_AUTO, 0);
    CHECK_U64(REPLICATION_PROTOCOL_V1, 1);
    CHECK_U64(REPLICATION_PROTOCOL_V2, 2);
    CHECK_U64(REPLICATION_ACK_LEVEL_RECEIVED, 1);
    CHECK_U64(REPLICATION_ACK_LEVEL_DURABLE, 2);
    CHECK_U64(REPLICATION_ACK_LEVEL_APPLIED, 3);
    CHECK_U64(REPLICATION_EVENT_KIND_CONNECTED, 1);
    CHECK_U64(REPLICATION_EVENT_KIND_EVENTS_LOST, 15);
    CHECK_U64(REPLICATION_VALUE_TYPE_NIL, 0);
    CHECK_U64(REPLICATION_VALUE_TYPE_EXT, 9);
}

TEST(the_error_text_is_never_null)
{
    CHECK(replication_last_error_message() != NULL);
    CHECK(utf8_valid(replication_last_error_message()));
}

TEST(the_error_text_tells_of_the_last_failing_call)
{
    CHECK_ERROR(sender_start(NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "sender is NULL");
    CHECK_ERROR(receiver_start(NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "receiver is NULL");
    CHECK_ERROR(sender_config_set_buffer_size(NULL, 1), REPLICATION_STATUS_INVALID_ARGUMENT, "config is NULL");
}

static void *fail_elsewhere(void *argument)
{
    (void)argument;
    CHECK(strstr(replication_last_error_message(), "receiver is NULL") == NULL);
    CHECK_ERROR(sender_start(NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "sender is NULL");
    return NULL;
}

TEST(the_error_text_belongs_to_the_thread)
{
    CHECK_INVALID(receiver_start(NULL));
    const char *mine = replication_last_error_message();
    char before[256];
    snprintf(before, sizeof before, "%s", mine);
    thread_join(thread_start(fail_elsewhere, NULL));
    CHECK(replication_last_error_message() == mine);
    CHECK_TEXT(mine, before);
}

TEST(a_string_can_be_freed_and_null_too)
{
    replication_sender *sender = NULL;
    char *json = NULL;
    CHECK_OK(sender_new(NULL, &sender));
    CHECK_OK(sender_stats_json(sender, &json));
    CHECK(json_is_object(json));
    replication_string_free(json);
    replication_string_free(NULL);
    sender_free(sender);
}

TEST_MAIN(CASE(every_status_has_its_number_and_its_name), CASE(every_other_number_is_unknown),
          CASE(other_enums_have_their_numbers), CASE(the_error_text_is_never_null),
          CASE(the_error_text_tells_of_the_last_failing_call), CASE(the_error_text_belongs_to_the_thread),
          CASE(a_string_can_be_freed_and_null_too))
