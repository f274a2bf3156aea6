/* The conversation between the driver and a child: lines on the child's standard input and output.
 *
 *   writer: "port N" · "ready" (all readers are attached)        · "result k=v ..."
 *   reader:            "ready" (its readers are attached)        · "result k=v ..."
 *   driver:                                    "go" (to writer)  ·                  · "quit" (to both)
 *
 * Where the reader is who begins, it says "ready" before it connects, and hears "go" as well.
 */
#ifndef BENCH_CONTROL_H
#define BENCH_CONTROL_H

#include <stdbool.h>

void control_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Waits for the line `word`; ends the process when the driver says anything else or is gone. */
void control_expect(const char *word);

#endif
