// Payloads decoded: every type of value, in records of one's own and in those of a record handler.
#include "host.hpp"

#include <cmath>
#include <limits>

using replication::records;
using replication::status;
using replication::value;
using replication::value_type;

namespace
{

using namespace std::string_literals;

// [{"nil": nil, "bool": true, "i64": -7, "u64": 2^64 - 1, "f64": 0.5, "string": "text", "bytes": 00 ff,
//   "array": [1, 2, 3], "map": {"a": 1, 2: "b"}, "ext": type 5, "xyz"}, {}]
std::string payload()
{
    return "\x92\x8a"s + "\xa3nil"s + "\xc0"s + "\xa4"s + "bool" + "\xc3"s + "\xa3i64"s + "\xf9"s + "\xa3u64"s +
           "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"s + "\xa3"s + "f64" + "\xcb\x3f\xe0\0\0\0\0\0\0"s + "\xa6string"s +
           "\xa4text"s + "\xa5"s + "bytes" + "\xc4\x02\x00\xff"s + "\xa5"s + "array" + "\x93\x01\x02\x03"s +
           "\xa3map"s + "\x82\xa1"s + "a" + "\x01\x02\xa1"s + "b" + "\xa3"s + "ext" + "\xc7\x03\x05xyz"s + "\x80"s;
}

void check_values(const replication::records_view &found)
{
    CHECK(found.size() == 2);
    CHECK(!found.empty());
    const value row = found.row(0);
    CHECK(row.type() == value_type::map);
    CHECK(row.size() == 10);
    CHECK(found.row(1).size() == 0);

    CHECK(row.get("nil").is_nil());
    CHECK(row.get("nil").type() == value_type::nil);
    CHECK(!row.is_nil());
    CHECK(row.get("bool").type() == value_type::boolean);
    CHECK(row.get("bool").as_bool());
    CHECK(row.get("i64").type() == value_type::i64);
    CHECK(row.get("i64").as_i64() == -7);
    CHECK(row.get("u64").type() == value_type::u64);
    CHECK(row.get("u64").as_u64() == UINT64_MAX);
    CHECK(row.get("f64").type() == value_type::f64);
    CHECK(row.get("f64").as_f64() == 0.5);
    CHECK(row.get("i64").as_f64() == -7.0);
    CHECK(row.get("string").type() == value_type::string);
    CHECK(row.get("string").as_string() == "text");
    CHECK(row.get("string").as_bytes().to_string() == "text");
    CHECK(row.get("bytes").type() == value_type::bytes);
    CHECK(row.get("bytes").as_bytes().to_string() == "\0\xff"s);
    CHECK(row.get("ext").type() == value_type::ext);
    CHECK(int{row.get("ext").ext_type()} == 5);
    CHECK(row.get("ext").as_bytes().to_string() == "xyz");

    const value array = row.get("array");
    CHECK(array.type() == value_type::array);
    std::uint64_t sum = 0;
    for (const value element : array.elements())
        sum = 10 * sum + element.as_u64();
    CHECK(sum == 123);
    CHECK(array.at(2).as_u64() == 3);

    const value map = row.get("map");
    CHECK(map.key_at(0).as_string() == "a");
    CHECK(map.key_at(1).as_u64() == 2);
    CHECK(map.at(1).as_string() == "b");
    std::size_t members = 0;
    for (const auto &[key, content] : map.members())
        members += key.type() == value_type::string && content.as_u64() == 1;
    CHECK(members == 1);
    CHECK(map.find("a").has_value());
    CHECK(!map.find("b").has_value());
    std::size_t none = 0;
    for ([[maybe_unused]] const auto &each : array.members())
        ++none;
    for ([[maybe_unused]] const value each : row.get("nil").elements())
        ++none;
    CHECK(none == 0);

    std::size_t rows = 0;
    for (const value each : found.rows())
        rows += each.size();
    CHECK(rows == 10);
    CHECK(found.get(0, "string").as_string() == "text");
    CHECK_CONTAINS(found.json(), "\"u64\":18446744073709551615");
}

} // namespace

TEST(records_of_ones_own)
{
    records found{replication::bytes_view(payload())}; // which is copied
    check_values(found);
    records moved = std::move(found);
    check_values(moved);
    CHECK(found.empty());
    CHECK(found.get() == nullptr);
    CHECK_THROWS(status::invalid_argument, "records", found.row(0));
    found = std::move(moved);
    check_values(found);
    CHECK(moved.empty());
    records &itself = found;
    found = std::move(itself);
    check_values(found);
    CHECK(records("\x90").empty());
    CHECK(records("\x91\x80", 1000).size() == 1);
    CHECK_THROWS(status::decode_failed, "more than 10 bytes", records("\x91\x80", 10));
}

TEST(records_of_a_handler)
{
    host::writer writer;
    std::atomic<int> calls{0};
    auto config = host::reader_config(writer.address);
    config.record_handler([&](const replication::record_delivery &entry) {
        CHECK(entry.sequence == 1);
        CHECK(entry.timestamp_us == 5);
        CHECK(entry.token().has_value());
        check_values(entry.records);
        ++calls;
    });
    replication::receiver receiver(config);
    receiver.start();
    writer.sender.replicate(payload(), replication::timestamp(std::chrono::microseconds(5)));
    host::wait_for(receiver, 1);
    CHECK(calls.load() == 1);
}

TEST(values_that_are_not_what_is_asked_for)
{
    const records found{replication::bytes_view(payload())};
    const value row = found.row(0);
    for (const char *const key : {"nil", "string", "array", "map", "ext", "bytes", "i64"})
        CHECK_THROWS(status::wrong_type, "", row.get(key).as_bool());
    CHECK_THROWS(status::wrong_type, "", row.get("u64").as_i64());
    CHECK_THROWS(status::wrong_type, "", row.get("i64").as_u64());
    CHECK_THROWS(status::wrong_type, "", row.get("string").as_f64());
    CHECK_THROWS(status::wrong_type, "", row.get("bytes").as_string());
    CHECK_THROWS(status::wrong_type, "", row.get("i64").as_bytes());
    CHECK_THROWS(status::wrong_type, "", row.get("bytes").ext_type());
    CHECK_THROWS(status::wrong_type, "", row.get("i64").at(0));
    CHECK_THROWS(status::wrong_type, "", row.get("array").key_at(0));
    CHECK_THROWS(status::wrong_type, "", row.get("array").get("a"));
    CHECK_THROWS(status::wrong_type, "", row.get("array").find("a"));
    CHECK_THROWS(status::not_found, "nowhere", row.get("nowhere"));
    CHECK_THROWS(status::not_found, "3", row.get("array").at(3));
    CHECK_THROWS(status::not_found, "2", row.get("map").key_at(2));
    CHECK_THROWS(status::not_found, "2", found.row(2));
    CHECK_THROWS(status::not_found, "key", found.get(1, "key"));
    CHECK_THROWS(status::invalid_argument, "key", row.get(nullptr));
    CHECK_THROWS(status::decode_failed, "", records("no msgpack"));
    CHECK(row.get("nil").size() == 0);
}

TEST(nothing_is_read_from_no_records)
{
    const replication::records_view nothing(nullptr);
    CHECK(nothing.empty());
    CHECK_THROWS(status::invalid_argument, "records", nothing.json());
    CHECK(value(nullptr).type() == static_cast<value_type>(-1));
    CHECK_THROWS(status::invalid_argument, "value", value(nullptr).as_i64());
    CHECK(nothing.get() == nullptr);
    CHECK(value(nullptr).get() == nullptr);
}
