/* A writer of any payloads, for the tests of the example programs: replicates each argument as one entry (as bytes; an
 * argument that begins with "hex:" in hexadecimal), prints its port and stays until it is told to end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <replication.h>

#include "../../examples-c/common.h"
#include "../../examples-c/report.h"

static bool replicate(replication_sender *sender, uint64_t timestamp_us, const char *argument)
{
    uint8_t bytes[4096];
    size_t length = strlen(argument);
    bool hex = strncmp(argument, "hex:", 4) == 0;
    if (length > sizeof bytes)
        usage_error("'%.20s...' is too long", argument);
    if (hex)
        argument += 4;
    if (hex) {
        length = strlen(argument) / 2;
        for (size_t i = 0; i < length; i++) {
            const char digits[] = {argument[2 * i], argument[2 * i + 1], '\0'};
            bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
    } else {
        memcpy(bytes, argument, length);
    }
    return succeeded(sender_replicate(sender, timestamp_us, bytes, length, NULL), "replicate");
}

int main(int argc, char **argv)
{
    common_init("payloads");
    if (!stop_init())
        return EXIT_FAILURE;
    replication_sender *sender = NULL;
    uint16_t port = 0;
    bool done = succeeded(sender_new(NULL, &sender), "make the sender") &&
                succeeded(sender_start(sender), "start the sender") &&
                succeeded(sender_listen(sender, "127.0.0.1:0", &port), "listen");
    for (int i = 1; done && i < argc; i++)
        done = replicate(sender, 1000 + (uint64_t)i, argv[i]);
    if (done) {
        printf("{\"event\":\"listening\",\"address\":\"127.0.0.1:%u\"}\n", (unsigned)port);
        fflush(stdout);
        while (!stop_wait(60 * 1000000))
            continue;
    }
    sender_free(sender);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
