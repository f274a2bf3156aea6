/* A way to each function through the table, as cgo calls no pointers. Made by "go generate". */

static inline const char *lr_replication_status_name(int32_t status)
{
    return lr_library.replication_status_name(status);
}

static inline const char *lr_replication_last_error_message(void)
{
    return lr_library.replication_last_error_message();
}

static inline void lr_replication_string_free(char *string)
{
    lr_library.replication_string_free(string);
}

static inline const char *lr_replication_version(void)
{
    return lr_library.replication_version();
}

static inline uint32_t lr_replication_version_number(void)
{
    return lr_library.replication_version_number();
}

static inline uint32_t lr_replication_abi_version(void)
{
    return lr_library.replication_abi_version();
}

static inline struct replication_sender_config *lr_sender_config_new(void)
{
    return lr_library.sender_config_new();
}

static inline void lr_sender_config_free(struct replication_sender_config *config)
{
    lr_library.sender_config_free(config);
}

static inline int32_t lr_sender_config_set_buffer_size(struct replication_sender_config *config, size_t entries)
{
    return lr_library.sender_config_set_buffer_size(config, entries);
}

static inline int32_t lr_sender_config_set_buffer_bytes(struct replication_sender_config *config, uint64_t bytes)
{
    return lr_library.sender_config_set_buffer_bytes(config, bytes);
}

static inline int32_t lr_sender_config_set_full_policy(struct replication_sender_config *config, uint32_t policy, uint64_t wait_ms)
{
    return lr_library.sender_config_set_full_policy(config, policy, wait_ms);
}

static inline int32_t lr_sender_config_set_write_timeout_ms(struct replication_sender_config *config, uint64_t timeout_ms)
{
    return lr_library.sender_config_set_write_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_sender_config_set_handshake_timeout_ms(struct replication_sender_config *config, uint64_t timeout_ms)
{
    return lr_library.sender_config_set_handshake_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_sender_config_set_heartbeat_interval_ms(struct replication_sender_config *config, uint64_t interval_ms)
{
    return lr_library.sender_config_set_heartbeat_interval_ms(config, interval_ms);
}

static inline int32_t lr_sender_config_set_min_heartbeat_ms(struct replication_sender_config *config, uint64_t interval_ms)
{
    return lr_library.sender_config_set_min_heartbeat_ms(config, interval_ms);
}

static inline int32_t lr_sender_config_set_peer_timeout_ms(struct replication_sender_config *config, uint64_t timeout_ms)
{
    return lr_library.sender_config_set_peer_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_sender_config_set_stop_timeout_ms(struct replication_sender_config *config, uint64_t timeout_ms)
{
    return lr_library.sender_config_set_stop_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_sender_config_set_max_readers(struct replication_sender_config *config, size_t readers)
{
    return lr_library.sender_config_set_max_readers(config, readers);
}

static inline int32_t lr_sender_config_set_unix_socket_mode(struct replication_sender_config *config, uint32_t mode)
{
    return lr_library.sender_config_set_unix_socket_mode(config, mode);
}

static inline int32_t lr_sender_config_set_io_threads(struct replication_sender_config *config, uint32_t threads)
{
    return lr_library.sender_config_set_io_threads(config, threads);
}

static inline int32_t lr_sender_config_set_stream(struct replication_sender_config *config, const uint8_t *stream_id, uint64_t epoch)
{
    return lr_library.sender_config_set_stream(config, stream_id, epoch);
}

static inline int32_t lr_sender_config_set_last_sequence(struct replication_sender_config *config, uint64_t sequence)
{
    return lr_library.sender_config_set_last_sequence(config, sequence);
}

static inline int32_t lr_sender_config_set_insecure_permissions_allowed(struct replication_sender_config *config, bool allowed)
{
    return lr_library.sender_config_set_insecure_permissions_allowed(config, allowed);
}

static inline int32_t lr_sender_config_set_tls(struct replication_sender_config *config, const char *certificate_chain_file, const char *private_key_file, const char *client_ca_file)
{
    return lr_library.sender_config_set_tls(config, certificate_chain_file, private_key_file, client_ca_file);
}

static inline int32_t lr_sender_config_set_event_handler(struct replication_sender_config *config, replication_event_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.sender_config_set_event_handler(config, handler, user_data, user_data_free);
}

static inline int32_t lr_sender_config_set_log_handler(struct replication_sender_config *config, int32_t max_level, replication_log_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.sender_config_set_log_handler(config, max_level, handler, user_data, user_data_free);
}

static inline int32_t lr_sender_config_add_group(struct replication_sender_config *config, const char *name, const char *const *reader_ids, size_t count)
{
    return lr_library.sender_config_add_group(config, name, reader_ids, count);
}

static inline int32_t lr_sender_config_set_write_gate(struct replication_sender_config *config, size_t min_readers, uint64_t max_lag_entries, uint64_t max_lag_ms, uint32_t level, uint32_t policy, uint64_t max_wait_ms)
{
    return lr_library.sender_config_set_write_gate(config, min_readers, max_lag_entries, max_lag_ms, level, policy, max_wait_ms);
}

static inline int32_t lr_sender_config_set_max_pending_acks(struct replication_sender_config *config, size_t calls)
{
    return lr_library.sender_config_set_max_pending_acks(config, calls);
}

static inline int32_t lr_sender_new(const struct replication_sender_config *config, struct replication_sender **out)
{
    return lr_library.sender_new(config, out);
}

static inline int32_t lr_sender_start(struct replication_sender *sender)
{
    return lr_library.sender_start(sender);
}

static inline int32_t lr_sender_listen(struct replication_sender *sender, const char *address, uint16_t *out_port)
{
    return lr_library.sender_listen(sender, address, out_port);
}

static inline int32_t lr_sender_accept_reader(struct replication_sender *sender, int fd, const char *reader_id, uint64_t last_known_sequence)
{
    return lr_library.sender_accept_reader(sender, fd, reader_id, last_known_sequence);
}

static inline int32_t lr_sender_accept_connection(struct replication_sender *sender, int fd)
{
    return lr_library.sender_accept_connection(sender, fd);
}

static inline int32_t lr_sender_replicate(struct replication_sender *sender, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len, uint64_t *out_sequence)
{
    return lr_library.sender_replicate(sender, timestamp_us, payload, payload_len, out_sequence);
}

static inline int32_t lr_sender_replicate_batch(struct replication_sender *sender, uint64_t timestamp_us, const struct replication_slice *payloads, size_t count, uint64_t *out_first_sequence)
{
    return lr_library.sender_replicate_batch(sender, timestamp_us, payloads, count, out_first_sequence);
}

static inline int32_t lr_sender_remove_reader(struct replication_sender *sender, const char *reader_id)
{
    return lr_library.sender_remove_reader(sender, reader_id);
}

static inline size_t lr_sender_reader_count(const struct replication_sender *sender)
{
    return lr_library.sender_reader_count(sender);
}

static inline uint64_t lr_sender_current_sequence(const struct replication_sender *sender)
{
    return lr_library.sender_current_sequence(sender);
}

static inline int32_t lr_sender_get_stream(const struct replication_sender *sender, uint8_t *out_stream_id, uint64_t *out_epoch)
{
    return lr_library.sender_get_stream(sender, out_stream_id, out_epoch);
}

static inline int32_t lr_sender_set_writable(struct replication_sender *sender, bool writable)
{
    return lr_library.sender_set_writable(sender, writable);
}

static inline int32_t lr_sender_stats_json(const struct replication_sender *sender, char **out_json)
{
    return lr_library.sender_stats_json(sender, out_json);
}

static inline int32_t lr_sender_stop(struct replication_sender *sender)
{
    return lr_library.sender_stop(sender);
}

static inline void lr_sender_free(struct replication_sender *sender)
{
    lr_library.sender_free(sender);
}

static inline struct replication_quorum *lr_replication_quorum_new(void)
{
    return lr_library.replication_quorum_new();
}

static inline int32_t lr_replication_quorum_add(struct replication_quorum *quorum, const char *group, size_t readers)
{
    return lr_library.replication_quorum_add(quorum, group, readers);
}

static inline void lr_replication_quorum_free(struct replication_quorum *quorum)
{
    lr_library.replication_quorum_free(quorum);
}

static inline int32_t lr_sender_wait_acked(struct replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers, uint64_t timeout_ms, size_t *out_readers)
{
    return lr_library.sender_wait_acked(sender, sequence, level, readers, timeout_ms, out_readers);
}

static inline int32_t lr_sender_wait_acked_quorum(struct replication_sender *sender, uint64_t sequence, uint32_t level, const struct replication_quorum *quorum, uint64_t timeout_ms, size_t *out_readers)
{
    return lr_library.sender_wait_acked_quorum(sender, sequence, level, quorum, timeout_ms, out_readers);
}

static inline int32_t lr_sender_acked(const struct replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers, size_t *out_readers)
{
    return lr_library.sender_acked(sender, sequence, level, readers, out_readers);
}

static inline int32_t lr_sender_acked_quorum(const struct replication_sender *sender, uint64_t sequence, uint32_t level, const struct replication_quorum *quorum, size_t *out_readers)
{
    return lr_library.sender_acked_quorum(sender, sequence, level, quorum, out_readers);
}

static inline int32_t lr_sender_on_acked(struct replication_sender *sender, uint64_t sequence, uint32_t level, size_t readers, uint64_t timeout_ms, replication_acked_fn callback, void *user_data, replication_free_fn user_data_free, uint64_t *out_ticket)
{
    return lr_library.sender_on_acked(sender, sequence, level, readers, timeout_ms, callback, user_data, user_data_free, out_ticket);
}

static inline int32_t lr_sender_on_acked_quorum(struct replication_sender *sender, uint64_t sequence, uint32_t level, const struct replication_quorum *quorum, uint64_t timeout_ms, replication_acked_fn callback, void *user_data, replication_free_fn user_data_free, uint64_t *out_ticket)
{
    return lr_library.sender_on_acked_quorum(sender, sequence, level, quorum, timeout_ms, callback, user_data, user_data_free, out_ticket);
}

static inline int32_t lr_sender_ticket_status(const struct replication_sender *sender, uint64_t ticket, size_t *out_readers)
{
    return lr_library.sender_ticket_status(sender, ticket, out_readers);
}

static inline int32_t lr_sender_config_set_log_dir(struct replication_sender_config *config, const char *path)
{
    return lr_library.sender_config_set_log_dir(config, path);
}

static inline int32_t lr_sender_config_set_log_sync(struct replication_sender_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes)
{
    return lr_library.sender_config_set_log_sync(config, policy, interval_ms, bytes);
}

static inline int32_t lr_sender_config_set_log_segment_bytes(struct replication_sender_config *config, uint64_t bytes)
{
    return lr_library.sender_config_set_log_segment_bytes(config, bytes);
}

static inline int32_t lr_sender_config_set_log_retain_bytes(struct replication_sender_config *config, uint64_t bytes)
{
    return lr_library.sender_config_set_log_retain_bytes(config, bytes);
}

static inline int32_t lr_sender_config_set_log_retain_ms(struct replication_sender_config *config, uint64_t age_ms)
{
    return lr_library.sender_config_set_log_retain_ms(config, age_ms);
}

static inline int32_t lr_sender_config_set_slot_max_bytes(struct replication_sender_config *config, uint64_t bytes)
{
    return lr_library.sender_config_set_slot_max_bytes(config, bytes);
}

static inline int32_t lr_sender_config_set_slot_expiry_ms(struct replication_sender_config *config, uint64_t expiry_ms)
{
    return lr_library.sender_config_set_slot_expiry_ms(config, expiry_ms);
}

static inline int32_t lr_sender_config_set_log_timeout_ms(struct replication_sender_config *config, uint64_t timeout_ms)
{
    return lr_library.sender_config_set_log_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_sender_config_set_token(struct replication_sender_config *config, const uint8_t *token, uint64_t epoch)
{
    return lr_library.sender_config_set_token(config, token, epoch);
}

static inline int32_t lr_sender_get_token(const struct replication_sender *sender, uint8_t *out_token)
{
    return lr_library.sender_get_token(sender, out_token);
}

static inline int32_t lr_sender_wait_durable(struct replication_sender *sender, uint64_t sequence, uint64_t timeout_ms)
{
    return lr_library.sender_wait_durable(sender, sequence, timeout_ms);
}

static inline int32_t lr_sender_slots_json(const struct replication_sender *sender, char **out_json)
{
    return lr_library.sender_slots_json(sender, out_json);
}

static inline int32_t lr_sender_drop_slot(struct replication_sender *sender, const char *reader_id)
{
    return lr_library.sender_drop_slot(sender, reader_id);
}

static inline struct replication_receiver_config *lr_receiver_config_new(void)
{
    return lr_library.receiver_config_new();
}

static inline void lr_receiver_config_free(struct replication_receiver_config *config)
{
    lr_library.receiver_config_free(config);
}

static inline int32_t lr_receiver_config_set_reader_id(struct replication_receiver_config *config, const char *reader_id)
{
    return lr_library.receiver_config_set_reader_id(config, reader_id);
}

static inline int32_t lr_receiver_config_set_writer_addr(struct replication_receiver_config *config, const char *writer_addr)
{
    return lr_library.receiver_config_set_writer_addr(config, writer_addr);
}

static inline int32_t lr_receiver_config_set_last_sequence(struct replication_receiver_config *config, uint64_t sequence)
{
    return lr_library.receiver_config_set_last_sequence(config, sequence);
}

static inline int32_t lr_receiver_config_set_stream(struct replication_receiver_config *config, const uint8_t *stream_id, uint64_t epoch)
{
    return lr_library.receiver_config_set_stream(config, stream_id, epoch);
}

static inline int32_t lr_receiver_config_set_protocol(struct replication_receiver_config *config, uint32_t protocol)
{
    return lr_library.receiver_config_set_protocol(config, protocol);
}

static inline int32_t lr_receiver_config_set_coordinator_handshake(struct replication_receiver_config *config, bool enabled)
{
    return lr_library.receiver_config_set_coordinator_handshake(config, enabled);
}

static inline int32_t lr_receiver_config_set_gap_policy(struct replication_receiver_config *config, uint32_t policy)
{
    return lr_library.receiver_config_set_gap_policy(config, policy);
}

static inline int32_t lr_receiver_config_set_apply_policy(struct replication_receiver_config *config, uint32_t policy, uint32_t retries)
{
    return lr_library.receiver_config_set_apply_policy(config, policy, retries);
}

static inline int32_t lr_receiver_config_set_handler_durable(struct replication_receiver_config *config, bool durable)
{
    return lr_library.receiver_config_set_handler_durable(config, durable);
}

static inline int32_t lr_receiver_config_set_reconnect_interval_ms(struct replication_receiver_config *config, uint64_t interval_ms)
{
    return lr_library.receiver_config_set_reconnect_interval_ms(config, interval_ms);
}

static inline int32_t lr_receiver_config_set_ack_interval_ms(struct replication_receiver_config *config, uint64_t interval_ms)
{
    return lr_library.receiver_config_set_ack_interval_ms(config, interval_ms);
}

static inline int32_t lr_receiver_config_set_connect_timeout_ms(struct replication_receiver_config *config, uint64_t timeout_ms)
{
    return lr_library.receiver_config_set_connect_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_receiver_config_set_heartbeat_interval_ms(struct replication_receiver_config *config, uint64_t interval_ms)
{
    return lr_library.receiver_config_set_heartbeat_interval_ms(config, interval_ms);
}

static inline int32_t lr_receiver_config_set_peer_timeout_ms(struct replication_receiver_config *config, uint64_t timeout_ms)
{
    return lr_library.receiver_config_set_peer_timeout_ms(config, timeout_ms);
}

static inline int32_t lr_receiver_config_set_buffer_bytes(struct replication_receiver_config *config, uint64_t bytes)
{
    return lr_library.receiver_config_set_buffer_bytes(config, bytes);
}

static inline int32_t lr_receiver_config_set_max_epoch_jump(struct replication_receiver_config *config, uint64_t jump)
{
    return lr_library.receiver_config_set_max_epoch_jump(config, jump);
}

static inline int32_t lr_receiver_config_set_insecure_permissions_allowed(struct replication_receiver_config *config, bool allowed)
{
    return lr_library.receiver_config_set_insecure_permissions_allowed(config, allowed);
}

static inline int32_t lr_receiver_config_set_tls(struct replication_receiver_config *config, const char *ca_file, const char *server_name, const char *certificate_chain_file, const char *private_key_file)
{
    return lr_library.receiver_config_set_tls(config, ca_file, server_name, certificate_chain_file, private_key_file);
}

static inline int32_t lr_receiver_config_set_ingest_handler(struct replication_receiver_config *config, replication_ingest_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_ingest_handler(config, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_ingest_batch_handler(struct replication_receiver_config *config, size_t max_entries, replication_ingest_batch_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_ingest_batch_handler(config, max_entries, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_record_handler(struct replication_receiver_config *config, replication_record_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_record_handler(config, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_local_wal(struct replication_receiver_config *config, replication_ingest_fn append, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_local_wal(config, append, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_connect_handler(struct replication_receiver_config *config, replication_connect_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_connect_handler(config, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_event_handler(struct replication_receiver_config *config, replication_event_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_event_handler(config, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_log_handler(struct replication_receiver_config *config, int32_t max_level, replication_log_fn handler, void *user_data, replication_free_fn user_data_free)
{
    return lr_library.receiver_config_set_log_handler(config, max_level, handler, user_data, user_data_free);
}

static inline int32_t lr_receiver_config_set_max_entry_bytes(struct replication_receiver_config *config, uint64_t max_bytes)
{
    return lr_library.receiver_config_set_max_entry_bytes(config, max_bytes);
}

static inline int32_t lr_receiver_config_set_records_max_bytes(struct replication_receiver_config *config, uint64_t max_bytes)
{
    return lr_library.receiver_config_set_records_max_bytes(config, max_bytes);
}

static inline int32_t lr_receiver_new(const struct replication_receiver_config *config, struct replication_receiver **out)
{
    return lr_library.receiver_new(config, out);
}

static inline int32_t lr_receiver_start(struct replication_receiver *receiver)
{
    return lr_library.receiver_start(receiver);
}

static inline bool lr_receiver_is_connected(const struct replication_receiver *receiver)
{
    return lr_library.receiver_is_connected(receiver);
}

static inline uint64_t lr_receiver_last_sequence(const struct replication_receiver *receiver)
{
    return lr_library.receiver_last_sequence(receiver);
}

static inline int32_t lr_receiver_get_stream(const struct replication_receiver *receiver, uint8_t *out_stream_id, uint64_t *out_epoch)
{
    return lr_library.receiver_get_stream(receiver, out_stream_id, out_epoch);
}

static inline int32_t lr_receiver_wait_sequence(struct replication_receiver *receiver, uint64_t sequence, uint64_t timeout_ms)
{
    return lr_library.receiver_wait_sequence(receiver, sequence, timeout_ms);
}

static inline int32_t lr_receiver_pause(struct replication_receiver *receiver)
{
    return lr_library.receiver_pause(receiver);
}

static inline int32_t lr_receiver_resume(struct replication_receiver *receiver)
{
    return lr_library.receiver_resume(receiver);
}

static inline int32_t lr_receiver_stats_json(const struct replication_receiver *receiver, char **out_json)
{
    return lr_library.receiver_stats_json(receiver, out_json);
}

static inline int32_t lr_receiver_stop(struct replication_receiver *receiver)
{
    return lr_library.receiver_stop(receiver);
}

static inline void lr_receiver_free(struct replication_receiver *receiver)
{
    lr_library.receiver_free(receiver);
}

static inline int32_t lr_receiver_config_set_log_dir(struct replication_receiver_config *config, const char *path)
{
    return lr_library.receiver_config_set_log_dir(config, path);
}

static inline int32_t lr_receiver_config_set_log_sync(struct replication_receiver_config *config, uint32_t policy, uint64_t interval_ms, uint64_t bytes)
{
    return lr_library.receiver_config_set_log_sync(config, policy, interval_ms, bytes);
}

static inline int32_t lr_receiver_config_set_log_segment_bytes(struct replication_receiver_config *config, uint64_t bytes)
{
    return lr_library.receiver_config_set_log_segment_bytes(config, bytes);
}

static inline int32_t lr_receiver_config_set_log_retain_bytes(struct replication_receiver_config *config, uint64_t bytes)
{
    return lr_library.receiver_config_set_log_retain_bytes(config, bytes);
}

static inline int32_t lr_receiver_config_set_log_retain_ms(struct replication_receiver_config *config, uint64_t age_ms)
{
    return lr_library.receiver_config_set_log_retain_ms(config, age_ms);
}

static inline int32_t lr_receiver_config_set_token(struct replication_receiver_config *config, const uint8_t *token)
{
    return lr_library.receiver_config_set_token(config, token);
}

static inline int32_t lr_receiver_get_token(const struct replication_receiver *receiver, uint8_t *out_token)
{
    return lr_library.receiver_get_token(receiver, out_token);
}

static inline int32_t lr_replication_read_message(const uint8_t *buffer, size_t buffer_len, uint8_t *out_type, const uint8_t **out_payload, size_t *out_payload_len, size_t *out_consumed)
{
    return lr_library.replication_read_message(buffer, buffer_len, out_type, out_payload, out_payload_len, out_consumed);
}

static inline int32_t lr_replication_write_message(uint8_t type, const uint8_t *payload, size_t payload_len, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_message(type, payload, payload_len, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_write_entry(uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t payload_len, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_entry(sequence, timestamp_us, payload, payload_len, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_write_ack(uint64_t last_sequence, const char *reader_id, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_ack(last_sequence, reader_id, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_write_sync(const char *reader_id, uint64_t last_known_sequence, bool coordinator, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_sync(reader_id, last_known_sequence, coordinator, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_write_sync_ack(uint64_t current_sequence, bool can_resume, const char *error, bool coordinator, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_sync_ack(current_sequence, can_resume, error, coordinator, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_write_error(const char *code, const char *message, uint8_t *buffer, size_t buffer_cap, size_t *out_len)
{
    return lr_library.replication_write_error(code, message, buffer, buffer_cap, out_len);
}

static inline int32_t lr_replication_parse_entry(const uint8_t *json, size_t json_len, uint64_t *out_sequence, uint64_t *out_timestamp_us, uint8_t *payload, size_t payload_cap, size_t *out_payload_len)
{
    return lr_library.replication_parse_entry(json, json_len, out_sequence, out_timestamp_us, payload, payload_cap, out_payload_len);
}

static inline int32_t lr_replication_parse_ack(const uint8_t *json, size_t json_len, uint64_t *out_last_sequence, char *reader_id, size_t reader_id_cap, size_t *out_reader_id_len)
{
    return lr_library.replication_parse_ack(json, json_len, out_last_sequence, reader_id, reader_id_cap, out_reader_id_len);
}

static inline int32_t lr_replication_parse_sync(const uint8_t *json, size_t json_len, uint64_t *out_last_known_sequence, char *reader_id, size_t reader_id_cap, size_t *out_reader_id_len)
{
    return lr_library.replication_parse_sync(json, json_len, out_last_known_sequence, reader_id, reader_id_cap, out_reader_id_len);
}

static inline int32_t lr_replication_parse_sync_ack(const uint8_t *json, size_t json_len, uint64_t *out_current_sequence, bool *out_can_resume, char *error, size_t error_cap, size_t *out_error_len)
{
    return lr_library.replication_parse_sync_ack(json, json_len, out_current_sequence, out_can_resume, error, error_cap, out_error_len);
}

static inline int32_t lr_replication_parse_error(const uint8_t *json, size_t json_len, char *code, size_t code_cap, size_t *out_code_len, char *message, size_t message_cap, size_t *out_message_len)
{
    return lr_library.replication_parse_error(json, json_len, code, code_cap, out_code_len, message, message_cap, out_message_len);
}

static inline int32_t lr_replication_records_parse(const uint8_t *payload, size_t payload_len, struct replication_records **out)
{
    return lr_library.replication_records_parse(payload, payload_len, out);
}

static inline int32_t lr_replication_records_parse_within(const uint8_t *payload, size_t payload_len, uint64_t max_bytes, struct replication_records **out)
{
    return lr_library.replication_records_parse_within(payload, payload_len, max_bytes, out);
}

static inline void lr_replication_records_free(struct replication_records *records)
{
    lr_library.replication_records_free(records);
}

static inline size_t lr_replication_records_count(const struct replication_records *records)
{
    return lr_library.replication_records_count(records);
}

static inline int32_t lr_replication_records_get(const struct replication_records *records, size_t row, const char *key, const struct replication_value **out)
{
    return lr_library.replication_records_get(records, row, key, out);
}

static inline int32_t lr_replication_records_row(const struct replication_records *records, size_t row, const struct replication_value **out)
{
    return lr_library.replication_records_row(records, row, out);
}

static inline int32_t lr_replication_records_json(const struct replication_records *records, const char **out_json, size_t *out_len)
{
    return lr_library.replication_records_json(records, out_json, out_len);
}

static inline int32_t lr_replication_value_type_of(const struct replication_value *value)
{
    return lr_library.replication_value_type_of(value);
}

static inline int32_t lr_replication_value_bool(const struct replication_value *value, bool *out)
{
    return lr_library.replication_value_bool(value, out);
}

static inline int32_t lr_replication_value_i64(const struct replication_value *value, int64_t *out)
{
    return lr_library.replication_value_i64(value, out);
}

static inline int32_t lr_replication_value_u64(const struct replication_value *value, uint64_t *out)
{
    return lr_library.replication_value_u64(value, out);
}

static inline int32_t lr_replication_value_f64(const struct replication_value *value, double *out)
{
    return lr_library.replication_value_f64(value, out);
}

static inline int32_t lr_replication_value_string(const struct replication_value *value, const char **out, size_t *out_len)
{
    return lr_library.replication_value_string(value, out, out_len);
}

static inline int32_t lr_replication_value_bytes(const struct replication_value *value, const uint8_t **out, size_t *out_len)
{
    return lr_library.replication_value_bytes(value, out, out_len);
}

static inline int32_t lr_replication_value_ext_type(const struct replication_value *value, int8_t *out)
{
    return lr_library.replication_value_ext_type(value, out);
}

static inline size_t lr_replication_value_count(const struct replication_value *value)
{
    return lr_library.replication_value_count(value);
}

static inline int32_t lr_replication_value_at(const struct replication_value *value, size_t index, const struct replication_value **out)
{
    return lr_library.replication_value_at(value, index, out);
}

static inline int32_t lr_replication_value_key_at(const struct replication_value *value, size_t index, const struct replication_value **out)
{
    return lr_library.replication_value_key_at(value, index, out);
}

static inline int32_t lr_replication_value_get(const struct replication_value *value, const char *key, const struct replication_value **out)
{
    return lr_library.replication_value_get(value, key, out);
}

