// TLS: a stream under it, and files that cannot be used.
#include "host.hpp"
#include "json.hpp"

using replication::status;

namespace
{

// An authority, and a certificate for 127.0.0.1 and writer.example that it issued. They and the key are good for nothing but
// the tests.
constexpr char authority[] = "-----BEGIN CERTIFICATE-----\n"
                             "MIIBeDCCAR6gAwIBAgIUS/fsnDnpY0FmNzowbD6fv7j2Jk0wCgYIKoZIzj0EAwIw\n"
                             "ITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWduZWQgY2VydDAgFw03NTAxMDEwMDAw\n"
                             "MDBaGA80MDk2MDEwMTAwMDAwMFowITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWdu\n"
                             "ZWQgY2VydDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAEAFafjn6iWXFtGWnTZ\n"
                             "CMnCdrJX0kDfAwqbxnI8qSROHVUjxanEm5tZmhVDFyRtJFyz4pXND7clQlbPWYQJ\n"
                             "y22jMjAwMB0GA1UdDgQWBBS4fv06fQvI89jTqM3VEwvubuC5YjAPBgNVHRMBAf8E\n"
                             "BTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAoIwRvgFhSU0ezkwyade8zXyOUsIgOq\n"
                             "PcV2w53GwiDDAiEA4IzK22htF8MF059fFgbTBPouP/s9TWYmZyWu1Ci9dvQ=\n"
                             "-----END CERTIFICATE-----\n";
constexpr char certificate[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBaTCCAQ+gAwIBAgIUIbLZF1YgOxe7i/XdvhIxuy+0KNAwCgYIKoZIzj0EAwIw\n"
                               "ITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWduZWQgY2VydDAgFw03NTAxMDEwMDAw\n"
                               "MDBaGA80MDk2MDEwMTAwMDAwMFowITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWdu\n"
                               "ZWQgY2VydDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMcQAd1H6cqhrsLpDBpz\n"
                               "e5UjvyML+YbukoUr5g4ISCbzFcDErYLRrEEweLCRS1oyKXs7sddCktKI+0dUZwB6\n"
                               "MX2jIzAhMB8GA1UdEQQYMBaHBH8AAAGCDndyaXRlci5leGFtcGxlMAoGCCqGSM49\n"
                               "BAMCA0gAMEUCIQCiGgXNmq+g3Zss+yMQh1ZTkw9oziCMg63SKKFPyW6/YgIgApzt\n"
                               "hlnMh4kk7I6cxM5IXmDYUsW4lGMZR7Du8CP3TJo=\n"
                               "-----END CERTIFICATE-----\n";
constexpr char private_key[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmOg9iHE0pDOpisX9\n"
                               "4xoDyV0yPG2xZCbqIfih3MNuOrmhRANCAATHEAHdR+nKoa7C6Qwac3uVI78jC/mG\n"
                               "7pKFK+YOCEgm8xXAxK2C0axBMHiwkUtaMil7O7HXQpLSiPtHVGcAejF9\n"
                               "-----END PRIVATE KEY-----\n";

struct files {
    std::string ca = harness::write_file("ca.pem", authority);
    std::string chain = harness::write_file("chain.pem", certificate);
    std::string key = harness::write_file("key.pem", private_key);
    std::string text = harness::write_file("text.pem", "no PEM\n");
};

} // namespace

TEST(a_stream_under_tls)
{
    const files pem;
    replication::sender_config sending;
    sending.tls(pem.chain, pem.key, pem.ca);
    host::writer writer(sending);
    auto by_address = host::reader_config(writer.address, "127.0.0.1");
    by_address.tls(pem.ca, nullptr, pem.chain, pem.key);
    auto by_name = host::reader_config(writer.address, "writer.example");
    by_name.tls(pem.ca, "writer.example", pem.chain, pem.key);
    host::reader one(std::move(by_address)), other(std::move(by_name));
    writer.sender.replicate("secret");
    host::wait_for(one.receiver, 1);
    host::wait_for(other.receiver, 1);
    CHECK(one.entries.payloads() == "secret");
    CHECK(json::parse(one.receiver.stats_json()).at("tls").get<bool>());
    CHECK(json::at(json::parse(writer.sender.stats_json()), "readers.0.tls").get<bool>());
}

TEST(whoever_does_not_fit_is_refused)
{
    const files pem;
    replication::sender_config sending;
    sending.tls(pem.chain, pem.key, pem.ca);
    host::writer writer(sending);
    host::events plain, nameless, wrong_name;
    auto without = host::reader_config(writer.address, "plain");
    without.event_handler(std::ref(plain));
    auto without_certificate = host::reader_config(writer.address, "nameless");
    without_certificate.tls(pem.ca).event_handler(std::ref(nameless));
    auto with_wrong_name = host::reader_config(writer.address, "wrong name");
    with_wrong_name.tls(pem.ca, "other.example", pem.chain, pem.key).event_handler(std::ref(wrong_name));
    host::reader one(std::move(without)), two(std::move(without_certificate)), three(std::move(with_wrong_name));
    for (const host::events *const each : {&plain, &nameless, &wrong_name})
        WAIT_UNTIL(!each->of(replication::event_kind::disconnected).empty() ||
                   !each->of(replication::event_kind::protocol_error).empty());
    CHECK(wrong_name.wait(replication::event_kind::disconnected).status == status::io);
    CHECK(writer.sender.reader_count() == 0);
}

TEST(files_that_cannot_be_used_are_named)
{
    const files pem;
    const std::string missing = harness::temp_path("missing.pem");
    replication::sender_config sending;
    CHECK_THROWS(status::io, missing, sending.tls(missing, pem.key));
    CHECK_THROWS(status::invalid_argument, pem.text, sending.tls(pem.chain, pem.text));
    CHECK_THROWS(status::invalid_argument, pem.text, sending.tls(pem.chain, pem.key, pem.text));
    CHECK_THROWS(status::invalid_argument, "private_key_file", sending.tls(pem.chain, nullptr));
    replication::receiver_config reading;
    CHECK_THROWS(status::io, missing, reading.tls(missing));
    CHECK_THROWS(status::invalid_argument, "ca_file", reading.tls(nullptr));
    CHECK_THROWS(status::invalid_argument, "", reading.tls(pem.ca, "no name"));
    CHECK_THROWS(status::invalid_argument, "", reading.tls(pem.ca, nullptr, pem.chain));
}

TEST(certificates_are_renewed_while_connections_live)
{
    const files pem;
    replication::sender_config sending;
    CHECK_THROWS(status::invalid_state, "comes first", sending.tls_crl_file(pem.text));
    sending.tls(pem.chain, pem.key, pem.ca);
    CHECK_THROWS(status::invalid_argument, "crl_file", sending.tls_crl_file(pem.text));
    host::writer writer(sending);
    auto config = host::reader_config(writer.address, "writer.example");
    config.tls(pem.ca, nullptr, pem.chain, pem.key);
    host::reader reader(std::move(config));
    writer.sender.replicate("one");
    host::wait_for(reader.receiver, 1);
    writer.sender.reload_tls(true);
    writer.sender.set_tls(pem.chain, pem.key, pem.ca, nullptr, true);
    reader.receiver.reload_tls();
    reader.receiver.set_tls(pem.ca, "writer.example", pem.chain, pem.key);
    CHECK_THROWS(status::invalid_argument, "private_key_file", writer.sender.set_tls(pem.chain, pem.text));
    CHECK_THROWS(status::invalid_argument, "crl_file", writer.sender.set_tls(pem.chain, pem.key, pem.ca, pem.text));
    CHECK_THROWS(status::io, "missing.pem", reader.receiver.set_tls(harness::temp_path("missing.pem")));
    writer.sender.remove_reader("writer.example");
    writer.sender.replicate("two");
    host::wait_for(reader.receiver, 2);
    host::writer plain;
    CHECK_THROWS(status::invalid_state, "without TLS", plain.sender.reload_tls());
    CHECK_THROWS(status::invalid_state, "without TLS", host::reader(plain.address).receiver.reload_tls());
}
