/* How the example programs tell of what the library reports. */
#ifndef EXAMPLES_REPORT_H
#define EXAMPLES_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <replication.h>

/* True for OK. Otherwise says what failed, with the status and the library's text of the failure. */
bool succeeded(replication_status status, const char *what);

/* Handlers for sender_config_set_event_handler and its like: one line to stderr each. user_data is not used. */
void print_event(void *user_data, const replication_event *event);
void print_log(void *user_data, int32_t level, const char *message, const char *fields_json);

#endif
