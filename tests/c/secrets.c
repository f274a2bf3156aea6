/* Secrets through the C interface: how they are made, and what senders and receivers do with them. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "host.h"
#include "json.h"

static const uint8_t RANDOM[33] = "0123456789abcdef0123456789abcdef\n";

/* A secret of 32 bytes that are this one. */
static replication_secret *secret_of(uint8_t byte)
{
    uint8_t bytes[32];
    replication_secret *secret = NULL;
    memset(bytes, byte, sizeof bytes);
    CHECK_OK(replication_secret_from_bytes("cluster", "readers", bytes, sizeof bytes, &secret));
    return secret;
}

/* Writes a file of this test; its path is good until the next call of temp_path(). */
static const char *secret_file(const void *bytes, size_t len, mode_t mode)
{
    const char *path = temp_path("secret");
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    CHECK(fchmod(fileno(out), mode) == 0);
    CHECK(fwrite(bytes, 1, len, out) == len);
    CHECK(fclose(out) == 0);
    return path;
}

/* A sender that only readers with a secret may follow, also without TLS. */
static replication_sender_config *proving(const replication_secret *secret)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_access_rules(config, "* * secret:readers * read,ack"));
    CHECK_OK(sender_config_set_plain_secrets_allowed(config, true));
    CHECK_OK(sender_config_add_secret(config, secret));
    return config;
}

static replication_receiver_config *with_secret(const char *reader_id, const char *address, struct inbox *inbox,
                                                const replication_secret *secret)
{
    replication_receiver_config *config = receiver_config_for(reader_id, address, inbox);
    CHECK_OK(receiver_config_set_secret(config, secret));
    CHECK_OK(receiver_config_set_plain_secrets_allowed(config, true));
    return config;
}

static void wait_refused(struct events *events)
{
    WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_REFUSED, REPLICATION_STATUS_NOT_AUTHORIZED) > 0);
}

TEST(secrets_are_checked_when_they_are_made)
{
    replication_secret *secret = NULL;
    CHECK_ERROR(replication_secret_from_bytes(NULL, "n", RANDOM, 32, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "cluster");
    CHECK_ERROR(replication_secret_from_bytes("", NULL, RANDOM, 32, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "name");
    CHECK_ERROR(replication_secret_from_bytes("", "n", NULL, 32, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "secret");
    CHECK_ERROR(replication_secret_from_bytes("", "n", RANDOM, 32, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "out");
    CHECK_INVALID(replication_secret_from_bytes("\xff", "n", RANDOM, 32, &secret));
    CHECK_INVALID(replication_secret_from_bytes("", "\xff", RANDOM, 32, &secret));
    CHECK_INVALID(replication_secret_from_bytes("", "", RANDOM, 32, &secret));
    CHECK_ERROR(replication_secret_from_bytes("", "a\nb", RANDOM, 32, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "name");
    CHECK_ERROR(replication_secret_from_bytes("", "n", RANDOM, 31, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "31 bytes");
    CHECK_ERROR(replication_secret_from_passphrase("", "n", RANDOM, 11, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "11 bytes");
    CHECK_ERROR(replication_secret_from_passphrase("", "n", NULL, 12, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "passphrase");
    CHECK_ERROR(replication_secret_from_file("", "n", NULL, false, false, &secret), REPLICATION_STATUS_INVALID_ARGUMENT,
                "file");
    CHECK_ERROR(replication_secret_from_file("", "n", "/nowhere/secret", false, false, &secret), REPLICATION_STATUS_IO,
                "/nowhere/secret");
    CHECK_ERROR(replication_secret_from_file("", "n", secret_file(RANDOM, 33, 0644), false, false, &secret),
                REPLICATION_STATUS_INVALID_ARGUMENT, "chmod o-r");
    CHECK_ERROR(replication_secret_from_file("", "n", secret_file("", 0, 0600), false, false, &secret),
                REPLICATION_STATUS_INVALID_ARGUMENT, "0 bytes");
    CHECK(secret == NULL);
    CHECK_OK(replication_secret_from_file("", "n", secret_file(RANDOM, 33, 0644), false, true, &secret));
    replication_secret_free(secret);
    replication_secret_free(NULL);

    replication_sender_config *sender_config = sender_config_new();
    CHECK_ERROR(sender_config_add_secret(NULL, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "config");
    CHECK_ERROR(sender_config_add_secret(sender_config, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "secret is NULL");
    CHECK_INVALID(sender_config_set_plain_secrets_allowed(NULL, true));
    secret = secret_of(1);
    CHECK_OK(sender_config_add_secret(sender_config, secret));
    CHECK_OK(sender_config_add_secret(sender_config, secret));
    CHECK_ERROR(sender_config_add_secret(sender_config, secret), REPLICATION_STATUS_INVALID_STATE, "readers");
    sender_config_free(sender_config);
    CHECK_INVALID(receiver_config_set_secret(NULL, secret));
    CHECK_INVALID(receiver_config_set_plain_secrets_allowed(NULL, true));
    CHECK_INVALID(receiver_set_secret(NULL, secret));
    replication_secret_free(secret);
}

/* Both ends make the secret in their own way, and free it when it was given. */
TEST(both_ends_prove_a_secret)
{
    static const uint8_t phrase[] = "correct horse battery";
    const size_t phrase_len = sizeof phrase - 1;
    for (int is_passphrase = 0; is_passphrase < 2; is_passphrase++) {
        replication_secret *secret = NULL;
        if (is_passphrase)
            CHECK_OK(replication_secret_from_passphrase("cluster", "readers", phrase, phrase_len, &secret));
        else
            CHECK_OK(replication_secret_from_bytes("cluster", "readers", RANDOM, 32, &secret));
        replication_sender_config *config = proving(secret);
        replication_secret_free(secret);
        replication_sender *sender = start_sender(config);
        const char *path = is_passphrase ? secret_file(phrase, phrase_len, 0600) : secret_file(RANDOM, 33, 0600);
        CHECK_OK(replication_secret_from_file("cluster", "readers", path, is_passphrase, false, &secret));
        struct inbox *inbox = inbox_new();
        replication_receiver_config *to = with_secret("reader", tcp_address(listen_tcp(sender)), inbox, secret);
        CHECK_OK(receiver_config_set_writer_identity(to, "secret:readers"));
        replication_secret_free(secret);
        replication_receiver *receiver = start_receiver(to);
        wait_for(receiver, replicate_text(sender, "one"));
        char *json = NULL;
        CHECK_OK(sender_stats_json(sender, &json));
        CHECK(json_is_string(json, "readers.0.identity", "secret:readers"));
        replication_string_free(json);
        receiver_free(receiver);
        sender_free(sender);
        inbox_free(inbox);
    }
}

TEST(p8_a_reader_without_the_secret_is_refused)
{
    replication_secret *known = secret_of(1);
    replication_secret *other = secret_of(2);
    struct events *at_sender = events_new();
    replication_sender_config *config = proving(known);
    sender_config_listen_to(config, at_sender);
    replication_sender *sender = start_sender(config);
    const uint16_t port = listen_tcp(sender);
    const replication_secret *given[] = {other, NULL};
    for (size_t i = 0; i < COUNT(given); i++) {
        struct inbox *inbox = inbox_new();
        struct events *events = events_new();
        replication_receiver_config *to = with_secret("reader", tcp_address(port), inbox, known);
        CHECK_OK(receiver_config_set_secret(to, given[i]));
        receiver_config_listen_to(to, events);
        replication_receiver *receiver = start_receiver(to);
        wait_refused(events);
        CHECK(!receiver_is_connected(receiver) && inbox_count(inbox) == 0);
        receiver_free(receiver);
        inbox_free(inbox);
        events_free(events);
    }
    wait_refused(at_sender);
    sender_free(sender);
    events_free(at_sender);
    replication_secret_free(known);
    replication_secret_free(other);
}

TEST(a_secret_takes_the_place_of_another)
{
    replication_secret *old = secret_of(1);
    replication_secret *new = secret_of(2);
    replication_sender *sender = start_sender(proving(old));
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    replication_receiver_config *config = with_secret("reader", tcp_address(listen_tcp(sender)), inbox, old);
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    wait_for(receiver, replicate_text(sender, "one"));
    CHECK_ERROR(sender_add_secret(sender, NULL), REPLICATION_STATUS_INVALID_ARGUMENT, "secret is NULL");
    CHECK_OK(sender_add_secret(sender, new));
    CHECK_ERROR(sender_add_secret(sender, new), REPLICATION_STATUS_INVALID_STATE, "readers");
    CHECK_OK(receiver_set_secret(receiver, new));
    CHECK_U64(events_count(events, REPLICATION_EVENT_KIND_DISCONNECTED), 0);
    CHECK_OK(sender_remove_secret(sender, "readers"));
    WAIT_UNTIL(events_with(events, REPLICATION_EVENT_KIND_DISCONNECTED, REPLICATION_STATUS_NOT_AUTHORIZED) > 0);
    wait_for(receiver, replicate_text(sender, "two"));
    CHECK_OK(receiver_set_secret(receiver, NULL));
    CHECK_OK(sender_remove_secret(sender, "readers"));
    wait_refused(events);
    CHECK_ERROR(sender_remove_secret(sender, "readers"), REPLICATION_STATUS_NOT_FOUND, "readers");
    CHECK_INVALID(sender_remove_secret(sender, NULL));
    CHECK_INVALID(sender_remove_secret(sender, "\xff"));
    CHECK_OK(receiver_stop(receiver));
    CHECK_STATUS(receiver_set_secret(receiver, new), REPLICATION_STATUS_CLOSED);
    CHECK_OK(sender_stop(sender));
    CHECK_STATUS(sender_add_secret(sender, new), REPLICATION_STATUS_CLOSED);
    CHECK_STATUS(sender_remove_secret(sender, "readers"), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
    replication_secret_free(old);
    replication_secret_free(new);
}

TEST(over_plain_tcp_both_hosts_allow_secrets)
{
    replication_secret *secret = secret_of(1);
    for (int at_sender = 0; at_sender < 2; at_sender++) {
        replication_sender_config *config = proving(secret);
        CHECK_OK(sender_config_set_plain_secrets_allowed(config, at_sender));
        replication_sender *sender = start_sender(config);
        struct inbox *inbox = inbox_new();
        struct events *events = events_new();
        replication_receiver_config *to = with_secret("reader", tcp_address(listen_tcp(sender)), inbox, secret);
        CHECK_OK(receiver_config_set_plain_secrets_allowed(to, !at_sender));
        receiver_config_listen_to(to, events);
        replication_receiver *receiver = start_receiver(to);
        wait_refused(events);
        receiver_free(receiver);

        char address[300];
        snprintf(address, sizeof address, "unix:%s", temp_path("socket"));
        CHECK_OK(sender_listen(sender, address, NULL));
        to = with_secret("local", address, inbox, secret);
        CHECK_OK(receiver_config_set_plain_secrets_allowed(to, false));
        receiver = start_receiver(to);
        wait_for(receiver, replicate_text(sender, "one"));
        receiver_free(receiver);
        sender_free(sender);
        inbox_free(inbox);
        events_free(events);
    }
    replication_secret_free(secret);
}

TEST_MAIN(CASE(secrets_are_checked_when_they_are_made), CASE(both_ends_prove_a_secret),
          CASE(p8_a_reader_without_the_secret_is_refused), CASE(a_secret_takes_the_place_of_another),
          CASE(over_plain_tcp_both_hosts_allow_secrets))
