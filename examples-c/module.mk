# The example programs, the demo and their test.

EXAMPLE_PROGRAMS := $(B)/bin/writer $(B)/bin/reader $(B)/bin/tap

# The library for msgpack in C is named msgpackc in older systems and msgpack-c in newer ones. Asked for when needed only.
MSGPACK_PC = $(shell pkg-config --exists msgpack-c && echo msgpack-c || echo msgpack)
MSGPACK_CFLAGS = $(shell pkg-config --cflags $(MSGPACK_PC))
MSGPACK_LIBS = $(shell pkg-config --libs $(MSGPACK_PC))
SQLITE_CFLAGS = $(shell pkg-config --cflags sqlite3)
SQLITE_LIBS = $(shell pkg-config --libs sqlite3)

EXAMPLE_HEADERS := include/replication.h $(wildcard examples-c/*.h)

$(B)/bin/writer: examples-c/writer.c examples-c/counters.c examples-c/common.c examples-c/report.c $(EXAMPLE_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(MSGPACK_CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS) $(MSGPACK_LIBS)

$(B)/bin/reader: examples-c/reader.c examples-c/store.c examples-c/common.c examples-c/report.c $(EXAMPLE_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -pthread $(SQLITE_CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS) $(SQLITE_LIBS)

$(B)/bin/tap: examples-c/tap.c examples-c/common.c examples-c/report.c $(EXAMPLE_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS)

# The demo drives the programs from outside and links nothing of the library.
$(B)/bin/demo: examples-c/demo.c examples-c/process.c examples-c/proof.c examples-c/table.c examples-c/common.c $(EXAMPLE_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(SQLITE_CFLAGS) -o $@ $(filter %.c,$^) $(SQLITE_LIBS)

examples: $(EXAMPLE_PROGRAMS) $(B)/bin/demo

demo: examples
	@$(B)/bin/demo

# A writer for the tests alone.
$(B)/bin/payloads: tests/examples/payloads.c examples-c/common.c examples-c/report.c $(EXAMPLE_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS)

test-examples: examples $(B)/bin/payloads
	tests/examples.sh $(B)/bin

.PHONY: examples demo test-examples
