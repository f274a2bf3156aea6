// What becomes of exceptions, and what a handler may do.
#include "host.hpp"
#include "net.hpp"

#include <future>
#include <stdexcept>

using namespace std::chrono_literals;
using replication::event_kind;
using replication::receiver;
using replication::status;

namespace
{

struct no_exception {
};

} // namespace

TEST(an_exception_is_an_apply_failure_with_its_text)
{
    host::writer writer;
    host::events events;
    host::log log;
    host::inbox inbox;
    int tries = 0;
    auto config = host::reader_config(writer.address);
    config.event_handler(std::ref(events)).log_handler(replication::log_level::error, std::ref(log));
    config.ingest_handler([&](const replication::delivery &entry) {
        if (entry.sequence == 2 && ++tries <= 3) {
            if (tries == 1)
                throw std::runtime_error("a runtime error");
            if (tries == 2)
                throw replication::error(status::disk_full, "of the host");
            throw no_exception();
        }
        inbox.take(entry);
    });
    receiver reader(config);
    CHECK(reader.last_cause() == "");
    reader.start();
    for (const char *const payload : {"1", "2", "3"})
        writer.sender.replicate(payload);
    host::wait_for(reader, 3);
    CHECK(inbox.payloads() == "1 2 3");
    const auto failed = events.of(event_kind::apply_failed);
    CHECK(failed.size() == 3);
    CHECK(failed[0].cause == "a runtime error");
    CHECK(failed[1].cause == "DISK_FULL: of the host");
    CHECK(failed[2].cause == "an exception that is no std::exception");
    CHECK_CONTAINS(failed[0].detail, "\"code\":106");
    CHECK_CONTAINS(failed[1].detail, "\"code\":22");
    for (const auto &each : failed) {
        CHECK(each.sequence == 2);
        CHECK(each.status == status::apply_failed);
        CHECK(each.reader_id == "reader");
    }
    CHECK(log.count("ERROR the ingest handler threw: a runtime error") == 1);
    CHECK(log.count("HANDLER_THREW") == 3);
    CHECK(reader.last_cause() == failed[2].cause);
}

// However fast the skip policy goes on, each event has the cause of its own entry.
TEST(each_event_has_its_own_cause)
{
    host::writer writer;
    host::events events;
    host::log log;
    auto config = host::reader_config(writer.address);
    config.event_handler(std::ref(events))
        .log_handler(replication::log_level::error, std::ref(log))
        .apply_policy(replication::apply_policy::skip, 0)
        .ingest_handler([](const replication::delivery &entry) {
            if (entry.sequence % 3 != 0)
                throw std::runtime_error("no. " + std::to_string(entry.sequence));
        });
    receiver reader(config);
    writer.sender.replicate_batch(std::vector<std::string>(300, "x"));
    reader.start();
    host::wait_for(reader, 300);
    WAIT_UNTIL(events.of(event_kind::entry_skipped).size() == 200);
    for (const event_kind kind : {event_kind::apply_failed, event_kind::entry_skipped})
        for (const auto &each : events.of(kind))
            CHECK(each.cause == "no. " + std::to_string(each.sequence));
    CHECK(log.count("HANDLER_THREW") >= 1); // of a flood, ten a second
}

TEST(a_receiver_that_stopped_applying_says_why)
{
    host::writer writer;
    host::events events;
    auto config = host::reader_config(writer.address);
    config.event_handler(std::ref(events))
        .apply_policy(replication::apply_policy::stop, 1)
        .ingest_batch_handler(0, [](replication::batch &) { throw std::runtime_error("disk on fire"); });
    receiver reader(config);
    reader.start();
    writer.sender.replicate("1");
    CHECK_THROWS(status::apply_failed, "(disk on fire)", reader.wait_sequence(1, harness::patience));
    CHECK(events.wait(event_kind::stopped).cause == "disk on fire");
    CHECK(events.wait(event_kind::disconnected).cause == "");
}

TEST(every_other_handler_may_throw_too)
{
    host::log log;
    replication::sender_config sending;
    sending.log_handler(replication::log_level::error, std::ref(log)).event_handler([](const replication::event &) {
        throw std::runtime_error("by the sender's events");
    });
    host::writer writer(sending);
    auto config = host::reader_config(writer.address);
    host::inbox inbox;
    std::atomic<int> dialled{0}, logged{0};
    config.log_handler(replication::log_level::error, std::ref(log))
        .event_handler([](const replication::event &) { throw std::runtime_error("by the receiver's events"); })
        .connect_handler([&](std::string_view) {
            if (++dialled == 1)
                throw std::runtime_error("by dialling");
            return net::socket::connect(writer.address).release();
        })
        .local_wal([&](const replication::entry &) {
            if (++logged == 1)
                throw std::runtime_error("by the local log");
        })
        .ingest_handler([&](const replication::delivery &entry) { inbox.take(entry); });
    receiver reader(config);
    reader.start();
    const replication::token entry = writer.sender.replicate_token("entry");
    std::promise<void> called;
    writer.sender.on_acked(entry, replication::ack_level::applied, 1, harness::patience,
                           [&](const replication::ack_notice &) {
                               called.set_value();
                               throw std::runtime_error("by the order");
                           });
    host::wait_for(reader, 1);
    called.get_future().get();
    for (const char *const part : {"the event handler threw: by the sender's events", "by the receiver's events",
                                   "the connect handler threw: by dialling", "the local log threw: by the local log",
                                   "the acked handler threw: by the order"})
        WAIT_UNTIL(log.count(part) >= 1);
    CHECK(inbox.payloads() == "entry");
    CHECK(reader.last_cause() == "by the local log");
}

TEST(a_log_handler_that_throws_harms_nobody)
{
    host::writer writer;
    auto config = host::reader_config(writer.address);
    std::atomic<int> calls{0}, tries{0};
    config
        .log_handler(replication::log_level::debug,
                     [&](const replication::log_record &) {
                         ++calls;
                         throw no_exception();
                     })
        .ingest_handler([&](const replication::delivery &) {
            if (++tries == 1)
                throw std::runtime_error("once");
        });
    receiver reader(config);
    reader.start();
    writer.sender.replicate("entry");
    host::wait_for(reader, 1);
    CHECK(calls >= 2);
}

TEST(a_record_handler_may_throw)
{
    host::writer writer;
    host::events events;
    auto config = host::reader_config(writer.address);
    config.event_handler(std::ref(events))
        .apply_policy(replication::apply_policy::skip, 0)
        .record_handler([](const replication::record_delivery &entry) {
            static_cast<void>(entry.records.row(0).get("missing").as_i64());
        });
    receiver reader(config);
    reader.start();
    writer.sender.replicate("\x91\x80");   // [{}]
    writer.sender.replicate("no msgpack"); // does not reach the handler
    host::wait_for(reader, 2);
    WAIT_UNTIL(events.of(event_kind::entry_skipped).size() == 2);
    const auto skipped = events.of(event_kind::entry_skipped);
    CHECK_CONTAINS(skipped[0].cause, "NOT_FOUND: ");
    CHECK_CONTAINS(skipped[0].detail, "\"code\":12");
    CHECK(skipped[1].cause == "");
    CHECK_CONTAINS(skipped[1].detail, "\"code\":19");
}

TEST(a_handler_may_ask_but_not_wait)
{
    replication::sender *to = nullptr;
    std::promise<void> told;
    std::atomic<bool> is_told{false};
    replication::sender_config sending;
    sending.event_handler([&](const replication::event &event) {
        if (event.kind != event_kind::connected)
            return;
        CHECK_THROWS(status::wrong_thread, "sender_stop", to->stop());
        CHECK_THROWS(status::wrong_thread, "sender_wait_acked",
                     to->wait_acked(0, replication::ack_level::received, 1, 0ms));
        CHECK(to->reader_count() == 1);
        CHECK(!to->stats_json().empty());
        to->replicate("from an event");
        if (!is_told.exchange(true))
            told.set_value();
    });
    host::writer writer(sending);
    to = &writer.sender;
    receiver *from = nullptr;
    std::atomic<int> entries{0};
    auto config = host::reader_config(writer.address);
    config.ingest_handler([&](const replication::delivery &entry) {
        CHECK_THROWS(status::wrong_thread, "receiver_stop", from->stop());
        CHECK_THROWS(status::wrong_thread, "receiver_wait_sequence", from->wait_sequence(1, 0ms));
        CHECK(from->last_sequence() == entry.sequence - 1);
        CHECK(from->token() == entry.token());
        from->pause();
        from->resume();
        ++entries;
    });
    receiver reader(config);
    from = &reader;
    reader.start();
    told.get_future().get();
    host::wait_for(reader, 1);
    CHECK(entries >= 1);
}

// A node in the middle of a chain: what comes in goes on.
TEST(a_handler_may_replicate)
{
    host::writer first, second;
    auto config = host::reader_config(first.address);
    config.ingest_handler([&](const replication::delivery &entry) {
        CHECK(second.sender.replicate(entry.payload, entry.timestamp()) == entry.sequence);
    });
    receiver middle(config);
    host::reader end(second.address);
    middle.start();
    for (const char *const payload : {"a", "b", "c"})
        first.sender.replicate(payload);
    host::wait_for(end.receiver, 3);
    CHECK(end.entries.payloads() == "a b c");
}
