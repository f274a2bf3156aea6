# The C tests: one program for each file that is no helper, run plain, with AddressSanitizer and under valgrind.
# `make test` runs each once, with AddressSanitizer if it can, and `make test-long` against the library that is shipped.

C_TEST_HELPERS  := harness host json peer
C_TEST_NAMES    := $(filter-out $(C_TEST_HELPERS),$(basename $(notdir $(sort $(wildcard tests/c/*.c)))))
C_TEST_HEADERS  := $(wildcard tests/c/*.h tests/c/scenario/*.h) include/replication.h
C_TEST_SANITIZE := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined

C_TEST_PLAIN := $(addprefix $(B)/test/,$(C_TEST_NAMES))
# AddressSanitizer's allocator does not survive a fork beside busy threads, and it needs pthread_create() and malloc()
# itself. What is lost where there is no thread is tokio's; what a thread first touches in a destructor is never freed.
# Both tools take faults and system calls for themselves.
C_TEST_OWN      := endings memory signals threads
C_TEST_UNSANITIZED := $(addprefix $(B)/test/,fork $(C_TEST_OWN))
C_TEST_ASAN     := $(addprefix $(B)/test-asan/,$(filter-out fork $(C_TEST_OWN),$(C_TEST_NAMES)))
C_TEST_VALGRIND := $(filter-out $(C_TEST_OWN:%=$(B)/test/%),$(C_TEST_PLAIN))
# Whose subject is who owns what, and for how long.
C_TEST_OWNERSHIP := $(addprefix $(B)/test/,callbacks fork lifecycle lives misuse)

# Tests are compiled once and run once.
C_TEST_FLAGS := $(CFLAGS) -O0 -g1

$(B)/test/%.o: tests/c/%.c $(C_TEST_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(C_TEST_FLAGS) -c $< -o $@

$(B)/test-asan/%.o: tests/c/%.c $(C_TEST_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(C_TEST_FLAGS) $(C_TEST_SANITIZE) -c $< -o $@

$(C_TEST_PLAIN): $(B)/test/%: $(B)/test/%.o $(C_TEST_HELPERS:%=$(B)/test/%.o) $(LIB)
	$(CC) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -ljson-c -lpthread -lm -o $@

# The runner of the scenarios has parts of its own, and the trouble that every language's runner makes.
SCENARIO_PARTS := $(patsubst tests/c/%.c,%.o,$(wildcard tests/c/scenario/*.c))
$(B)/test/scenarios: $(addprefix $(B)/test/,$(SCENARIO_PARTS)) $(B)/test/trouble.o
$(B)/test-asan/scenarios: $(addprefix $(B)/test-asan/,$(SCENARIO_PARTS)) $(B)/test/trouble.o

$(B)/test/trouble.o: tests/scenarios/trouble.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -c $< -o $@

$(B)/test/trouble.so: $(B)/test/trouble.o
	$(CC) $(CFLAGS) -shared $< -o $@

# A plugin for the test of threads, which loads it.
$(B)/test/plugin.so: tests/c/plugin/plugin.c include/replication.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared $< $(LDFLAGS) $(LDLIBS) -o $@

$(B)/test/threads: | $(B)/test/plugin.so

# A compiler that ignores the option would test nothing, so the programs are asked.
$(C_TEST_ASAN): $(B)/test-asan/%: $(B)/test-asan/%.o $(C_TEST_HELPERS:%=$(B)/test-asan/%.o) $(LIB)
	$(CC) $(C_TEST_SANITIZE) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -ljson-c -lpthread -lm -o $@
	@nm $@ | grep -q __asan_init || { echo '$@ has no AddressSanitizer'; rm $@; exit 1; }

.SECONDARY: $(C_TEST_PLAIN:=.o) $(C_TEST_ASAN:=.o) $(C_TEST_HELPERS:%=$(B)/test/%.o) $(C_TEST_HELPERS:%=$(B)/test-asan/%.o)

.PHONY: test-c-plain test-c-shipped test-c-unsanitized test-c-ownership test-c-valgrind test-c-asan test-c-coverage
test-c-plain: $(C_TEST_PLAIN) ## the C tests as they are
	tests/c/run plain $(C_TEST_PLAIN)

# What they were linked with is passed over for this.
test-c-shipped: $(C_TEST_PLAIN) build/lib/libreplication.so ## the same against the library that `make build` builds
	LD_LIBRARY_PATH=$(abspath build/lib) tests/c/run plain $(C_TEST_PLAIN)

test-c-unsanitized: $(C_TEST_UNSANITIZED) ## those that AddressSanitizer would disturb
	tests/c/run plain $(C_TEST_UNSANITIZED)

test-c-ownership: $(C_TEST_OWNERSHIP) ## those of callbacks, forks and lifetimes under valgrind's memcheck
	tests/c/run valgrind $(C_TEST_OWNERSHIP)

test-c-valgrind: $(C_TEST_VALGRIND) ## the C tests under valgrind's memcheck
	tests/c/run valgrind $(C_TEST_VALGRIND)

test-c-asan: $(C_TEST_ASAN) ## the C tests with AddressSanitizer and UndefinedBehaviorSanitizer
	tests/c/run asan $(C_TEST_ASAN)

test-c-coverage: $(C_TEST_UNSANITIZED) $(C_TEST_ASAN)
	$(XTASK) calls $^

check-programs: $(C_TEST_PLAIN)
test-long-programs: $(C_TEST_PLAIN) build/lib/libreplication.so
test-programs: $(C_TEST_UNSANITIZED) $(C_TEST_ASAN) $(C_TEST_OWNERSHIP)
test-c: test-c-coverage test-c-unsanitized test-c-asan test-c-ownership
