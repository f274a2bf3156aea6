/* Codes, their names, the error text of the thread, strings given to the host. */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "json.h"

/* That numbers never change, the comparison with the released ABI sees to. */
TEST(every_name_belongs_to_one_number)
{
    enum { LEAST = -200, MOST = 1000 };
    const char *names[MOST - LEAST] = {0};
    int known = 0;
    for (int32_t number = LEAST; number < MOST; number++) {
        const char *name = replication_status_name(number);
        CHECK(name != NULL && name[0] != '\0');
        if (strcmp(name, "UNKNOWN") == 0)
            continue;
        for (int i = 0; i < known; i++)
            CHECK(strcmp(names[i], name) != 0);
        names[known++] = name;
    }
    CHECK(known > 30);
    CHECK_TEXT(replication_status_name(REPLICATION_STATUS_OK), "OK");
    CHECK_TEXT(replication_status_name(REPLICATION_STATUS_SEQUENCE_GAP), "SEQUENCE_GAP");
    CHECK_TEXT(replication_status_name(REPLICATION_STATUS_IO), "IO");
    CHECK_TEXT(replication_status_name(-1), "UNKNOWN");
    CHECK_TEXT(replication_status_name(INT32_MAX), "UNKNOWN");
    CHECK_TEXT(replication_status_name(INT32_MIN), "UNKNOWN");
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

TEST_MAIN(CASE(every_name_belongs_to_one_number), CASE(the_error_text_is_never_null),
          CASE(the_error_text_tells_of_the_last_failing_call), CASE(the_error_text_belongs_to_the_thread),
          CASE(a_string_can_be_freed_and_null_too))
