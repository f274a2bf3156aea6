// How objects begin and end: moved, destroyed in any state, by any thread, inside a handler, at the end of the process.
#include "host.hpp"
#include "net.hpp"

#include <cstdlib>
#include <future>

using namespace std::chrono_literals;
using replication::receiver;
using replication::sender;
using replication::status;

namespace
{

// Threads and descriptors, which an ended handle leaves none of.
struct footprint {
    std::size_t threads = harness::running_threads();
    std::size_t descriptors = harness::open_descriptors();

    bool is_left() const
    {
        return harness::running_threads() == threads && harness::open_descriptors() == descriptors;
    }
};

} // namespace

TEST(moving_a_sender)
{
    host::writer writer;
    sender moved = std::move(writer.sender);
    CHECK(moved);
    CHECK(!writer.sender);
    CHECK(writer.sender.get() == nullptr);
    CHECK(moved.replicate("entry") == 1);
    CHECK_THROWS(status::invalid_argument, "sender", writer.sender.replicate("entry"));
    CHECK_THROWS(status::invalid_argument, "sender", writer.sender.stop());
    CHECK_THROWS(status::invalid_argument, "sender",
                 writer.sender.on_acked(moved.token(), replication::ack_level::received, 1, 0ms,
                                        [](const replication::ack_notice &) {}));
    CHECK(writer.sender.current_sequence() == 0);
    writer.sender.reset();
    writer.sender = std::move(moved);
    CHECK(writer.sender.current_sequence() == 1);
    sender *const self = &writer.sender;
    *self = std::move(writer.sender);
    CHECK(writer.sender.replicate("entry") == 2);
    writer.sender = sender(); // ends the first
    CHECK_THROWS(status::invalid_state, "", writer.sender.replicate("entry"));
}

TEST(moving_a_receiver)
{
    host::writer writer;
    host::guest guest;
    std::promise<bool> has_token;
    auto config = host::reader_config(writer.address);
    config.ingest_handler(
        [&, guest](const replication::delivery &entry) { has_token.set_value(entry.token().has_value()); });
    receiver first(config);
    first.start();
    receiver second = std::move(first);
    CHECK(second);
    CHECK(!first);
    CHECK(first.get() == nullptr);
    CHECK_THROWS(status::invalid_argument, "receiver", first.start());
    CHECK(first.last_cause() == "");
    writer.sender.replicate("entry");
    host::wait_for(second, 1);
    CHECK(has_token.get_future().get()); // the handler's receiver went along
    auto other = host::reader_config(writer.address);
    other.ingest_handler([](const replication::delivery &) {});
    CHECK(guest.others() == 1L);
    second = receiver(other); // ends the first, with its handler
    CHECK(guest.others() == 0L);
}

TEST(moving_a_configuration)
{
    replication::sender_config first;
    first.buffer_size(7);
    replication::sender_config second = std::move(first);
    CHECK_CONTAINS(sender(second).stats_json(), "\"buffer_size\":7");
    CHECK_THROWS(status::invalid_argument, "config", first.buffer_size(8));
    CHECK_THROWS(status::invalid_argument, "config", sender(first)); // and not one with all defaults
    first = std::move(second);
    first.buffer_size(8);
    replication::quorum quorum;
    quorum.add(1).add("group", 2);
    replication::quorum moved = std::move(quorum);
    CHECK(moved.get() != nullptr);
    CHECK(quorum.get() == nullptr);
    CHECK_THROWS(status::invalid_argument, "quorum", quorum.add(1));
}

TEST(handles_of_the_c_interface)
{
    replication_sender *raw = nullptr;
    CHECK(sender_new(nullptr, &raw) == REPLICATION_STATUS_OK);
    sender taken(raw);
    taken.start();
    CHECK(taken.replicate("entry") == 1);
    CHECK(taken.get() == raw);
    CHECK(taken.release() == raw);
    CHECK(!taken);
    sender_free(raw);
    sender none(static_cast<replication_sender *>(nullptr));
    CHECK(!none);

    host::writer writer;
    host::guest guest;
    auto config = host::reader_config(writer.address);
    config.ingest_handler([guest](const replication::delivery &entry) { static_cast<void>(entry.token()); });
    receiver reader(config);
    reader.start();
    replication_receiver *const given = reader.release();
    CHECK(!reader);
    CHECK(given != nullptr);
    writer.sender.replicate("entry");
    CHECK(receiver_wait_sequence(given, 1, 20000) == REPLICATION_STATUS_OK);
    CHECK(guest.others() == 1L);
    receiver again(given);
    again.reset();
    CHECK(guest.others() == 0L);
    CHECK(config.get() != nullptr);
}

TEST(handlers_end_with_what_they_belong_to)
{
    host::guest guest;
    const auto entry = [guest](const replication::delivery &) {};
    const auto event = [guest](const replication::event &) {};
    const auto log = [guest](const replication::log_record &) {};
    CHECK(guest.others() == 3L);
    {
        auto config = host::reader_config("127.0.0.1:1");
        config.ingest_handler(entry).event_handler(event).log_handler(replication::log_level::info, log);
        CHECK(guest.others() == 6L);
        config.ingest_handler([](const replication::delivery &) {}).event_handler(nullptr);
        CHECK(guest.others() == 4L);
        config.log_handler(replication::log_level::info, [](const replication::log_record &) {});
        CHECK(guest.others() == 3L);
        config.ingest_batch_handler(0, [guest](replication::batch &) {})
            .record_handler([guest](const replication::record_delivery &) {}); // replaces the batch's
        config.local_wal([guest](const replication::entry &) {}).connect_handler([guest](std::string_view) {
            return -1;
        });
        CHECK(guest.others() == 6L);
        config.local_wal(nullptr).connect_handler(nullptr);
        CHECK(guest.others() == 4L);
        receiver made(config);
        {
            const auto gone = std::move(config);
        }
        CHECK(guest.others() == 4L);
    }
    CHECK(guest.others() == 3L);
    {
        replication::sender_config config;
        config.event_handler(event).log_handler(replication::log_level::info, log);
        CHECK(guest.others() == 5L);
        sender made(config);
        config.event_handler(event);
        CHECK(guest.others() == 6L);
    }
    CHECK(guest.others() == 3L);
    {
        auto config = host::reader_config("no address");
        config.ingest_handler(entry);
        CHECK_THROWS(status::bad_address, "", receiver(config));
        CHECK(guest.others() == 4L); // it is still the configuration's
    }
    CHECK(guest.others() == 3L);
}

TEST(every_state_may_be_the_last)
{
    const footprint before;
    {
        sender never_started;
        sender started;
        started.start();
        sender stopped;
        stopped.start();
        stopped.stop();
        host::writer with_reader;
        host::reader running(with_reader.address), nobody_there("127.0.0.1:1");
        auto [listening, port] = net::listen(); // accepts, and says nothing
        host::reader in_handshake("127.0.0.1:" + std::to_string(port));
        auto config = host::reader_config(with_reader.address, "never");
        config.ingest_handler([](const replication::delivery &) {});
        receiver never(config);
        with_reader.sender.replicate_batch(std::vector<std::string>(1000, "x"));
        running.receiver.pause();
    }
    WAIT_UNTIL(before.is_left());
}

TEST(a_handler_that_runs_is_waited_for)
{
    host::writer writer;
    std::promise<void> inside, go_on;
    std::atomic<bool> is_done{false};
    auto config = host::reader_config(writer.address);
    config.ingest_handler([&](const replication::delivery &entry) {
        inside.set_value();
        go_on.get_future().wait();
        CHECK(entry.token().has_value()); // the receiver is there as long as the handler runs
        is_done = true;
    });
    auto reader = std::make_unique<receiver>(config);
    reader->start();
    writer.sender.replicate("entry");
    inside.get_future().wait();
    std::thread ending([&] {
        reader.reset();
        CHECK(is_done);
    });
    go_on.set_value();
    ending.join();
}

TEST(a_receiver_destroyed_in_its_handler)
{
    const footprint before;
    host::guest guest;
    {
        host::writer writer;
        writer.sender.replicate_batch(std::vector<std::string>(100, "x"));
        std::unique_ptr<receiver> reader;
        std::atomic<bool> is_gone{false};
        auto config = host::reader_config(writer.address);
        config.event_handler([&, guest](const replication::event &) { CHECK(!is_gone); })
            .ingest_handler([&, guest](const replication::delivery &entry) {
                CHECK(!is_gone);
                if (entry.sequence != 5)
                    return;
                is_gone = true;
                reader.reset();
                CHECK_THROWS(status::invalid_argument, "receiver", entry.token());
                throw std::runtime_error("whatever comes of it");
            });
        reader = std::make_unique<receiver>(config);
        reader->start();
        WAIT_UNTIL(guest.others() == 0);
    }
    WAIT_UNTIL(before.is_left());
}

TEST(a_receiver_destroyed_in_its_event_handler)
{
    const footprint before;
    host::guest guest;
    {
        host::writer writer;
        std::unique_ptr<receiver> reader;
        auto config = host::reader_config(writer.address);
        config.ingest_handler([guest](const replication::delivery &) { FAIL("no other handler begins"); })
            .event_handler([&, guest](const replication::event &) { reader.reset(); });
        reader = std::make_unique<receiver>(config);
        reader->start();
        writer.sender.replicate("entry");
        WAIT_UNTIL(guest.others() == 0);
    }
    WAIT_UNTIL(before.is_left());
}

TEST(a_sender_destroyed_in_its_event_handler)
{
    const footprint before;
    host::guest guest;
    {
        std::unique_ptr<sender> to;
        replication::sender_config config;
        config.stop_timeout(50ms).event_handler([&, guest](const replication::event &) { to.reset(); });
        to = std::make_unique<sender>(config);
        to->start();
        auto [ours, theirs] = net::pair();
        to->accept_reader(ours.release(), "reader", 0);
        WAIT_UNTIL(guest.others() == 0);
        theirs.drain();
    }
    WAIT_UNTIL(before.is_left());
}

TEST(a_sender_destroyed_in_an_ordered_call)
{
    const footprint before;
    host::guest guest;
    {
        auto to = std::make_unique<sender>();
        to->start();
        const replication::token entry = to->replicate_token("entry");
        std::promise<void> ordered;
        to->on_acked(entry, replication::ack_level::applied, 1, replication::forever,
                     [guest](const replication::ack_notice &) { FAIL("it is not called any more"); });
        to->on_acked(entry, replication::ack_level::applied, 1, 0ms,
                     [&, guest, ready = ordered.get_future().share()](const replication::ack_notice &) {
                         ready.wait(); // nobody else uses the sender now
                         to.reset();
                     });
        ordered.set_value();
        WAIT_UNTIL(guest.others() == 0);
    }
    WAIT_UNTIL(before.is_left());
}

// A handle may be owned by a handler of another one.
TEST(handles_within_handlers)
{
    const footprint before;
    {
        host::writer first, second;
        auto inner = std::make_shared<host::reader>(second.address);
        auto config = host::reader_config(first.address);
        config.ingest_handler([inner](const replication::delivery &) {});
        receiver outer(config);
        inner.reset();
        outer.start();
        first.sender.replicate("entry");
        host::wait_for(outer, 1);
    }
    WAIT_UNTIL(before.is_left());
}

TEST(an_end_on_another_thread)
{
    const footprint before;
    host::writer writer;
    auto reader = std::make_unique<host::reader>(writer.address);
    writer.sender.replicate_batch(std::vector<std::string>(1000, "x"));
    std::thread([&] { reader.reset(); }).join();
    std::thread([owned = std::move(writer.sender)]() mutable { owned.reset(); }).join();
    WAIT_UNTIL(before.is_left());
}

TEST(waits_end_with_a_stop)
{
    host::writer writer;
    host::reader reader(writer.address);
    const std::uint64_t sequence = writer.sender.replicate("entry");
    std::thread waiting([&] {
        CHECK(writer.sender.wait_acked(sequence, replication::ack_level::applied, 2, replication::forever).status ==
              status::closed);
    });
    std::thread reading(
        [&] { CHECK_THROWS(status::closed, "", reader.receiver.wait_sequence(sequence + 1, replication::forever)); });
    host::wait_for(reader.receiver, sequence);
    reader.receiver.stop();
    reading.join();
    writer.sender.stop();
    waiting.join();
}

TEST(after_a_fork)
{
    host::writer writer;
    host::reader reader(writer.address);
    const int code = harness::in_child([&] {
        // Threads did not come along: what the parent made says so, and ends without them.
        CHECK_THROWS(status::forked, "", writer.sender.replicate("entry"));
        CHECK_THROWS(status::forked, "", reader.receiver.pause());
        {
            const sender ended = std::move(writer.sender);
        }
        {
            const receiver ended = std::move(reader.receiver);
        }
        host::writer own;
        host::reader follower(own.address);
        own.sender.replicate("entry");
        host::wait_for(follower.receiver, 1);
        own.sender.stop();
        return 0;
    });
    CHECK(code == 0);
    writer.sender.replicate("entry");
    host::wait_for(reader.receiver, 1);
}

namespace
{

std::unique_ptr<host::writer> &static_writer()
{
    static std::unique_ptr<host::writer> writer;
    return writer;
}

std::unique_ptr<host::reader> &static_reader()
{
    static std::unique_ptr<host::reader> reader;
    return reader;
}

} // namespace

// The process ends, and static objects with it, while entries are under way. That it ends, and how, is the test.
TEST(static_objects_end_with_the_process)
{
    static_writer() = std::make_unique<host::writer>();
    static_reader() = std::make_unique<host::reader>(static_writer()->address);
    static_writer()->sender.replicate_batch(std::vector<std::string>(1000, "x"));
    host::wait_for(static_reader()->receiver, 1);
    std::exit(0);
}

TEST(nothing_is_left_of_many)
{
    const footprint before;
    for (int round = 0; round < 20; ++round) {
        host::writer writer;
        host::reader one(writer.address, "one"), other(writer.address, "other");
        writer.sender.replicate_batch(std::vector<std::string>(100, "x"));
        host::wait_for(one.receiver, 100);
        host::wait_for(other.receiver, 100);
    }
    WAIT_UNTIL(before.is_left());
}
