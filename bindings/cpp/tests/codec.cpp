// The messages of protocol v1. What they are byte for byte is in tests/scenarios.
#include "harness.hpp"

using namespace replication::codec;
using replication::bytes_view;
using replication::status;

TEST(messages_go_into_the_callers_buffer)
{
    std::array<std::uint8_t, 256> room{};
    const buffer out{room.data(), room.size()}, none{};
    const auto is_written = [&](std::size_t size, const std::vector<std::uint8_t> &whole) {
        CHECK(bytes_view(room.data(), size) == bytes_view(whole));
    };
    is_written(write_message(out, 0x77, "{}"), write_message(0x77, "{}"));
    is_written(write_entry(out, 1, 2, "payload"), write_entry(1, 2, "payload"));
    is_written(write_ack(out, 1, "reader"), write_ack(1, "reader"));
    is_written(write_sync(out, "reader", 1), write_sync("reader", 1));
    is_written(write_sync(out, "reader", 1, true), write_sync("reader", 1, true));
    is_written(write_sync_ack(out, 1, true), write_sync_ack(1, true));
    is_written(write_sync_ack(out, 1, false, "why", true), write_sync_ack(1, false, "why", true));
    is_written(write_error(out, "SEQUENCE_GAP", "why"), write_error("SEQUENCE_GAP", "why"));
    CHECK_THROWS(status::buffer_too_small, "", write_message(none, 0x77, "{}"));
    CHECK_THROWS(status::buffer_too_small, "", write_entry(none, 1, 2, "payload"));
    CHECK_THROWS(status::buffer_too_small, "", write_ack(none, 1, "reader"));
    CHECK_THROWS(status::buffer_too_small, "", write_sync(none, "reader", 1));
    CHECK_THROWS(status::buffer_too_small, "", write_sync_ack(none, 1, true));
    CHECK_THROWS(status::buffer_too_small, "", write_error(buffer{room.data(), 5}, "SEQUENCE_GAP", "why"));
}

TEST(coordinators_have_their_own_types)
{
    CHECK(read_message(write_sync("reader", 1)).type == 0x12);
    CHECK(read_message(write_sync("reader", 1, true)).type == 0x10);
    CHECK(read_message(write_sync_ack(1, true)).type == 0x13);
    CHECK(read_message(write_sync_ack(1, true, nullptr, true)).type == 0x11);
}

TEST(a_stream_of_messages)
{
    std::vector<std::uint8_t> stream;
    for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
        const auto message = write_entry(sequence, 0, std::string(sequence, 'x'));
        stream.insert(stream.end(), message.begin(), message.end());
    }
    bytes_view rest(stream.data(), stream.size() - 1);
    std::uint64_t sequence = 0;
    while (const auto message = next_message(rest)) {
        const entry_message entry = parse_entry(message->payload);
        CHECK(entry.sequence == ++sequence);
        CHECK(entry.payload.size() == sequence);
        rest = rest.subview(message->consumed);
    }
    CHECK(sequence == 2);
    CHECK_THROWS(status::truncated, "read payload", read_message(rest));
    CHECK_THROWS(status::message_too_small, "too small", next_message(std::string(4, '\0')));
}

// Each byte that is no UTF-8 becomes a replacement character of three bytes: the text is longer than the JSON.
TEST(texts_longer_than_their_json)
{
    const std::string bad(200, '\xff');
    const ack_message ack = parse_ack("{\"last_seq\":1,\"reader_id\":\"" + bad + "\"}");
    CHECK(ack.reader_id.size() == 3 * bad.size());
    const error_message error = parse_error("{\"code\":\"" + bad + "\",\"message\":\"" + bad + "\"}");
    CHECK(error.code.size() == 3 * bad.size());
    CHECK(error.message == error.code);
    CHECK(error.code.substr(0, 3) == "\xef\xbf\xbd");
}

TEST(messages_that_cannot_be_written)
{
    CHECK_THROWS(status::invalid_argument, "reader_id", write_ack(1, nullptr));
    CHECK_THROWS(status::invalid_argument, "UTF-8", write_sync("\xff", 1));
    CHECK_THROWS(status::invalid_argument, "NUL", write_error(std::string("a\0b", 3), "why"));
    CHECK_THROWS(status::message_too_large, "", write_message(1, std::string(REPLICATION_MAX_MESSAGE_SIZE, 'x')));
}
