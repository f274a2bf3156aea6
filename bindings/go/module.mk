# The Go package, its tests, its examples and its benchmark. Go's tools are called where the modules are.

GO        ?= go
GO_DIR    := bindings/go
GO_LIB    := $(abspath $(LIB))
GO_ENV     = REPLICATION_LIB=$(GO_LIB) CC='$(CC)'
GO_TEST    = $(GO_ENV) $(GO) test -count=1 -timeout=300s
# The trouble that every language's runner of the scenarios makes; its rule is with the tests in C.
GO_TROUBLE = $(B)/test/trouble.so
GO_PRELOAD = -exec 'env LD_PRELOAD=$(abspath $(GO_TROUBLE))'

.PHONY: test-go test-go-package test-go-scenarios test-go-checked test-go-examples bench-go lint-go fmt-go

test-go: lint-go test-go-package ## the Go package: vet, and tests with the race detector

test-go-package: $(LIB) $(GO_TROUBLE) lint-go
	cd $(GO_DIR) && $(GO_TEST) $(GO_PRELOAD) -race ./...

test-go-scenarios: $(LIB) $(GO_TROUBLE)
	cd $(GO_DIR) && $(GO_TEST) $(GO_PRELOAD) -run TestScenarios .

# Go's collector runs all the time, and cgo checks every pointer that goes to C.
test-go-checked: $(LIB) $(GO_TROUBLE) ## the same under Go's collector
	cd $(GO_DIR) && GODEBUG=cgocheck=1 GOGC=1 REPLICATION_LIFECYCLES=1000 $(GO_TEST) $(GO_PRELOAD) .

test-go-examples: $(LIB) ## Go's examples with the race detector: bbolt, killed in the middle
	cd $(GO_DIR)/examples && $(GO_TEST) -race ./...
	tests/documents.py --build $(B) bindings/go/examples/README.md bindings/go/examples/bbolt/README.md

lint-go:
	@unformatted=$$(gofmt -l $(GO_DIR)) && [ -z "$$unformatted" ] || { echo "not formatted with gofmt: $$unformatted"; exit 1; }
	cd $(GO_DIR) && $(GO) vet ./...
	cd $(GO_DIR)/examples && $(GO) vet ./...

fmt-go:
	gofmt -w $(GO_DIR)

bench-go: $(LIB) $(B)/bench/go_baseline
	cd $(GO_DIR) && $(GO_ENV) $(GO) run ./internal/bench -baseline $(abspath $(B)/bench/go_baseline)

$(B)/bench/go_baseline: $(GO_DIR)/internal/bench/baseline/main.c include/replication.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS) $(LDLIBS) -lpthread

test-programs: $(GO_TROUBLE)
test-runs: test-go
test-scenarios: test-go-scenarios
test-long-runs: test-go-checked test-go-examples
bench: bench-go
lint: lint-go
fmt: fmt-go
