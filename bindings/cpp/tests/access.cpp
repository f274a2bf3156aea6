// Who may follow, and what readers may do.
#include "host.hpp"
#include "json.hpp"
#include "net.hpp"

#include <mutex>
#include <vector>

using replication::right;
using replication::status;

namespace
{

// The rights of a connected reader, as the statistics have them; "" if it is not connected.
std::string rights_of(const replication::sender &sender, const std::string &reader_id)
{
    const json::value stats = json::parse(sender.stats_json());
    for (const json::value &row : stats.at("readers"))
        if (row.at("reader_id").get<std::string>() == reader_id)
            return row.at("rights").get<std::string>();
    return "";
}

} // namespace

TEST(rules_say_who_may_follow)
{
    host::events events;
    replication::sender_config config;
    CHECK_THROWS(status::invalid_argument, "line 2, column 9: unknown right",
                 config.access_rules("* * * * read\n* * * r write"));
    config.access_rules("* * * allowed read,ack").event_handler(std::ref(events));
    host::writer writer(config);
    writer.sender.replicate("secret");
    host::reader stranger(writer.address, "stranger"), allowed(writer.address, "allowed");
    host::wait_for(allowed.receiver, 1);
    CHECK(rights_of(writer.sender, "allowed") == "read,ack");
    const auto refused = events.wait(replication::event_kind::refused);
    CHECK(refused.status == status::not_authorized);
    CHECK(refused.reader_id == "stranger");
    CHECK_CONTAINS(refused.message, "no line of the access rules");
    CHECK_THROWS(status::invalid_argument, "line 1, column 1", writer.sender.set_access_rules("read"));
    writer.sender.set_access_rules("* * * stranger read");
    host::wait_for(stranger.receiver, 1);
    WAIT_UNTIL(rights_of(writer.sender, "allowed").empty());
    CHECK_THROWS(status::invalid_state, "", writer.sender.reload_access_file());
}

TEST(a_file_of_rules_is_read_again)
{
    const std::string file = harness::write_file("access.conf", "* * * a read\n");
    replication::sender_config config;
    CHECK_THROWS(status::io, "/nowhere/access.conf", config.access_file("/nowhere/access.conf"));
    config.access_file(file);
    host::writer writer(config);
    harness::write_file("access.conf", "* * * b read\n");
    writer.sender.reload_access_file();
    host::reader reader(writer.address, "b");
    writer.sender.replicate("entry");
    host::wait_for(reader.receiver, 1);
    replication::sender_config both;
    both.access_rules("* * * * read").trusted_network(true);
    CHECK_THROWS(status::invalid_argument, "trusted_network", replication::sender(both));
}

TEST(the_host_gives_rights)
{
    replication::sender_config config;
    config.access_rules("* * * * deny");
    host::writer writer(config);
    auto [ours, theirs] = net::pair();
    writer.sender.accept_reader(ours.release(), "known", 0, {right::read, right::ack});
    auto [other, others] = net::pair();
    writer.sender.accept_connection(other.release(), {right::read});
    others.send(replication::bytes_view(replication::codec::write_sync("shaken", 0)).text());
    WAIT_UNTIL(writer.sender.reader_count() == 2);
    CHECK(rights_of(writer.sender, "known") == "read,ack");
    CHECK(rights_of(writer.sender, "shaken") == "read");
    auto [kept, unused] = net::pair();
    const int descriptor = kept.release();
    const net::socket owner(descriptor);
    CHECK_THROWS(status::invalid_argument, "read", writer.sender.accept_connection(descriptor, {right::slot}));
    CHECK_THROWS(status::invalid_argument, "read", writer.sender.accept_reader(descriptor, "r", 0, {right::ack}));
}

TEST(a_writer_is_who_it_is_expected_to_be)
{
    host::writer writer;
    auto config = host::reader_config(writer.address, "reader");
    CHECK_THROWS(status::invalid_argument, "column 1: unknown identity", config.writer_identity("nobody"));
    host::events events;
    config.writer_identity("certificate uid:0").event_handler(std::ref(events));
    host::reader reader(std::move(config));
    CHECK(events.wait(replication::event_kind::refused).status == status::not_authorized);
    CHECK(!reader.receiver.is_connected());
}

TEST(a_host_decides_at_once_or_later)
{
    host::events events;
    std::mutex mutex;
    std::vector<std::uint64_t> later;
    replication::sender *deciding = nullptr;
    replication::sender_config config;
    config.event_handler(std::ref(events)).authorize_handler([&](const replication::access_request &request) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (request.reader_id == "now")
            deciding->authorize(request.ticket, {right::read, right::ack});
        else if (request.reader_id == "never")
            deciding->refuse(request.ticket, "it is not in the list");
        else
            later.push_back(request.ticket);
        if (request.identity != "none" || request.tls || request.handed || request.sequence != 0)
            FAIL("a request with something else: " + std::string(request.identity));
    });
    host::writer writer(config);
    {
        const std::lock_guard<std::mutex> lock(mutex);
        deciding = &writer.sender;
    }
    writer.sender.replicate("entry");
    host::reader now(writer.address, "now"), never(writer.address, "never"), waits(writer.address, "waits");
    host::wait_for(now.receiver, 1);
    CHECK(rights_of(writer.sender, "now") == "read,ack");
    CHECK_CONTAINS(events.wait(replication::event_kind::refused).message, "it is not in the list");
    const auto waiting = [&] {
        const std::lock_guard<std::mutex> lock(mutex);
        return later.empty() ? 0 : later.back();
    };
    WAIT_UNTIL(waiting() != 0);
    writer.sender.authorize(waiting(), {right::read});
    host::wait_for(waits.receiver, 1);
    CHECK_THROWS(status::not_found, "", writer.sender.authorize(waiting(), {right::read}));
    CHECK_THROWS(status::not_found, "", writer.sender.refuse(4711));
}
