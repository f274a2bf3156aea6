/* A writer and a reader in one process, in the part of C that is C++ too: built against an installed library by the test of
 * the packages. Prints the version and what the reader was handed. */
#include <replication.h>
#include <stdio.h>
#include <stdlib.h>

static void check(replication_status status)
{
    if (status != REPLICATION_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", replication_status_name(status), replication_last_error_message());
        exit(EXIT_FAILURE);
    }
}

static int32_t apply(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                     size_t payload_len)
{
    (void)user_data;
    (void)timestamp_us;
    return printf("%d: %.*s\n", (int)sequence, (int)payload_len, (const char *)payload) < 0;
}

int main(void)
{
    if (replication_abi_version() != REPLICATION_ABI_VERSION ||
        replication_version_number() != REPLICATION_VERSION_NUMBER) {
        fprintf(stderr, "the library is of version %s, its header is not\n", replication_version());
        return EXIT_FAILURE;
    }
    printf("libreplication %s\n", replication_version());

    replication_sender *sender = NULL;
    uint16_t port = 0;
    check(sender_new(NULL, &sender));
    check(sender_start(sender));
    check(sender_listen(sender, "127.0.0.1:0", &port));
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);

    replication_receiver_config *config = receiver_config_new();
    replication_receiver *receiver = NULL;
    check(receiver_config_set_reader_id(config, "reader"));
    check(receiver_config_set_writer_addr(config, address));
    check(receiver_config_set_ingest_handler(config, apply, NULL, NULL));
    check(receiver_new(config, &receiver));
    receiver_config_free(config);
    check(receiver_start(receiver));

    uint64_t sequence = 0;
    check(sender_replicate(sender, 0, (const uint8_t *)"insert", 6, &sequence));
    check(receiver_wait_sequence(receiver, sequence, 30000));
    receiver_free(receiver);
    sender_free(sender);
    return EXIT_SUCCESS;
}
