# The Python package: its tests, wheels and benchmark. Everything runs in a virtual environment of its own.

PYTHON        ?= python3
PYTHON_DIR    := bindings/python
PYTHON_VENV   := build/python-venv
PYTHON_BIN    := $(abspath $(PYTHON_VENV))/bin
PYTHON_ENV     = PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$(abspath $(PYTHON_DIR)) LIBREPLICATION_LIB=$(abspath $(LIB))
PYTHON_SOURCES = $(shell find $(PYTHON_DIR) -name '*.py')
# The package, and what else is in Python; seen from the package.
PYTHON_STYLED  = --config pyproject.toml . $(abspath tests/documents.py benches/test_compare.py)

$(PYTHON_VENV)/ready: $(PYTHON_DIR)/requirements.txt
	@mkdir -p $(@D)
	$(PYTHON) -m venv $(PYTHON_VENV)
	$(PYTHON_BIN)/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# The trouble that every language's runner of the scenarios makes; its rule is with the tests in C.
PYTHON_TROUBLE := $(B)/test/trouble.so

PYTHON_LONG    := tests/test_wheels.py tests/test_examples.py
PYTEST          = cd $(PYTHON_DIR) && $(PYTHON_ENV) LD_PRELOAD=$(abspath $(PYTHON_TROUBLE)) $(PYTHON_BIN)/python -X dev -m pytest \
                  -p no:cacheprovider $(PYTEST_ARGS)

.PHONY: test-python test-python-scenarios test-python-long
test-python: $(LIB) $(PYTHON_TROUBLE) $(PYTHON_VENV)/ready lint-python ## the Python package: tests, types
	$(PYTEST) $(PYTHON_LONG:%=--ignore=%)

test-python-scenarios: $(LIB) $(PYTHON_TROUBLE) $(PYTHON_VENV)/ready
	$(PYTEST) tests/test_scenarios.py

test-python-long: private LIB := build/lib/libreplication.so
test-python-long: $(PYTHON_TROUBLE) $(PYTHON_VENV)/ready python-wheels ## the Python package's wheels, and its examples with DuckDB
	export LIFECYCLES=10000; $(PYTEST) $(PYTHON_LONG) tests/test_lives.py

.PHONY: lint-python
lint-python: $(PYTHON_VENV)/ready ## check the Python sources: types, style, formatting
	cd $(PYTHON_DIR) && $(PYTHON_BIN)/mypy --cache-dir $(abspath $(B))/mypy -p libreplication
	cd $(PYTHON_DIR) && $(PYTHON_BIN)/mypy --cache-dir $(abspath $(B))/mypy examples/quickstart.py examples/duckdb/*.py
	cd $(PYTHON_DIR) && $(PYTHON_BIN)/ruff check --quiet --no-cache $(PYTHON_STYLED) && $(PYTHON_BIN)/ruff format --quiet --no-cache --check $(PYTHON_STYLED)

# .codespellrc says what is no prose.
.PHONY: lint-words
lint-words: $(PYTHON_VENV)/ready ## check the spelling
	$(PYTHON_BIN)/codespell

.PHONY: fmt-python
fmt-python: $(PYTHON_VENV)/ready
	cd $(PYTHON_DIR) && $(PYTHON_BIN)/ruff format --quiet --no-cache $(PYTHON_STYLED)

# Both wheels: the one with the library inside is tagged by what the library needs of this platform.
.PHONY: python-wheels
python-wheels: $(SHIPPED) $(PYTHON_VENV)/ready ## build the wheels into build/wheels: with the library inside, and without
	@rm -rf build/wheels
	$(PYTHON_BIN)/python $(PYTHON_DIR)/wheels.py --library build/lib/libreplication.so build/wheels

.PHONY: bench-python
bench-python: $(LIB) $(PYTHON_VENV)/ready $(B)/bench-python/peer ## measure Python's overhead over C
	$(PYTHON_ENV) $(PYTHON_BIN)/python $(PYTHON_DIR)/bench/bench.py $(B)/bench-python/peer $(BENCH_PYTHON_ARGS)

$(B)/bench-python/peer: $(PYTHON_DIR)/bench/peer.c include/replication.h $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -pthread -o $@ $< $(LDFLAGS) $(LDLIBS)

check-programs test-programs: $(PYTHON_TROUBLE) $(PYTHON_VENV)/ready
test-runs: test-python
test-scenarios: test-python-scenarios
test-long-runs: test-python-long
bench: bench-python
lint: lint-python
fmt: fmt-python
.PHONY: bench lint fmt
