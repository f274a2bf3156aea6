// A sender: every option, every call.
#include "host.hpp"
#include "json.hpp"
#include "net.hpp"

#include <deque>
#include <future>
#include <list>

using namespace std::chrono_literals;
using replication::ack_level;
using replication::sender;
using replication::sender_config;
using replication::status;

namespace
{

replication::timestamp at_us(std::int64_t number)
{
    return replication::timestamp(std::chrono::microseconds(number));
}

json::value stats(const sender &of)
{
    return json::parse(of.stats_json());
}

// Payloads that are there only while a loop looks at them, as those of a std::views::transform.
struct made_as_it_goes {
    struct iterator {
        char letter;

        std::string operator*() const
        {
            return std::string(100, letter);
        }

        iterator &operator++()
        {
            ++letter;
            return *this;
        }

        bool operator!=(const iterator &other) const
        {
            return letter != other.letter;
        }
    };

    iterator begin() const
    {
        return {'a'};
    }

    iterator end() const
    {
        return {'e'};
    }

    std::size_t size() const
    {
        return 4;
    }
};

} // namespace

TEST(every_option_is_taken)
{
    sender_config config;
    config.buffer_size(1000)
        .buffer_bytes(1 << 20)
        .full_policy(replication::full_policy::wait, 10ms)
        .write_timeout(1s)
        .handshake_timeout(1s)
        .heartbeat_interval(100ms)
        .min_heartbeat(10ms)
        .peer_timeout(1min)
        .stop_timeout(0ms)
        .max_readers(10)
        .max_handshakes(8)
        .max_handshakes_per_address(4)
        .max_handshakes_per_network(6)
        .max_connection_rate_per_address(100)
        .io_threads(1)
        .unix_socket_mode(0660)
        .token(replication::token::parse("01020300000000000000000000000000:4:41:0000000000000000"))
        .add_group("east", {"east-1", "east-*"})
        .write_gate({})
        .max_pending_acks(10)
        .insecure_permissions_allowed(true)
        .wal_dir(harness::temp_path("log"))
        .wal_sync(replication::sync_policy::group, 5ms, 4096)
        .wal_segment_bytes(1 << 20)
        .wal_retain_bytes(1 << 20)
        .log_retain(24h)
        .slot_max_bytes(1 << 20)
        .slot_expiry(24h)
        .log_timeout(1s)
        .event_handler([](const replication::event &) {})
        .log_handler(replication::log_level::debug, [](const replication::log_record &) {});
    sender made(config);
    CHECK(made.current_sequence() == 41);
    CHECK_CONTAINS(made.token().text(), "01020300000000000000000000000000:4:41:");
    made.set_option("wal_retain_bytes", 1 << 30);
    CHECK(made.option("wal_retain_bytes") == 1 << 30);
    CHECK_THROWS(status::not_found, "wal_dir", made.set_option("wal_dir", 1));
    CHECK_THROWS(status::invalid_argument, "max_readers", made.set_option("max_readers", 0));
    made.start();
    CHECK(made.replicate("42") == 42);
    const json::value found = stats(made);
    CHECK(json::number(found.at("buffer_size")) == 1000);
    CHECK(json::number(found.at("buffer_bytes")) == (1 << 20));
    CHECK(json::text(found.at("stream_id")) == "01020300000000000000000000000000");
}

TEST(options_that_cannot_be_are_refused)
{
    sender_config config;
    const auto invalid = status::invalid_argument;
    CHECK_THROWS(invalid, "0", config.buffer_size(0));
    CHECK_THROWS(invalid, "65536", config.buffer_bytes(1));
    CHECK_THROWS(invalid, "99", config.full_policy(static_cast<replication::full_policy>(99)));
    CHECK_THROWS(invalid, "-1 ms", config.full_policy(replication::full_policy::wait, -1ms));
    CHECK_THROWS(invalid, "timeout_ms", config.write_timeout(0ms));
    CHECK_THROWS(invalid, "negative", config.write_timeout(-5ms));
    CHECK_THROWS(invalid, "timeout_ms", config.handshake_timeout(0ms));
    CHECK_THROWS(invalid, "interval_ms", config.heartbeat_interval(0ms));
    CHECK_THROWS(invalid, "10 to 60000", config.min_heartbeat(9ms));
    CHECK_THROWS(invalid, "timeout_ms", config.peer_timeout(0ms));
    CHECK_THROWS(invalid, "negative", config.stop_timeout(-1ms));
    CHECK_THROWS(invalid, "readers", config.max_readers(0));
    CHECK_THROWS(invalid, "1 to 65536", config.max_handshakes(0));
    CHECK_THROWS(invalid, "per_address", config.max_handshakes_per_address(65537));
    CHECK_THROWS(invalid, "per_network", config.max_handshakes_per_network(0));
    CHECK_THROWS(invalid, "256", config.io_threads(257));
    CHECK_THROWS(invalid, "1777", config.unix_socket_mode(01777));
    CHECK_THROWS(invalid, "", config.add_group("", {"a"}));
    CHECK_THROWS(invalid, "", config.add_group("empty", {}));
    CHECK_THROWS(invalid, "NUL", config.add_group("group", {std::string("a\0b", 3)}));
    CHECK_THROWS(invalid, "99", config.write_gate({1, 1, 0ms, static_cast<ack_level>(99), {}, 0ms}));
    CHECK_THROWS(invalid, "calls", config.max_pending_acks(0));
    CHECK_THROWS(invalid, "", config.wal_dir(""));
    CHECK_THROWS(invalid, "", config.wal_sync(replication::sync_policy::group));
    CHECK_THROWS(invalid, "65536", config.wal_segment_bytes(1));
    CHECK_THROWS(invalid, "", config.log_retain(0ms));
    CHECK_THROWS(invalid, "", config.slot_expiry(0ms));
    CHECK_THROWS(invalid, "", config.log_timeout(0ms));
    CHECK_THROWS(invalid, "99",
                 config.log_handler(static_cast<replication::log_level>(99), [](const replication::log_record &) {}));
    CHECK_THROWS(status::io, "missing.pem", config.tls("missing.pem", "missing.key"));
    config.wal_dir(nullptr).event_handler(nullptr).log_handler(replication::log_level::info, nullptr);
    sender made(std::move(config)); // none of that stuck
    made.start();
}

TEST(entries_go_in_one_by_one_and_many_at_a_time)
{
    host::writer writer;
    host::reader reader(writer.address);
    sender &to = writer.sender;
    CHECK(to.replicate("literal", at_us(1)) == 1);
    CHECK(to.replicate(std::string("string")) == 2);
    CHECK(to.replicate({}) == 3);
    CHECK(to.replicate_batch(std::vector<std::string>{"4", "5"}, at_us(5)) == 4);
    CHECK(to.replicate_batch(std::list<std::vector<std::uint8_t>>{{'6'}}) == 6);
    CHECK(to.replicate_batch({"7", std::string("8")}) == 7);
    const replication_slice slice = {reinterpret_cast<const std::uint8_t *>("9"), 1};
    CHECK(to.replicate_batch(&slice, 1, at_us(9)) == 9);
    std::uint64_t sequence = 77;
    CHECK(to.try_replicate("10", at_us(10), sequence) == status::ok);
    CHECK(sequence == 10);
    CHECK_THROWS(status::invalid_argument, "", to.replicate_batch(std::vector<std::string>()));
    CHECK(to.current_sequence() == 10);
    host::wait_for(reader.receiver, 10);
    CHECK(reader.entries.payloads() == "literal string  4 5 6 7 8 9 10");
    const auto entries = reader.entries.entries();
    CHECK(entries[0].timestamp_us == 1);
    CHECK(entries[3].timestamp_us == 5);
    CHECK(entries[4].timestamp_us == 5);
    CHECK(entries[1].timestamp_us > 1700000000000000); // the clock's
}

TEST(payloads_of_a_batch_that_are_made_as_it_goes_live_as_long_as_the_call)
{
    host::writer writer;
    host::reader reader(writer.address);
    CHECK(writer.sender.replicate_batch(made_as_it_goes()) == 1);
    host::wait_for(reader.receiver, 4);
    std::string expected;
    for (const char letter : {'a', 'b', 'c', 'd'})
        expected += (expected.empty() ? "" : " ") + std::string(100, letter);
    CHECK(reader.entries.payloads() == expected);
}

TEST(what_is_refused_uses_no_sequence)
{
    sender_config config;
    config.buffer_bytes(65536);
    host::writer writer(config);
    std::uint64_t sequence = 77;
    CHECK_THROWS(status::message_too_large, "", writer.sender.replicate(std::string(70000, 'x')));
    CHECK(writer.sender.try_replicate(std::string(70000, 'x'), {}, sequence) == status::message_too_large);
    CHECK(sequence == 0);
    CHECK_CONTAINS(replication::last_error_message(), "70000");
    writer.sender.set_writable(false);
    CHECK_THROWS(status::not_writer, "", writer.sender.replicate("x"));
    CHECK_THROWS(status::not_writer, "", writer.sender.replicate_batch({"x", "y"}));
    writer.sender.set_writable(true);
    CHECK(writer.sender.replicate("x") == 1);
}

// Under ALWAYS an entry that was taken and is not known to be durable has a sequence all the same.
TEST(an_entry_whose_sync_takes_too_long_is_indeterminate)
{
    sender_config config;
    config.wal_dir(harness::temp_path("log")).wal_sync(replication::sync_policy::always).log_timeout(1ms);
    sender to(config);
    to.start();
    const std::string large(32 << 20, 'x');
    std::uint64_t undecided = 0;
    for (int tries = 0; undecided == 0 && tries < 20; ++tries) {
        try {
            to.replicate(large);
        } catch (const replication::indeterminate_error &caught) {
            CHECK(caught.code() == status::timeout);
            undecided = caught.sequence();
        } catch (const replication::error &caught) {
            CHECK(caught.code() == status::buffer_full); // the buffer waits for the disk, for a millisecond too
        }
    }
    CHECK(undecided != 0);
    CHECK(undecided <= to.current_sequence());
    CHECK(to.wait_durable(undecided, harness::patience));
}

TEST(readers_come_by_address_and_by_descriptor)
{
    host::events events;
    sender_config config;
    config.event_handler(std::ref(events));
    host::writer writer(config);
    CHECK(writer.sender.listen("unix:" + harness::temp_path("socket")) == 0);
    CHECK_THROWS(status::bad_address, "nonsense", writer.sender.listen("nonsense"));
    CHECK_THROWS(status::address_in_use, writer.address, writer.sender.listen(writer.address));
    host::reader by_tcp(writer.address, "tcp"), by_unix("unix:" + harness::temp_path("socket"), "unix");

    auto [ours, theirs] = net::pair();
    writer.sender.accept_reader(ours.release(), "plain", 0);
    auto [other, others] = net::pair();
    writer.sender.accept_connection(other.release());
    others.send(replication::bytes_view(replication::codec::write_sync("shaken", 0)).text());
    writer.sender.replicate("entry", at_us(1));
    host::wait_for(by_tcp.receiver, 1);
    host::wait_for(by_unix.receiver, 1);
    WAIT_UNTIL(writer.sender.reader_count() == 4);
    CHECK_CONTAINS(theirs.receive(40), "can_resume");
    CHECK_CONTAINS(others.receive(40), "can_resume");

    auto [closed, unused] = net::pair();
    const int descriptor = closed.release();
    net::socket{}.operator=(net::socket(descriptor)); // closes it
    CHECK_THROWS(status::bad_descriptor, "", writer.sender.accept_connection(descriptor));
    CHECK_THROWS(status::bad_descriptor, "", writer.sender.accept_reader(descriptor, "reader", 0));

    writer.sender.remove_reader("plain");
    theirs.drain();
    CHECK_THROWS(status::not_found, "nobody", writer.sender.remove_reader("nobody"));
    const auto removed = events.wait(replication::event_kind::disconnected);
    CHECK(removed.status == status::removed);
    CHECK(removed.reader_id == "plain");
    CHECK_CONTAINS(removed.identity, "uid:");
    CHECK_CONTAINS(removed.detail, "entries_sent");
    CHECK(removed.cause == "");
}

TEST(waiting_for_readers)
{
    sender_config config;
    config.add_group("east", {"east-*"}).add_group("west", {"west-1", "west-2"});
    host::writer writer(config);
    sender &to = writer.sender;
    host::reader east(writer.address, "east-1"), west(writer.address, "west-1");
    const replication::token entry = to.replicate_token("entry");
    CHECK(entry == to.token());
    const std::uint64_t sequence = 1;
    const auto two = to.wait_acked(sequence, ack_level::applied, 2, harness::patience);
    CHECK(two);
    CHECK(two.status == status::ok);
    CHECK(two.readers == 2);
    CHECK(two.message.empty());
    CHECK(to.acked(entry, ack_level::applied, 2));

    const auto three = to.wait_acked(sequence, ack_level::applied, 3, 0ms);
    CHECK(!three);
    CHECK(three.status == status::timeout);
    CHECK(three.readers == 2);
    CHECK_CONTAINS(three.message, "acknowledged");
    CHECK(to.wait_acked(sequence, ack_level::applied, 3, -1h).status == status::timeout);
    CHECK(to.acked(entry, ack_level::durable, 1).status == status::timeout);
    CHECK_THROWS(status::invalid_argument, "", to.wait_acked(sequence + 1, ack_level::applied, 1, 0ms));
    CHECK_THROWS(status::invalid_argument, "", to.wait_acked(sequence, static_cast<ack_level>(9), 1, 0ms));

    replication::quorum both, more, none, unknown;
    both.add("east", 1).add("west", 1).add(2);
    more.add("east", 1).add("west", 2);
    unknown.add("north", 1);
    CHECK(to.wait_token(entry, ack_level::applied, both, replication::forever));
    CHECK(to.acked(entry, ack_level::applied, both).readers == 2);
    CHECK_CONTAINS(to.wait_token(entry, ack_level::applied, more, 0ms).message, "west");
    CHECK(to.acked(entry, ack_level::applied, more).status == status::timeout);
    CHECK_THROWS(status::invalid_argument, "", to.acked(entry, ack_level::applied, none));
    CHECK_THROWS(status::invalid_argument, "north", to.wait_token(entry, ack_level::applied, unknown, 0ms));
    CHECK_THROWS(status::invalid_argument, "0", none.add(0));
    CHECK_THROWS(status::invalid_argument, "0", to.acked(entry, ack_level::applied, 0));
    const auto foreign = replication::token::parse("01020300000000000000000000000000:1:1:0000000000000001");
    CHECK_THROWS(status::lost, "stream 0102", to.acked(foreign, ack_level::applied, 1));
}

TEST(ordered_calls)
{
    host::writer writer;
    sender &to = writer.sender;
    const replication::token entry = to.replicate_token("entry");
    std::promise<replication::ack_notice> one, quorum, over, late;
    const auto tell = [](std::promise<replication::ack_notice> &whom) {
        return [&whom](const replication::ack_notice &notice) { whom.set_value(notice); };
    };
    replication::quorum any;
    any.add(1);
    to.on_acked(entry, ack_level::applied, 1, harness::patience, tell(one));
    to.on_acked(entry, ack_level::applied, any, harness::patience, tell(quorum));
    host::reader reader(writer.address);
    const replication::ack_notice notice = one.get_future().get();
    CHECK(notice.status == status::ok);
    CHECK(notice.readers == 1);
    CHECK(quorum.get_future().get().readers == 1);

    to.on_acked(entry, ack_level::applied, 2, 0ms, tell(over));
    CHECK(over.get_future().get().status == status::timeout);
    to.on_acked(entry, ack_level::applied, 2, replication::forever, tell(late));
    to.stop();
    CHECK(late.get_future().get().status == status::closed);
    CHECK_THROWS(status::closed, "", to.on_acked(entry, ack_level::applied, 1, 0ms, tell(late)));
    CHECK(to.acked(entry, ack_level::applied, 2).status == status::closed);
}

// A handler that cannot be ordered is destroyed all the same.
TEST(ordered_calls_that_are_refused)
{
    sender_config config;
    config.max_pending_acks(1);
    host::writer writer(config);
    host::guest guest;
    const auto handler = [guest](const replication::ack_notice &) {};
    const replication::token entry = writer.sender.replicate_token("entry");
    const replication::token damaged(std::string(48, 'x'));
    const auto order = [&](const replication::token &which, replication::acked_handler whom) {
        writer.sender.on_acked(which, ack_level::applied, 1, replication::forever, std::move(whom));
    };
    order(entry, handler);
    CHECK(guest.others() == 2L);
    CHECK_THROWS(status::buffer_full, "", order(entry, handler));
    CHECK_THROWS(status::invalid_argument, "", order(damaged, handler));
    CHECK_THROWS(status::invalid_argument, "callback", order(entry, nullptr));
    CHECK(guest.others() == 2L);
    writer.sender.stop();
    WAIT_UNTIL(guest.others() == 1);
}

TEST(the_write_gate)
{
    replication::write_gate gate;
    gate.min_readers = 1;
    gate.max_lag_entries = 100;
    gate.max_lag = 10s;
    gate.level = ack_level::applied;
    sender_config config;
    config.write_gate(gate);
    host::writer writer(config);
    CHECK_THROWS(status::gated, "", writer.sender.replicate("too early"));
    std::uint64_t sequence = 0;
    CHECK(writer.sender.try_replicate("too early", {}, sequence) == status::gated);
    host::reader reader(writer.address);
    WAIT_UNTIL(writer.sender.try_replicate("taken", {}, sequence) == status::ok);
    host::wait_for(reader.receiver, sequence);
}

TEST(a_log_on_disk_goes_on_where_it_was)
{
    const std::string log = harness::temp_path("log");
    std::optional<replication::token> end;
    {
        sender_config config;
        config.wal_dir(log);
        host::writer writer(config);
        host::reader reader(writer.address);
        const std::uint64_t sequence = writer.sender.replicate("entry");
        CHECK(writer.sender.wait_durable(sequence, harness::patience));
        CHECK_THROWS(status::invalid_argument, "2", writer.sender.wait_durable(2, 0ms));
        host::wait_for(reader.receiver, sequence);
        end = writer.sender.token();
        CHECK(json::text(json::at(json::parse(writer.sender.slots_json()), "0.reader_id")) == "reader");
        sender_config second;
        second.wal_dir(log);
        CHECK_THROWS(status::locked, log, sender(second));
        reader.receiver.reset();
        writer.sender.drop_slot("reader");
        CHECK_THROWS(status::not_found, "reader", writer.sender.drop_slot("reader"));
    }
    sender_config config;
    config.wal_dir(log);
    sender again(config);
    CHECK(again.token() == end);
    CHECK(again.current_sequence() == 1);
    sender without;
    without.start();
    CHECK_THROWS(status::invalid_state, "", without.slots_json());
    CHECK_THROWS(status::invalid_state, "", without.drop_slot("reader"));
    CHECK_THROWS(status::invalid_state, "", without.wait_durable(0, 0ms));
}

TEST(a_token_begins_where_the_other_ended)
{
    std::optional<replication::token> end, lost;
    {
        sender first;
        first.start();
        first.replicate("entry");
        end = first.token();
        lost = first.replicate_token("another");
    }
    sender_config config;
    config.token(*end, 2);
    sender second(config);
    CHECK(second.current_sequence() == 1);
    CHECK_CONTAINS(second.token().text(), ":2:1:");
    second.start();
    second.replicate("another one");
    CHECK_THROWS(status::lost, "entry 2 of epoch 1", second.acked(*lost, ack_level::applied, 1));
    CHECK_THROWS(status::lost, "epoch 2", second.wait_acked(1, ack_level::applied, 1, 0ms));
    CHECK(second.acked(*end, ack_level::applied, 1).status == status::timeout);
    CHECK_THROWS(status::invalid_argument, "token", config.token(replication::token(std::string(48, 'x'))));
}

// A stop that leaves a reader behind says so, and is done nevertheless.
TEST(a_stop_tells_whom_it_left_behind)
{
    sender_config config;
    config.stop_timeout(50ms);
    host::writer writer(config);
    std::promise<void> go_on;
    auto reading = host::reader_config(writer.address, "stuck");
    reading.buffer_bytes(65536).ingest_handler(
        [held = go_on.get_future().share()](const replication::delivery &) { held.wait(); });
    replication::receiver reader(reading);
    reader.start();
    WAIT_UNTIL(writer.sender.reader_count() == 1);
    writer.sender.replicate_batch(std::vector<std::string>(400, std::string(100000, 'x')));
    CHECK_THROWS(status::timeout, "stuck", writer.sender.stop());
    CHECK_THROWS(status::closed, "", writer.sender.replicate("x"));
    go_on.set_value();
}
