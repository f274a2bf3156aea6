# Builds, shows and tests libreplication. `make` alone lists what there is to make.
#
# What the machine lacks is installed first, by scripts/setup; SETUP=no leaves that out.
# The C programs describe themselves in the module.mk files at the end; each adds to the targets below.

CARGO   ?= scripts/cargo
CC      ?= cc
CXX     ?= c++
SONAME  := libreplication.so.0.1
HEADER  := include/replication.h
HEADERS := $(HEADER) include/replication_access.h include/replication_records.h include/replication_wire.h

GOALS  := $(or $(MAKECMDGOALS),help)

# What only tests is built beside what is shipped, and loads the library that the Rust tests link. Wheels, packages and
# what tests them take what is shipped all the same.
TESTS_ONLY := $(if $(filter check check-% soak test test-%,$(GOALS)),$(if $(filter-out check check-% soak test test-%,$(GOALS)),,yes))
B          := $(if $(TESTS_ONLY),build/tested,build)
LIB        := $(B)/lib/libreplication.so
SHIPPED    := build/lib/libreplication.so build/bin/replctl

# CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS of the caller are heard, and come last. Warnings stop a build that is tested, not
# the build of somebody whose compiler is newer than those that this code has seen.
CFLAGS  ?= -O2 -g
WERROR  ?= $(if $(CI)$(filter check% test% lint,$(GOALS)),-Werror)
override CFLAGS   := -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes $(WERROR) $(CFLAGS)
override CPPFLAGS := -Iinclude -D_GNU_SOURCE $(CPPFLAGS)
override LDFLAGS  := -L$(B)/lib -Wl,-rpath,'$$ORIGIN/../lib' $(LDFLAGS)
override LDLIBS   := -lreplication $(LDLIBS)

MODULES := $(wildcard packaging/module.mk docs/module.mk examples-c/module.mk examples-c/*/module.mk tests/c/module.mk \
                      benches/module.mk bindings/*/module.mk)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- the machine ------------------------------------------------------------------------------------------------------
# Done while this file is read, before pkg-config is asked for anything and once for any number of goals and jobs.

# Not for what is often done as root: that takes what was built.
SETUP_FOR := $(if $(filter-out help clean setup install install-strip uninstall release-check release-notes,$(GOALS)),build) \
             $(if $(filter check soak test% docs% header %-go %-python python-wheels deb abi-dump abi-report,$(GOALS)),test) \
             $(if $(filter bench%,$(GOALS)),test bench) \
             $(if $(filter check fmt lint,$(GOALS)),test lint) \
             $(if $(filter lint-workflows deny advisories,$(GOALS)),lint) \
             $(if $(filter fuzz soak,$(GOALS)),fuzz) \
             $(if $(filter msrv,$(GOALS)),test msrv) \
             $(if $(filter minimal-versions,$(GOALS)),nightly) \
             $(if $(filter sbom dist,$(GOALS)),test release)
# What setup installs for this tree alone.
export PATH := $(CURDIR)/build/tools/bin:$(PATH)
ifneq ($(SETUP),no)
ifneq ($(strip $(SETUP_FOR)),)
ifeq ($(MAKELEVEL)$(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),0)
$(shell scripts/setup $(SETUP_FOR) >&2)
ifneq ($(.SHELLSTATUS),0)
$(error this machine lacks what is said above)
endif
endif
endif
endif

# ---- targets ----------------------------------------------------------------------------------------------------------

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what building, testing, benchmarks and linting need
	scripts/setup all

.PHONY: build
build: $(SHIPPED) ## build the library, build/lib/libreplication.so and target/release/libreplication.a, and build/bin/replctl

# The library has no use for the tool's feature, and has it so that the two share one build.
BUILD := packaging/cargo-release build --release --features cli

# cargo knows when it is up to date; the copy keeps its time unless its bytes change, so that programs are not relinked.
.PHONY: FORCE
FORCE:
build/lib/libreplication.so: MADE_AS := target/release/libreplication.so
build/tested/lib/libreplication.so: MADE_AS := target/debug/deps/libreplication.so
build/lib/libreplication.so build/tested/lib/libreplication.so: FORCE
	@mkdir -p $(@D)
	$(if $(findstring tested,$@),$(CARGO_TEST) --no-run --test fork,$(BUILD) --lib)
	@cmp -s $(MADE_AS) $(@D)/$(SONAME) || { cp $(MADE_AS) $(@D)/$(SONAME).new && mv $(@D)/$(SONAME).new $(@D)/$(SONAME); }
	@ln -sfn $(SONAME) $@

build/bin/replctl: FORCE
	@mkdir -p $(@D)
	$(BUILD) --bin replctl
	@cmp -s target/release/replctl $@ || { cp target/release/replctl $@.new && mv $@.new $@; }

.PHONY: examples
examples: $(LIB) ## build the programs of examples-c/ into build/bin

.PHONY: demo
demo: examples ## watch one writer replicate live data into two readers' SQLite databases

# First everything is compiled, with as many jobs as there are processors, and then the tests run, of which most wait
# most of the time, with twice as many. The modules add their part to what is compiled (-programs) and to what runs (-runs).
.PHONY: check test
check: ## formatting, clippy, and the tests that tell most in little time
test: ## the tests of every language
check test:
	+@$(MAKE) --no-print-directory -j$$(nproc) $@-programs
	+@$(MAKE) --no-print-directory -j$$((2 * $$(nproc))) --output-sync=target $@-runs
	@echo '$@: everything passed'

.PHONY: check-programs test-programs check-runs test-runs
check-programs: compile-it
test-programs: compile-rust $(LIB) examples
check-runs: test-it test-header lint-sources test-c-plain test-scenarios
# The longest begin first.
test-runs: test-rust test-examples test-python test-go test-c test-header test-readme test-symbols

# One after another: some of these measure.
.PHONY: test-long test-long-programs test-long-runs
test-long: ## what takes long: valgrind, storms, collectors, databases, wheels, packages
	+@$(MAKE) --no-print-directory -j$$(nproc) $@-programs
	+@$(MAKE) --no-print-directory $@-runs
	@echo '$@: everything passed'
test-long-runs: test-model test-minutes test-timing test-c-shipped test-c-valgrind

.PHONY: test-timing
test-timing: ## the time of checking a proof of a secret tells nothing
	tests/timing

.PHONY: soak
soak: ## storms and fuzzing for SOAK_SECONDS, and for a tenth of it each target; for a night
	STORM_SECONDS=$(SOAK_SECONDS) $(TEST_RUST) --test it -- --ignored storm::
	fuzz/run $$(($(SOAK_SECONDS) / 10)) $(FUZZ_TARGETS)

SOAK_SECONDS ?= 3600

# Most tests wait most of the time, so more of them run at once than there are processors.
TEST_FEATURES := cli,failpoints,simulation
CARGO_TEST    := RUSTC_WORKSPACE_WRAPPER=scripts/rustc-test $(CARGO) test --features $(TEST_FEATURES)
TEST_RUST     := RUST_TEST_THREADS=$$((4 * $$(nproc))) $(CARGO_TEST)
TESTS         ?=

# What makes trouble for the scenarios; its rule is with the tests in C.
RUST_TROUBLE = $(B)/test/trouble.so

.PHONY: test-rust
test-rust: $(RUST_TROUBLE) ## the tests of the Rust core and of replctl, and the examples of the crate; TESTS=NAME runs those whose name has NAME in it
	TEST_TROUBLE=$(abspath $(RUST_TROUBLE)) $(TEST_RUST) $(TESTS)

.PHONY: test-rust-scenarios
test-rust-scenarios: $(RUST_TROUBLE)
	TEST_TROUBLE=$(abspath $(RUST_TROUBLE)) $(CARGO_TEST) --test scenarios

test-scenarios: test-rust-scenarios

.PHONY: test-it
test-it: ## those of them that run beside each other in one process
	$(TEST_RUST) --test it

.PHONY: compile-it compile-rust
compile-it:
	$(CARGO_TEST) --no-run --test it --test scenarios
compile-rust:
	$(CARGO_TEST) --no-run

# A thousand clusters of it are in test-rust.
.PHONY: sim
sim: ## simulate SEEDS clusters in virtual time, and say how many a second; SEED=N shows one of them
	$(CARGO_TEST) --test sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

SEEDS ?= 100000

.PHONY: sim-mutants
sim-mutants: ## show that the simulator finds each of its deliberate mistakes, and after how many clusters
	$(CARGO_TEST) --test sim -- --mutants

# Ordinary runs leave these out.
.PHONY: test-minutes
test-minutes: ## minutes of cut connections, of a reader that stands still, and of a crowd
	$(TEST_RUST) --test it --test alone -- --ignored storm:: stalled_reader:: crowd::

.PHONY: test-scenarios
test-scenarios: ## the scenarios of tests/scenarios in C++, Go, Python and Rust; those in C are among the C tests

# Loom runs that code under every interleaving.
.PHONY: test-model
test-model: ## the concurrent parts of log, sender and receiver under every interleaving of their threads
	$(CARGO_TEST) --features model --lib model::

# What reads src/ffi, and writes or compares everything that says the same.
XTASK := $(CARGO) run --quiet --package xtask --

.PHONY: test-header
test-header: ## the headers and the bindings' raw layers are what src/ffi says
	$(CARGO) test --quiet --package xtask
	$(XTASK) api --check

.PHONY: test-c
test-c: $(LIB) ## the C tests: with AddressSanitizer where that can be, and under valgrind where ownership is the subject

.PHONY: test-examples
test-examples: examples ## the C programs as a user runs them

.PHONY: test-readme
test-readme: $(LIB) examples ## the commands and examples of the documents, as printed
	CC='$(CC)' tests/readme.sh $(B)
	tests/documents.py --build $(B) examples-c/README.md examples-c/sqlite-session/README.md bindings/python/examples/README.md

.PHONY: test-symbols
test-symbols: $(LIB) ## the library exports what the header declares and nothing else
	$(XTASK) library $(LIB)

# Seconds for each target of fuzz/, and which ones: all unless FUZZ_TARGETS names some.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

.PHONY: fuzz
fuzz: ## fuzz what is read from peers, disks and hosts, FUZZ_SECONDS for each target (FUZZ_TARGETS)
	fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

.PHONY: bench-programs
bench-programs: $(LIB)

.PHONY: bench
bench: bench-programs ## measure against raw TCP, ZeroMQ and nng on this machine, and the bindings against C

# What is generated is not formatted.
GENERATED = $(addprefix bindings/go/,symbols.h trampolines.h $(notdir $(HEADERS))) bindings/cpp/replication_enums.hpp
C_SOURCES = $(shell find examples-c benches tests packaging bindings \( -name '*.[ch]' -o -name '*.[ch]pp' \) \
                $(foreach file,$(GENERATED),-not -path $(file)))
SCRIPTS   = fuzz/run $(shell grep -rlE '^#!/.*sh$$' .ci scripts tests examples-c benches bindings packaging)

.PHONY: fmt
fmt: ## format the sources
	$(CARGO) fmt --all
	clang-format -i $(C_SOURCES)

.PHONY: lint-sources
lint-sources:
	$(CARGO) fmt --all --check
	clang-format --dry-run -Werror $(C_SOURCES)
	$(CARGO) clippy --workspace --all-targets --features $(TEST_FEATURES) -- -D warnings

.PHONY: lint
lint: lint-sources lint-words lint-workflows deny ## check formatting, clippy, shell scripts, workflows, dependencies, links, commands
	shellcheck $(SCRIPTS)
	scripts/check-docs
	tests/documents.py --check

# It has shellcheck look at their commands.
.PHONY: lint-workflows
lint-workflows:
	actionlint

# A warning means that deny.toml allows what is no longer there.
DENY = PATH="$$(scripts/cargo --bin-dir):$$PATH" cargo-deny --locked --workspace check --deny warnings --hide-inclusion-graph

.PHONY: deny advisories
deny: ## the licences, versions and sources of the dependencies are those that deny.toml allows
	$(DENY) licenses bans sources
advisories: ## no dependency has a known vulnerability; needs GitHub, where the list is
	$(DENY) advisories

# ---- other versions ---------------------------------------------------------------------------------------------------

# cargo looks whether what it packs is committed. Whether that builds is seen without optimization.
.PHONY: crate
crate: ## pack the crate as for crates.io, and build it from the package
	CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) publish --dry-run --locked --features cli

# scripts/cargo takes the pinned Rust, so rustup is asked for this one. It keeps what it compiles to itself.
MSRV       := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
CARGO_MSRV := env -u MAKEFLAGS -u MFLAGS CARGO_TARGET_DIR=$(CURDIR)/build/msrv rustup run $(MSRV) cargo

.PHONY: msrv
msrv: ## build and test with the oldest Rust that Cargo.toml allows
	$(CARGO_MSRV) build --locked --features cli
	RUSTC_WORKSPACE_WRAPPER=scripts/rustc-test RUST_TEST_THREADS=$$((4 * $$(nproc))) \
	    $(CARGO_MSRV) test --locked --features $(TEST_FEATURES)

# In a copy, whose Cargo.lock may change. Only what Cargo.toml names is old: what that needs is as new as it allows.
.PHONY: minimal-versions
minimal-versions: ## build with the oldest versions of the dependencies that Cargo.toml allows
	rm -rf build/minimal
	mkdir -p build/minimal
	git ls-files -z -- Cargo.toml Cargo.lock build.rs include src tests xtask | xargs -0 cp --parents -t build/minimal
	cd build/minimal && rustup run nightly cargo update -Z direct-minimal-versions
	cd build/minimal && CARGO_TARGET_DIR=$(CURDIR)/build/minimal/target $(abspath $(CARGO)) build --locked --features cli

.PHONY: header
header: ## write the headers, their description and the bindings' raw layers anew from src/ffi
	$(XTASK) api

# Files that replctl generates, each with the argument for it.
FROM_REPLCTL := man:docs/replctl.1 bash:packaging/completions/replctl zsh:packaging/completions/_replctl \
                fish:packaging/completions/replctl.fish

.PHONY: manual
manual: build/bin/replctl ## write docs/replctl.1 and packaging/completions anew from the options of replctl
	@for file in $(FROM_REPLCTL); do \
	    build/bin/replctl generate $${file%%:*} >build/generated && cp build/generated $${file#*:} || exit; \
	done
	@rm build/generated

.PHONY: clean
clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf $(B)

include $(MODULES)
