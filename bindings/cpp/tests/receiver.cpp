// A receiver: every option, every call, every kind of handler.
#include "host.hpp"
#include "json.hpp"
#include "net.hpp"

#include <future>

#include <sys/socket.h>
#include <sys/un.h>

using namespace std::chrono_literals;
using replication::receiver;
using replication::receiver_config;
using replication::status;

TEST(every_option_is_taken)
{
    host::writer writer;
    const replication::token beginning = writer.sender.token();
    auto config = host::reader_config(writer.address);
    host::inbox inbox;
    config.last_sequence(0)
        .token(beginning)
        .protocol(replication::protocol::v2)
        .coordinator_handshake(false)
        .insecure_permissions_allowed(true)
        .gap_policy(replication::gap_policy::refuse)
        .apply_policy(replication::apply_policy::skip, 3)
        .handler_durable(true)
        .connect_timeout(1s)
        .heartbeat_interval(100ms)
        .peer_timeout(1min)
        .buffer_bytes(65536)
        .max_epoch_jump(1)
        .max_entry_bytes(1 << 20)
        .records_max_bytes(1 << 20)
        .wal_dir(harness::temp_path("log"))
        .wal_sync(replication::sync_policy::always)
        .wal_segment_bytes(1 << 20)
        .wal_retain_bytes(1 << 20)
        .log_retain(24h)
        .connect_handler(nullptr)
        .local_wal(nullptr)
        .event_handler([](const replication::event &) {})
        .log_handler(replication::log_level::info, [](const replication::log_record &) {})
        .ingest_handler([&](const replication::delivery &entry) { inbox.take(entry); });
    receiver reader(config);
    CHECK(!reader.is_connected());
    reader.start();
    writer.sender.replicate("entry");
    host::wait_for(reader, 1);
    CHECK(reader.last_sequence() == 1);
    CHECK(reader.is_connected());
    CHECK(reader.token() == writer.sender.token());
    CHECK(reader.wait_token(writer.sender.token(), harness::patience));
    const json::value stats = json::parse(reader.stats_json());
    CHECK(json::number(stats.at("buffer_bytes")) == 65536);
    CHECK(json::text(stats.at("reader_id")) == "reader");
    CHECK(inbox.payloads() == "entry");
}

TEST(options_that_cannot_be_are_refused)
{
    receiver_config config;
    const auto invalid = status::invalid_argument;
    CHECK_THROWS(invalid, "no handler", receiver(config));
    CHECK_THROWS(invalid, "", config.reader_id(""));
    CHECK_THROWS(invalid, "", config.reader_id(std::string(256, 'x')));
    CHECK_THROWS(invalid, "", config.writer_addr(""));
    CHECK_THROWS(invalid, "99", config.protocol(static_cast<replication::protocol>(99)));
    CHECK_THROWS(invalid, "99", config.gap_policy(static_cast<replication::gap_policy>(99)));
    CHECK_THROWS(invalid, "99", config.apply_policy(static_cast<replication::apply_policy>(99)));
    CHECK_THROWS(invalid, "interval_ms", config.reconnect_interval(0ms));
    CHECK_THROWS(invalid, "interval_ms", config.ack_interval(0ms));
    CHECK_THROWS(invalid, "timeout_ms", config.connect_timeout(0ms));
    CHECK_THROWS(invalid, "interval_ms", config.heartbeat_interval(0ms));
    CHECK_THROWS(invalid, "timeout_ms", config.peer_timeout(0ms));
    CHECK_THROWS(invalid, "negative", config.peer_timeout(-1ms));
    CHECK_THROWS(invalid, "65536", config.buffer_bytes(1));
    CHECK_THROWS(invalid, "jump is 0", config.max_epoch_jump(0));
    CHECK_THROWS(invalid, "max_bytes", config.max_entry_bytes(0));
    CHECK_THROWS(invalid, "max_bytes", config.records_max_bytes(0));
    CHECK_THROWS(invalid, "", config.wal_dir(""));
    CHECK_THROWS(invalid, "", config.wal_sync(replication::sync_policy::group));
    CHECK_THROWS(invalid, "65536", config.wal_segment_bytes(1));
    CHECK_THROWS(invalid, "", config.log_retain(0ms));
    CHECK_THROWS(invalid, "token", config.token(replication::token(std::string(48, 'x'))));
    CHECK_THROWS(invalid, "handler", config.ingest_handler(nullptr));
    CHECK_THROWS(invalid, "handler", config.ingest_batch_handler(0, nullptr));
    CHECK_THROWS(invalid, "handler", config.record_handler(nullptr));
    CHECK_THROWS(invalid, "99",
                 config.log_handler(static_cast<replication::log_level>(99), [](const replication::log_record &) {}));
    CHECK_THROWS(status::io, "missing.pem", config.tls("missing.pem"));
    config.reader_id("reader").writer_addr("no port").ingest_handler([](const replication::delivery &) {});
    CHECK_THROWS(status::bad_address, "no port", receiver(config));
    receiver made(config.writer_addr("127.0.0.1:1")); // none of that stuck
}

TEST(batches)
{
    host::writer writer;
    for (int i = 1; i <= 100; ++i)
        writer.sender.replicate(std::to_string(i));
    auto config = host::reader_config(writer.address);
    host::inbox inbox;
    std::atomic<std::size_t> largest{0};
    config.ingest_batch_handler(7, [&](replication::batch &batch) {
        CHECK(batch.size() >= 1);
        CHECK(batch.front().sequence == batch[0].sequence);
        CHECK(batch.back().sequence == batch[0].sequence + batch.size() - 1);
        CHECK(batch.token().has_value());
        largest = std::max(largest.load(), batch.size());
        for (const replication::entry entry : batch)
            inbox.take(entry);
    });
    receiver reader(config);
    reader.start();
    host::wait_for(reader, 100);
    CHECK(inbox.entries().size() == 100);
    CHECK(inbox.entries().back().payload == "100");
    CHECK(largest > 1);
    CHECK(largest <= 7);
}

// What a batch marked as applied does not come again when it throws afterwards.
TEST(a_batch_that_is_taken_in_part)
{
    host::writer writer;
    for (int i = 1; i <= 20; ++i)
        writer.sender.replicate(std::to_string(i));
    auto config = host::reader_config(writer.address);
    host::inbox inbox;
    host::events events;
    bool has_failed = false;
    config.event_handler(std::ref(events)).ingest_batch_handler(20, [&](replication::batch &batch) {
        std::size_t done = 0;
        for (const replication::entry entry : batch) {
            if (entry.sequence == 13 && !has_failed) {
                has_failed = true;
                throw std::runtime_error("the thirteenth");
            }
            inbox.take(entry); // which fails the test for an entry that comes again
            batch.applied(++done);
        }
    });
    receiver reader(config);
    reader.start();
    host::wait_for(reader, 20);
    CHECK(inbox.entries().size() == 20);
    const auto failed = events.wait(replication::event_kind::apply_failed);
    CHECK(failed.sequence == 13);
    CHECK(failed.cause == "the thirteenth");
}

TEST(tokens_make_it_exactly_once)
{
    host::writer writer;
    std::optional<replication::token> stored;
    const auto config = [&] {
        auto made = host::reader_config(writer.address);
        made.ingest_handler([&](const replication::delivery &entry) { stored = entry.token(); });
        if (stored)
            made.token(*stored);
        return made;
    };
    {
        receiver reader(config());
        CHECK(!reader.token());
        reader.start();
        writer.sender.replicate("1");
        host::wait_for(reader, 1);
        CHECK(reader.token() == stored);
        CHECK(stored == writer.sender.token());
    }
    writer.sender.replicate("2");
    receiver again(config());
    CHECK(again.last_sequence() == 1);
    CHECK(replication::token::parse(stored->text()) == *stored);
    CHECK(stored->compare(*stored) == replication::token_order::equal);
    CHECK_THROWS(status::invalid_argument, "STREAM:EPOCH", replication::token::parse("1:2"));
    CHECK(again.token() == stored);
    again.start();
    host::wait_for(again, 2);
    CHECK(stored == writer.sender.token());
}

// A handler that commits a part stores the token of that part, and the rest comes once.
TEST(a_part_of_a_batch_has_a_token)
{
    host::writer writer;
    writer.sender.replicate_batch({"1", "2", "3", "4"});
    auto config = host::reader_config(writer.address);
    std::optional<replication::token> before, part;
    std::promise<void> committed;
    config.apply_policy(replication::apply_policy::stop).ingest_batch_handler(0, [&](replication::batch &batch) {
        if (batch.size() < 4)
            throw std::runtime_error("not all of them");
        before = batch.token(0);
        part = batch.token(2);
        CHECK(batch.token(4) == batch.token());
        CHECK_THROWS(status::invalid_argument, "4 entries", batch.token(5));
        batch.applied(2);
        committed.set_value();
        throw std::runtime_error("the rest does not fit");
    });
    {
        receiver reader(config);
        reader.start();
        committed.get_future().get();
        WAIT_UNTIL(reader.last_sequence() == 2);
        CHECK(reader.token() == part);
    }
    CHECK(before->compare(*part) == replication::token_order::before);
    host::inbox rest;
    auto again = host::reader_config(writer.address);
    again.token(*part).ingest_handler([&](const replication::delivery &entry) { rest.take(entry); });
    receiver reader(again);
    reader.start();
    host::wait_for(reader, 4);
    CHECK(rest.payloads() == "3 4");
}

TEST(a_v1_writer_gives_no_token)
{
    host::writer writer;
    writer.sender.replicate("entry");
    auto config = host::reader_config(writer.address);
    std::promise<bool> has_token;
    config.protocol(replication::protocol::v1).ingest_handler([&](const replication::delivery &entry) {
        has_token.set_value(entry.token().has_value());
    });
    receiver reader(config);
    reader.start();
    CHECK(!has_token.get_future().get());
    CHECK(!reader.token());
}

TEST(the_hosts_own_log_comes_before_the_handler)
{
    host::writer writer;
    auto config = host::reader_config(writer.address);
    host::inbox logged, applied;
    config
        .local_wal([&](const replication::entry &entry) {
            CHECK(applied.entries().size() == entry.sequence - 1);
            logged.take(entry);
        })
        .ingest_handler([&](const replication::delivery &entry) {
            CHECK(logged.entries().size() == entry.sequence);
            applied.take(entry);
        });
    receiver reader(config);
    reader.start();
    for (const char *const payload : {"a", "b", "c"})
        writer.sender.replicate(payload);
    host::wait_for(reader, 3);
    CHECK(logged.payloads() == "a b c");
    CHECK(applied.payloads() == "a b c");
}

TEST(the_host_connects)
{
    host::writer writer;
    auto [listening, port] = net::listen(); // nobody answers here: the handler dials elsewhere
    const std::string elsewhere = "127.0.0.1:" + std::to_string(port);
    auto config = host::reader_config(elsewhere);
    std::atomic<int> dialled{0};
    config.connect_handler([&, elsewhere](std::string_view address) {
        CHECK(address == elsewhere);
        return ++dialled == 1 ? -1 : net::socket::connect(writer.address).release();
    });
    host::reader reader(std::move(config));
    writer.sender.replicate("entry");
    host::wait_for(reader.receiver, 1);
    CHECK(dialled >= 2);
}

TEST(pausing)
{
    host::writer writer;
    host::reader reader(writer.address);
    writer.sender.replicate("1");
    host::wait_for(reader.receiver, 1);
    reader.receiver.pause();
    writer.sender.replicate("2");
    WAIT_UNTIL(json::number(json::parse(reader.receiver.stats_json()).at("received_sequence")) == 2);
    CHECK(!reader.receiver.wait_sequence(2, 0ms));
    CHECK(!reader.receiver.wait_sequence(2, 20ms));
    CHECK(reader.entries.payloads() == "1");
    reader.receiver.resume();
    CHECK(reader.receiver.wait_sequence(2, replication::forever));
}

// With a log on disk the library keeps the place.
TEST(a_log_on_disk_keeps_the_place)
{
    host::writer writer;
    const auto config = [&] {
        auto made = host::reader_config(writer.address);
        made.wal_dir(harness::temp_path("log"));
        return made;
    };
    {
        host::reader reader(config());
        writer.sender.replicate("1");
        CHECK(writer.sender.wait_acked(1, replication::ack_level::durable, 1, harness::patience));
        host::wait_for(reader.receiver, 1);
        reader.receiver.stop();
    }
    writer.sender.replicate("2");
    host::reader again(config());
    host::wait_for(again.receiver, 2);
    CHECK(again.entries.entries().back().payload == "2");
}

TEST(calls_that_do_not_fit_the_state)
{
    host::writer writer;
    auto config = host::reader_config(writer.address);
    config.ingest_handler([](const replication::delivery &) {});
    receiver reader(config);
    CHECK_THROWS(status::invalid_state, "", reader.pause());
    CHECK_THROWS(status::invalid_state, "", reader.wait_sequence(1, 0ms));
    reader.start();
    CHECK_THROWS(status::invalid_state, "", reader.start());
    reader.stop();
    reader.stop();
    CHECK_THROWS(status::closed, "", reader.start());
    CHECK_THROWS(status::closed, "", reader.resume());
    CHECK_THROWS(status::closed, "", reader.wait_sequence(1, 0ms));
    CHECK(reader.wait_sequence(0, 0ms));
    CHECK_CONTAINS(reader.stats_json(), "\"running\":false");
}

// The handlers of a configuration belong to the first receiver that is made with it.
TEST(a_second_receiver_needs_handlers_of_its_own)
{
    host::writer writer;
    host::inbox first, second;
    host::log log;
    auto config = host::reader_config(writer.address, "first");
    config.ingest_handler([&](const replication::delivery &entry) { first.take(entry); })
        .log_handler(replication::log_level::debug, std::ref(log));
    receiver one(config);
    CHECK_THROWS(status::invalid_state, "handler", receiver(config));
    config.reader_id("second")
        .ingest_handler([&](const replication::delivery &entry) { second.take(entry); })
        .log_handler(replication::log_level::debug, nullptr);
    receiver two(config);
    one.start();
    two.start();
    writer.sender.replicate("entry");
    host::wait_for(one, 1);
    host::wait_for(two, 1);
    CHECK(first.payloads() == "entry");
    CHECK(second.payloads() == "entry");
    WAIT_UNTIL(log.count("CONNECTED") == 1);
}
