# The benchmark: `make bench`, with options in BENCH_ARGS (`make bench BENCH_ARGS='--case 256b-1 --rounds 3'`).
BENCH_SOURCES := $(wildcard benches/*.c)
BENCH_OBJECTS := $(BENCH_SOURCES:benches/%.c=$(B)/benches/%.o)

.PHONY: bench bench-programs bench-needs

bench: bench-programs
	$(B)/bin/bench $(BENCH_ARGS)

bench-programs: $(B)/bin/bench

# What it compares with is no part of what the library needs, so it is asked for here.
bench-needs:
	@printf '#include <zmq.h>\n#include <nng/nng.h>\n' | $(CC) $(CPPFLAGS) -E - >/dev/null 2>&1 || \
	  { echo 'make bench needs ZeroMQ and nng; on Debian and Ubuntu: apt-get install libzmq3-dev libnng-dev' >&2; exit 1; }

$(B)/benches/%.o: benches/%.c | bench-needs
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Ibenches $(CFLAGS) -pthread -MMD -MP -c -o $@ $<

$(B)/bin/bench: $(BENCH_OBJECTS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pthread $(LDFLAGS) -o $@ $(BENCH_OBJECTS) $(LDLIBS) -lzmq -lnng

-include $(BENCH_OBJECTS:.o=.d)
