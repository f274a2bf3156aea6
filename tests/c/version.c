/* The numbers of the header and of the library that was loaded. */
#include <stdio.h>

#include "harness.h"

TEST(the_number_is_made_of_the_three_parts)
{
    CHECK_U64(REPLICATION_VERSION_NUMBER,
              REPLICATION_VERSION_MAJOR * 1000000 + REPLICATION_VERSION_MINOR * 1000 + REPLICATION_VERSION_PATCH);
}

TEST(the_library_is_the_one_of_the_header)
{
    char expected[64];
    snprintf(expected, sizeof expected, "%d.%d.%d", REPLICATION_VERSION_MAJOR, REPLICATION_VERSION_MINOR,
             REPLICATION_VERSION_PATCH);
    CHECK_TEXT(replication_version(), expected);
    CHECK_U64(replication_version_number(), REPLICATION_VERSION_NUMBER);
    CHECK_U64(replication_abi_version(), REPLICATION_ABI_VERSION);
}

TEST(the_version_text_is_static)
{
    CHECK(replication_version() == replication_version());
}

TEST(the_protocol_limits_are_the_documented_ones)
{
    CHECK_U64(REPLICATION_HEADER_SIZE, 5);
    CHECK_U64(REPLICATION_MAX_MESSAGE_SIZE, 100 * 1024 * 1024);
    CHECK_U64(REPLICATION_MAX_READER_ID_BYTES, 255);
    CHECK_U64(REPLICATION_TOKEN_MAX_BYTES, 96);
}

/* Bindings in other languages rely on these layouts. */
TEST(frozen_structs_have_their_frozen_layout)
{
    CHECK_U64(sizeof(replication_slice), 2 * sizeof(void *));
    CHECK_U64(offsetof(replication_slice, data), 0);
    CHECK_U64(offsetof(replication_slice, len), sizeof(void *));
    CHECK_U64(sizeof(replication_entry), 16 + 2 * sizeof(void *));
    CHECK_U64(offsetof(replication_entry, sequence), 0);
    CHECK_U64(offsetof(replication_entry, timestamp_us), 8);
    CHECK_U64(offsetof(replication_entry, payload), 16);
    CHECK_U64(offsetof(replication_entry, payload_len), 16 + sizeof(void *));
    CHECK_U64(offsetof(replication_event, struct_size), 0);
    CHECK_U64(offsetof(replication_event, kind), sizeof(size_t));
    CHECK_U64(offsetof(replication_event, status), sizeof(size_t) + 4);
    CHECK_U64(offsetof(replication_event, sequence), sizeof(size_t) + 8);
    CHECK_U64(offsetof(replication_event, reader_id), sizeof(size_t) + 16);
    CHECK_U64(sizeof(int32_t), sizeof(replication_status));
}

TEST_MAIN(CASE(the_number_is_made_of_the_three_parts), CASE(the_library_is_the_one_of_the_header),
          CASE(the_version_text_is_static), CASE(the_protocol_limits_are_the_documented_ones),
          CASE(frozen_structs_have_their_frozen_layout))
