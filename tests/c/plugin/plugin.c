/* A plugin that starts handles while it is loaded. */
#include "replication.h"

static int32_t take(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t len)
{
    (void)user_data, (void)sequence, (void)timestamp_us, (void)payload, (void)len;
    return 0;
}

int32_t plugin_sender_started = -1, plugin_receiver_started = -1;
replication_sender *plugin_sender;
replication_receiver *plugin_receiver;

__attribute__((constructor)) static void start(void)
{
    replication_sender_config *config = sender_config_new();
    if (sender_new(config, &plugin_sender) == REPLICATION_STATUS_OK)
        plugin_sender_started = sender_start(plugin_sender);
    sender_config_free(config);

    replication_receiver_config *following = receiver_config_new();
    receiver_config_set_reader_id(following, "plugin");
    receiver_config_set_writer_addr(following, "127.0.0.1:1");
    receiver_config_set_ingest_handler(following, take, NULL, NULL);
    if (receiver_new(following, &plugin_receiver) == REPLICATION_STATUS_OK)
        plugin_receiver_started = receiver_start(plugin_receiver);
    receiver_config_free(following);
}
