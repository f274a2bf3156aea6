# The Go package, its tests, its examples and its benchmark. Go's tools are called where the modules are.

GO        ?= go
GO_DIR    := bindings/go
GO_LIB    := $(abspath $(LIB))
GO_ENV     = REPLICATION_LIB=$(GO_LIB) CC='$(CC)'
GO_TEST    = $(GO_ENV) $(GO) test -count=1 -timeout=300s

.PHONY: test-go test-go-lint test-go-package test-go-checked test-go-examples bench-go

# The second run makes Go's collector run all the time and cgo check every pointer that goes to C.
test-go: test-go-lint test-go-package test-go-checked test-go-examples ## the Go package: vet, tests with the race detector and under the collector, examples

test-go-lint:
	@unformatted=$$(gofmt -l $(GO_DIR)); [ -z "$$unformatted" ] || { echo "not formatted with gofmt: $$unformatted"; exit 1; }
	cd $(GO_DIR) && $(GO) vet ./...
	cd $(GO_DIR)/examples && $(GO) vet ./...

test-go-package: $(LIB) test-go-lint
	cd $(GO_DIR) && $(GO_TEST) -race ./...

test-go-checked: $(LIB) test-go-package
	cd $(GO_DIR) && GODEBUG=cgocheck=1 GOGC=1 REPLICATION_LIFECYCLES=1000 $(GO_TEST) .

test-go-examples: $(LIB) test-go-checked
	cd $(GO_DIR)/examples && $(GO_TEST) ./...

bench-go: $(LIB) $(B)/bench/go_baseline
	cd $(GO_DIR) && $(GO_ENV) $(GO) run ./internal/bench -baseline $(abspath $(B)/bench/go_baseline)

$(B)/bench/go_baseline: $(GO_DIR)/internal/bench/baseline/main.c include/replication.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS) $(LDLIBS) -lpthread

test: test-go
bench: bench-go
