// Bytes, texts, times, numbers and errors: what needs no handle. Compiled in every standard.
#include "harness.hpp"

#include <string_view>
#include <vector>

using replication::bytes_view;
using replication::status;
using replication::zstring_view;

namespace
{

// Bytes of another library.
struct slice {
    const char *data() const
    {
        return "slice";
    }
    std::size_t size() const
    {
        return 5;
    }
};

std::string text_of(bytes_view bytes)
{
    return bytes.to_string();
}

template <class T>
constexpr bool is_movable_only = std::is_nothrow_move_constructible_v<T> &&std::is_nothrow_move_assignable_v<T> &&
                                 !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

static_assert(is_movable_only<replication::sender> && is_movable_only<replication::receiver>);
static_assert(is_movable_only<replication::sender_config> && is_movable_only<replication::receiver_config>);
static_assert(is_movable_only<replication::quorum> && is_movable_only<replication::records>);
static_assert(!std::is_constructible_v<bytes_view, std::nullptr_t>);
static_assert(!std::is_convertible_v<std::vector<int>, bytes_view> && !std::is_convertible_v<int, bytes_view>);
static_assert(std::is_base_of_v<std::runtime_error, replication::error>);
static_assert(std::is_trivially_copyable_v<bytes_view> && sizeof(bytes_view) == sizeof(replication_slice));

} // namespace

TEST(a_view_is_made_from_what_has_bytes)
{
    using namespace std::string_literals;
    using namespace std::string_view_literals;
    CHECK(text_of("text") == "text");
    CHECK(text_of("with\0nul"s) == "with\0nul"s);
    CHECK(text_of("with\0nul"sv) == "with\0nul"s);
    CHECK(text_of(std::vector<std::uint8_t>{'a', 'b'}) == "ab");
    CHECK(text_of(std::vector<std::byte>{std::byte{'a'}, std::byte{'b'}}) == "ab");
    CHECK(text_of(std::vector<char>{'a', 'b'}) == "ab");
    CHECK(text_of(std::array<std::uint8_t, 2>{'a', 'b'}) == "ab");
    const std::uint8_t array[] = {'a', 0, 'b'};
    CHECK(text_of(array) == "a\0b"s);
    char buffer[16] = "buffer";
    CHECK(text_of(buffer) == "buffer");
    CHECK(text_of(slice{}) == "slice");
    CHECK(text_of({buffer, 3}) == "buf");
    CHECK(text_of({}) == "");
    CHECK(bytes_view().data() == nullptr);
    CHECK(bytes_view("").data() != nullptr);
}

TEST(a_view_is_read)
{
    const bytes_view bytes("abcdef");
    CHECK(bytes.size() == 6);
    CHECK(!bytes.empty());
    CHECK(bytes_view().empty());
    CHECK(bytes[1] == 'b');
    CHECK(std::string(bytes.begin(), bytes.end()) == "abcdef");
    CHECK(bytes.subview(2).to_string() == "cdef");
    CHECK(bytes.subview(2, 2).text() == "cd");
    CHECK(bytes.subview(5, 9).text() == "f");
    CHECK(bytes.subview(9, 9).text() == "");
    CHECK(bytes.to_vector() == std::vector<std::uint8_t>({'a', 'b', 'c', 'd', 'e', 'f'}));
    CHECK(bytes == bytes_view(std::string("abcdef")));
    CHECK(bytes != bytes_view("abcdeg"));
    CHECK(bytes != bytes_view("abc"));
}

#ifdef __cpp_lib_span
TEST(a_view_and_a_span_are_one)
{
    const std::vector<std::uint8_t> content = {1, 2, 3};
    const bytes_view bytes(std::span<const std::uint8_t>(content.data(), content.size()));
    CHECK(bytes.data() == content.data());
    const std::span<const std::uint8_t> back = bytes;
    CHECK(back.data() == content.data());
    CHECK(back.size() == 3);
    const std::span<const std::byte> raw = bytes;
    CHECK(static_cast<const void *>(raw.data()) == content.data());
    CHECK(raw.size() == 3);
    CHECK(text_of(std::as_bytes(std::span<const std::uint8_t>(content))).size() == 3);
    CHECK(text_of(std::u8string(u8"é")) == "\xc3\xa9");
}
#endif

TEST(a_text_for_c_has_no_nul_within)
{
    using namespace std::string_literals;
    const std::string text = "text";
    CHECK(zstring_view(text).c_str() == text.c_str());
    CHECK(zstring_view(nullptr).c_str() == nullptr);
    CHECK_THROWS(status::invalid_argument, "before", zstring_view("before\0behind"s));
    replication::receiver_config config;
    CHECK_THROWS(status::invalid_argument, "NUL", config.reader_id("reader\0-1"s));
    CHECK_THROWS(status::invalid_argument, "reader_id", config.reader_id(nullptr));
}

TEST(every_time_survives)
{
    for (const std::uint64_t number : {UINT64_C(0), UINT64_C(1700000000000000), UINT64_MAX}) {
        replication::entry entry;
        entry.timestamp_us = number;
        CHECK(static_cast<std::uint64_t>(entry.timestamp().time_since_epoch().count()) == number);
    }
    const auto difference = std::chrono::system_clock::now() - replication::now();
    CHECK(difference < std::chrono::seconds(10));
    CHECK(difference > std::chrono::seconds(-10));
}

TEST(tokens_are_values)
{
    CHECK_THROWS(status::invalid_argument, "0 bytes are not a token", replication::token(""));
    const replication::token token(std::string(48, 'x')), same(token), other(std::string(48, 'y'));
    CHECK(token == same);
    CHECK(token != other);
    CHECK(text_of(token) == std::string(48, 'x'));
    CHECK_THROWS(status::invalid_argument, "token", replication::sender_config().token(token));
    CHECK_THROWS(status::invalid_argument, "97 bytes", replication::token(std::string(97, 'x')));
    CHECK(replication::token(std::string(96, 'x')).size() == 96);
}

TEST(numbers_have_names)
{
    CHECK(std::string(name(status::sequence_gap)) == "SEQUENCE_GAP");
    CHECK(std::string(name(static_cast<status>(9999))) == "UNKNOWN");
    CHECK(std::string(name(replication::event_kind::gate_opened)) == "GATE_OPENED");
    CHECK(std::string(name(static_cast<replication::event_kind>(9999))) == "UNKNOWN");
    CHECK(std::string(name(replication::log_level::warn)) == "WARN");
    CHECK(std::string(name(static_cast<replication::log_level>(9999))) == "UNKNOWN");
}

TEST(an_error_has_status_name_and_text)
{
    const replication::error error(status::not_found, "no reader");
    CHECK(error.code() == status::not_found);
    CHECK(std::string(error.what()) == "NOT_FOUND: no reader");
    CHECK(std::string(error.message()) == "no reader");
    const replication::error copy = error;
    CHECK(std::string(copy.message()) == "no reader");
    CHECK(replication::indeterminate_error(status::timeout, "sync", 7).sequence() == 7);
}

TEST(the_library_has_the_headers_version)
{
    CHECK(replication::abi_version() == std::uint32_t{REPLICATION_ABI_VERSION});
    CHECK(replication::version_number() == std::uint32_t{REPLICATION_VERSION_NUMBER});
    CHECK(std::string(replication::version()) == std::to_string(REPLICATION_VERSION_MAJOR) + "." +
                                                     std::to_string(REPLICATION_VERSION_MINOR) + "." +
                                                     std::to_string(REPLICATION_VERSION_PATCH));
}
