# The benchmark: `make bench`, with options in BENCH_ARGS (`make bench BENCH_ARGS='--case 256b-1 --rounds 3'`).
BENCH_SOURCES := $(wildcard benches/*.c)
BENCH_OBJECTS := $(BENCH_SOURCES:benches/%.c=$(B)/benches/%.o)

ROCKSDB_VERSION = $(or $(shell pkg-config --modversion rocksdb 2>/dev/null),of an unknown version)

.PHONY: bench bench-programs bench-compare bench-handshakes bench-instructions test-benches

bench: bench-programs
	$(B)/bin/bench $(BENCH_ARGS)
	scripts/cargo bench --bench handshakes

bench-handshakes: ## handshakes in a second, and what strangers at the door cost a reader: HANDSHAKES_ARGS='--rounds 3'
	scripts/cargo bench --bench handshakes -- $(HANDSHAKES_ARGS)

# OLD: another build of the library, as make build leaves it in build/lib.
bench-compare: $(B)/bin/bench ## compare with another build, in turns: OLD=libreplication.so PAIRS=9 BENCH_ARGS='--case 256b-1'
	@test -n '$(OLD)' || { echo 'OLD= must name another libreplication.so' >&2; exit 1; }
	benches/compare '$(OLD)' $(LIB) --pairs $(or $(PAIRS),9) -- $(BENCH_ARGS)

bench-instructions: $(B)/bin/bench-instructions ## count the instructions of an entry with callgrind
	benches/instructions/count $(B)/bin/bench-instructions

test-benches: ## how two builds are judged; nothing is measured
	python3 benches/test_compare.py

test-runs: test-benches

bench-programs: $(B)/bin/bench $(B)/bin/bench-instructions

$(B)/benches/%.o: benches/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DROCKSDB_VERSION='"$(ROCKSDB_VERSION)"' $(CFLAGS) -pthread -MMD -MP -c -o $@ $<

$(B)/bin/bench: $(BENCH_OBJECTS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pthread $(LDFLAGS) -o $@ $(BENCH_OBJECTS) $(LDLIBS) -lzmq -lnng -lsqlite3 -lrocksdb

$(B)/bin/bench-instructions: benches/instructions/main.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< $(LDFLAGS) $(LDLIBS) -o $@

-include $(BENCH_OBJECTS:.o=.d)
