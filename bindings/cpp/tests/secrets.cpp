// Secrets that readers and writers prove to each other.
#include "host.hpp"
#include "json.hpp"

#include <sys/stat.h>

#include <string>
#include <utility>

using replication::secret;
using replication::status;

namespace
{

const std::string random_bytes(32, '\x07');
const std::string phrase = "correct horse battery";

// A sender that only readers with the secret may follow, also without TLS.
replication::sender_config proving(const secret &given)
{
    replication::sender_config config;
    config.access_rules("* * secret:readers * read,ack").plain_secrets_allowed(true).add_secret(given);
    return config;
}

} // namespace

TEST(secrets_are_checked_when_they_are_made)
{
    CHECK_THROWS(status::invalid_argument, "31 bytes", (void)secret::from_bytes("", "n", std::string(31, 'x')));
    CHECK_THROWS(status::invalid_argument, "11 bytes", (void)secret::from_passphrase("", "n", "eleven byte"));
    CHECK_THROWS(status::invalid_argument, "name", (void)secret::from_bytes("", "", random_bytes));
    CHECK_THROWS(status::invalid_argument, "cluster", (void)secret::from_bytes(nullptr, "n", random_bytes));
    CHECK_THROWS(status::io, "/nowhere/secret", (void)secret::from_file("", "n", "/nowhere/secret"));
    const std::string file = harness::write_file("secret", random_bytes);
    CHECK(chmod(file.c_str(), 0644) == 0);
    CHECK_THROWS(status::invalid_argument, "chmod o-r", (void)secret::from_file("", "n", file));
    CHECK(secret::from_file("", "n", file, false, true).get() != nullptr);
    secret given = secret::from_bytes("cluster", "readers", random_bytes);
    const secret moved = std::move(given);
    replication::sender_config config;
    config.add_secret(moved).add_secret(moved);
    CHECK_THROWS(status::invalid_state, "readers", config.add_secret(moved));
}

TEST(both_ends_prove_a_secret)
{
    for (const bool is_passphrase : {false, true}) {
        auto sending = proving(is_passphrase ? secret::from_passphrase("cluster", "readers", phrase)
                                             : secret::from_bytes("cluster", "readers", random_bytes));
        host::writer writer(sending);
        const std::string file = harness::write_file("secret", (is_passphrase ? phrase : random_bytes) + "\n");
        auto config = host::reader_config(writer.address, "reader");
        config.secret(secret::from_file("cluster", "readers", file, is_passphrase)).plain_secrets_allowed(true);
        config.writer_identity("secret:readers");
        host::reader reader(std::move(config));
        writer.sender.replicate("entry");
        host::wait_for(reader.receiver, 1);
        const json::value stats = json::parse(writer.sender.stats_json());
        CHECK(stats.at("readers").at(0).at("identity").get<std::string>() == "secret:readers");
    }
}

TEST(a_secret_takes_the_place_of_another)
{
    const secret old = secret::from_bytes("cluster", "readers", random_bytes);
    const secret young = secret::from_bytes("cluster", "readers", std::string(32, '\x08'));
    auto sending = proving(old);
    host::writer writer(sending);
    host::events events;
    auto config = host::reader_config(writer.address, "reader");
    config.secret(old).plain_secrets_allowed(true).event_handler(std::ref(events));
    host::reader reader(std::move(config));
    writer.sender.replicate("one");
    host::wait_for(reader.receiver, 1);
    writer.sender.add_secret(young);
    CHECK_THROWS(status::invalid_state, "readers", writer.sender.add_secret(young));
    reader.receiver.set_secret(young);
    writer.sender.remove_secret("readers");
    CHECK(events.wait(replication::event_kind::disconnected).status == status::not_authorized);
    writer.sender.replicate("two");
    host::wait_for(reader.receiver, 2);
    reader.receiver.remove_secret();
    writer.sender.remove_secret("readers");
    CHECK(events.wait(replication::event_kind::refused).status == status::not_authorized);
    CHECK_THROWS(status::not_found, "readers", writer.sender.remove_secret("readers"));
    CHECK_THROWS(status::invalid_argument, "name", writer.sender.remove_secret(nullptr));
    reader.receiver.stop();
    CHECK_THROWS(status::closed, "", reader.receiver.set_secret(old));
    CHECK_THROWS(status::closed, "", reader.receiver.remove_secret());
    writer.sender.stop();
    CHECK_THROWS(status::closed, "", writer.sender.add_secret(old));
}
