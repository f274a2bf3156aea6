/* How the example programs print what the library reports. */
#ifndef EXAMPLES_REPORT_H
#define EXAMPLES_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <replication.h>

/* Returns true for OK. Otherwise prints what failed, with the status and the library's error text. */
bool succeeded(replication_status status, const char *what);

/* Event and log handlers that print one line to stderr for each call. They do not use user_data. */
void print_event(void *user_data, const replication_event *event);
void print_log(void *user_data, int32_t level, const char *message, const char *fields_json);

#endif
