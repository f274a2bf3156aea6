/* The callbacks that Go implements. C keeps the number of a cgo.Handle instead of a Go pointer. */
#ifndef LR_CALLBACKS_H
#define LR_CALLBACKS_H

#include "library.h"

int32_t lr_set_sender_event_handler(struct replication_sender_config *config, uintptr_t handle);
int32_t lr_set_authorize_handler(struct replication_sender_config *config, uintptr_t handle);
int32_t lr_set_sender_log_handler(struct replication_sender_config *config, int32_t max_level, uintptr_t handle);
int32_t lr_set_receiver_event_handler(struct replication_receiver_config *config, uintptr_t handle);
int32_t lr_set_receiver_log_handler(struct replication_receiver_config *config, int32_t max_level, uintptr_t handle);
int32_t lr_set_ingest_handler(struct replication_receiver_config *config, uintptr_t handle);
int32_t lr_set_ingest_batch_handler(struct replication_receiver_config *config, size_t max_entries, uintptr_t handle);
int32_t lr_set_record_handler(struct replication_receiver_config *config, uintptr_t handle);
int32_t lr_set_local_wal(struct replication_receiver_config *config, uintptr_t handle);
int32_t lr_set_connect_handler(struct replication_receiver_config *config, uintptr_t handle);

int32_t lr_on_acked(struct replication_sender *sender, const uint8_t *token, size_t token_len, uint32_t level,
                    const struct replication_quorum *quorum, uint64_t timeout_ms, uintptr_t handle);

/* The handle of the callback that runs on this thread; 0 outside of callbacks. */
uintptr_t lr_current_handle(void);

#endif
