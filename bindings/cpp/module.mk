# The C++ binding: a header, and its tests, examples and benchmark. Its reference is made in docs/module.mk.
#
# Tests are one program for each file that is no helper, as in tests/c, whose runner they share.

CXX_DIR      := bindings/cpp
CXX_WARNINGS := -Wall -Wextra -Wpedantic -Wshadow $(WERROR)
CXX_FLAGS    := $(CXX_WARNINGS) $(or $(CXXFLAGS),-O2 -g) -I$(CXX_DIR) -MMD -MP
# Tests are compiled once and run once.
CXX_TESTS    := $(CXX_FLAGS) -O0 -g1
CXX_SANITIZE := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined

# abi is compiled for another ABI, so it shares nothing with the others.
CXX_TEST_HELPERS := harness net
CXX_TEST_NAMES   := $(filter-out $(CXX_TEST_HELPERS) abi,$(basename $(notdir $(sort $(wildcard $(CXX_DIR)/tests/*.cpp)))))

CXX_TEST_PLAIN := $(addprefix $(B)/test-cpp/,$(CXX_TEST_NAMES))
CXX_TEST_ASAN  := $(addprefix $(B)/test-cpp-asan/,$(CXX_TEST_NAMES))
CXX_TEST_ONCE  := $(B)/test-cpp/abi $(B)/test-cpp/views-20

$(B)/test-cpp/%.o: $(CXX_DIR)/tests/%.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CPPFLAGS) $(CXX_TESTS) -c $< -o $@

$(B)/test-cpp-asan/%.o: $(CXX_DIR)/tests/%.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CPPFLAGS) $(CXX_TESTS) $(CXX_SANITIZE) -c $< -o $@

# What only newer standards have, such as std::span.
$(B)/test-cpp/views-20.o: $(CXX_DIR)/tests/views.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++20 $(CPPFLAGS) $(CXX_TESTS) -c $< -o $@

# The trouble that every language's runner of the scenarios makes; its rule is with the tests in C.
$(B)/test-cpp/scenarios $(B)/test-cpp-asan/scenarios: $(B)/test/trouble.o

$(CXX_TEST_PLAIN) $(B)/test-cpp/views-20: %: %.o $(CXX_TEST_HELPERS:%=$(B)/test-cpp/%.o) $(LIB)
	$(CXX) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -lpthread -o $@

# A compiler that ignores the option would test nothing, so the programs are asked.
$(CXX_TEST_ASAN): %: %.o $(CXX_TEST_HELPERS:%=$(B)/test-cpp-asan/%.o) $(LIB)
	$(CXX) $(CXX_SANITIZE) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -lpthread -o $@
	@nm $@ | grep -q __asan_init || { echo '$@ has no AddressSanitizer'; rm $@; exit 1; }

$(B)/test-cpp/abi: $(CXX_DIR)/tests/abi.cpp $(LIB)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -fno-rtti $(CPPFLAGS) $(CXX_FLAGS) $< $(LDFLAGS) $(LDLIBS) -o $@

.SECONDARY: $(CXX_TEST_PLAIN:=.o) $(CXX_TEST_ASAN:=.o) $(B)/test-cpp/views-20.o $(CXX_TEST_HELPERS:%=$(B)/test-cpp/%.o) \
            $(CXX_TEST_HELPERS:%=$(B)/test-cpp-asan/%.o)

# Every compiler that is here, every standard, and without run-time type information.
CXX_COMPILERS := $(sort $(CXX) $(foreach compiler,g++ clang++,$(shell command -v $(compiler) >/dev/null && echo $(compiler))))

.PHONY: test-cpp-header
test-cpp-header: ## the C++ header compiles without a warning in every standard, with g++ and clang++ as far as they are here
	@for compiler in $(CXX_COMPILERS); do \
	    for flags in -std=c++17 -std=c++20 -std=c++2b '-std=c++17 -fno-rtti' '-std=c++2b -fno-rtti'; do \
	        echo "$$compiler $$flags"; \
	        $$compiler $$flags $(CPPFLAGS) -I$(CXX_DIR) $(CXX_WARNINGS) -Werror -fsyntax-only $(CXX_DIR)/tests/views.cpp || exit 1; \
	    done; \
	    $(CXX_DIR)/tests/check-refused $$compiler $(CPPFLAGS) -I$(CXX_DIR) || exit 1; \
	done

.PHONY: test-cpp-plain test-cpp-scenarios test-cpp-asan test-cpp-coverage
test-cpp-plain: $(CXX_TEST_PLAIN) $(CXX_TEST_ONCE) ## the C++ tests as they are
	tests/c/run plain $^

test-cpp-scenarios: $(B)/test-cpp/scenarios
	tests/c/run plain $^

test-cpp-asan: $(CXX_TEST_ASAN) ## the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer
	tests/c/run asan $^

test-cpp-coverage: $(CXX_TEST_PLAIN)
	$(XTASK) mentions $(CXX_DIR)/replication.hpp
	$(XTASK) calls $^

.PHONY: test-cpp
test-cpp: test-cpp-coverage test-cpp-plain ## everything about the C++ binding but what is in test-long

check-programs: $(B)/test-cpp/scenarios
test-programs: $(CXX_TEST_PLAIN) $(CXX_TEST_ONCE)
test-runs: test-cpp
test-scenarios: test-cpp-scenarios


# ---- Examples ---------------------------------------------------------------------------------------------------------

CXX_ROCKSDB := $(B)/bin/rocksdb-writer $(B)/bin/rocksdb-reader $(B)/bin/rocksdb-dump

$(B)/cpp/%.o: $(CXX_DIR)/examples/%.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CPPFLAGS) $(CXX_FLAGS) -c $< -o $@

$(B)/bin/quickstart: $(B)/cpp/quickstart.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -o $@

$(B)/bin/rocksdb-writer $(B)/bin/rocksdb-reader: $(B)/bin/rocksdb-%: $(B)/cpp/rocksdb/%.o $(B)/cpp/rocksdb/replicated.o
$(B)/bin/rocksdb-dump: $(B)/cpp/rocksdb/dump.o
$(CXX_ROCKSDB): $(B)/cpp/rocksdb/database.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -lrocksdb -lpthread -o $@

.SECONDARY: $(patsubst $(CXX_DIR)/examples/%.cpp,$(B)/cpp/%.o,$(wildcard $(CXX_DIR)/examples/*.cpp $(CXX_DIR)/examples/rocksdb/*.cpp))

.PHONY: examples-cpp
examples-cpp: $(B)/bin/quickstart $(CXX_ROCKSDB) ## build the C++ examples into build/bin

.PHONY: test-cpp-examples test-cpp-page
test-cpp-examples: examples-cpp ## a writer and two readers with RocksDB, killed in the middle
	$(CXX_DIR)/examples/rocksdb/test.sh $(B)/bin
	tests/documents.py --build $(B) bindings/cpp/examples/rocksdb/README.md

test-cpp-page: $(LIB) ## the example of docs/cpp.md, compiled and run as printed
	CXX='$(CXX)' $(CXX_DIR)/tests/page.sh $(B)

test-cpp: test-cpp-page
test-long-programs: $(CXX_TEST_ASAN) examples-cpp
test-long-runs: test-cpp-header test-cpp-asan test-cpp-examples

# ---- Benchmark: `make bench-cpp BENCH_CPP_ARGS='--rounds 5'` ------------------------------------------------------------

$(B)/bench-cpp/side-c.o: $(CXX_DIR)/bench/side.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/bench-cpp/%.o: $(CXX_DIR)/bench/%.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CPPFLAGS) $(CXX_FLAGS) -c $< -o $@

$(B)/bin/bench-cpp: $(B)/bench-cpp/main.o $(B)/bench-cpp/side.o $(B)/bench-cpp/side-c.o $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(filter %.o,$^) $(LDFLAGS) $(LDLIBS) -lpthread -o $@

.PHONY: bench-cpp bench-cpp-instructions
bench-cpp: $(B)/bin/bench-cpp ## measure what an entry costs through the C++ header, beside C
	$(B)/bin/bench-cpp $(BENCH_CPP_ARGS)

bench-cpp-instructions: $(B)/bin/bench-cpp ## the same in instructions, counted by callgrind
	$(CXX_DIR)/bench/instructions $(B)/bin/bench-cpp

bench-programs: $(B)/bin/bench-cpp

bench: bench-cpp

-include $(wildcard $(B)/test-cpp/*.d $(B)/test-cpp-asan/*.d $(B)/cpp/*.d $(B)/cpp/rocksdb/*.d $(B)/bench-cpp/*.d)
