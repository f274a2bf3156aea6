/* Options of senders and receivers from data: the name of a setter, and its arguments as JSON. */
#ifndef REPLICATION_TESTS_OPTIONS_H
#define REPLICATION_TESTS_OPTIONS_H

#include "../host.h"
#include "../json.h"

/* Calls the setters that the options name, up to the first that fails, and returns its status. The test fails when there is
 * no such setter. `token_named` gives the token of a name; paths are taken as lying in the test's temporary directory. */
typedef struct place (*token_lookup)(const char *name);
int32_t sender_options(replication_sender_config *config, struct json_object *options, token_lookup token_named);
int32_t receiver_options(replication_receiver_config *config, struct json_object *options, token_lookup token_named);

/* Makes a secret of a list: its cluster, its name, and a text with its bytes. */
int32_t secret_of(struct json_object *list, replication_secret **out);

/* The number of a constant such as ("ACK_LEVEL", "APPLIED"); -1 when there is none. */
int64_t constant(const char *enumeration, const char *name);

#endif
