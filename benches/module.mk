# The benchmark: `make bench`, with options in BENCH_ARGS (`make bench BENCH_ARGS='--case 256b-1 --rounds 3'`).
BENCH_SOURCES := $(wildcard benches/*.c)
BENCH_OBJECTS := $(BENCH_SOURCES:benches/%.c=$(B)/benches/%.o)

ROCKSDB_VERSION = $(or $(shell pkg-config --modversion rocksdb 2>/dev/null),of an unknown version)

.PHONY: bench bench-programs

bench: bench-programs
	$(B)/bin/bench $(BENCH_ARGS)

bench-programs: $(B)/bin/bench

$(B)/benches/%.o: benches/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DROCKSDB_VERSION='"$(ROCKSDB_VERSION)"' $(CFLAGS) -pthread -MMD -MP -c -o $@ $<

$(B)/bin/bench: $(BENCH_OBJECTS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pthread $(LDFLAGS) -o $@ $(BENCH_OBJECTS) $(LDLIBS) -lzmq -lnng -lsqlite3 -lrocksdb

-include $(BENCH_OBJECTS:.o=.d)
