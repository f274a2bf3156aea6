# The documents and the reference of every language as one site, made by Sphinx from docs/site. Warnings are errors.

DOXYGEN ?= doxygen

DOCS_VENV   := build/docs-venv
DOCS_PYTHON  = PYTHONDONTWRITEBYTECODE=1 $(DOCS_VENV)/bin/python
DOCS_CPP    := $(wildcard bindings/cpp/*.hpp)
# Where the site's sources are put together.
DOCS_SOURCE  = $(B)/docs/source
DOCS_HTML    = $(B)/docs/html

$(DOCS_VENV)/ready: docs/site/requirements.txt
	@mkdir -p $(@D)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# The site links to the crate's pages, which have a search of their own; their links are rustdoc's affair.
.PHONY: docs docs-sources docs-rust
docs: docs-sources docs-rust ## make a site of the documents and the reference of every language, in build/docs/html
	DOXYGEN_XML=$(abspath $(B))/docs/xml $(DOCS_PYTHON) -m sphinx --quiet --fail-on-warning --keep-going \
	    --conf-dir docs/site --doctree-dir $(B)/docs/doctrees $(DOCS_SOURCE) $(DOCS_HTML)
	cp -r $(or $(CARGO_TARGET_DIR),target)/doc $(DOCS_HTML)/rust
	$(DOCS_PYTHON) docs/site/check_links.py $(DOCS_HTML) rust

docs-sources: $(DOCS_VENV)/ready
	@rm -rf $(B)/docs && mkdir -p $(B)/docs
	$(DOCS_PYTHON) docs/site/documents.py $(DOCS_SOURCE)
	$(DOCS_PYTHON) docs/site/c_reference.py $(DOCS_SOURCE)/reference/c
	{ cat docs/site/Doxyfile; \
	  printf '%s\n' 'PROJECT_NUMBER = $(VERSION)' 'INPUT = $(DOCS_CPP)' 'OUTPUT_DIRECTORY = $(B)/docs'; } | $(DOXYGEN) -
	$(DOCS_PYTHON) docs/site/cpp_reference.py $(B)/docs/xml $(DOCS_SOURCE)/reference/cpp
	cd $(GO_DIR) && $(GO) doc -all . >$(abspath $(B))/docs/go.txt
	$(DOCS_PYTHON) docs/site/go_reference.py $(B)/docs/go.txt $(DOCS_SOURCE)/reference/go.md

# Warnings are links that lead nowhere and public items without a comment.
docs-rust:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --lib

# The scripts are checked as the Python package is.
DOCS_RUFF = $(PYTHON_BIN)/ruff

.PHONY: lint lint-docs fmt fmt-docs
lint: docs-rust lint-docs
fmt: fmt-docs
lint-docs fmt-docs: build/python-venv/ready
lint-docs:
	$(DOCS_RUFF) check --quiet --no-cache --config $(PYTHON_DIR)/pyproject.toml docs/site
	$(DOCS_RUFF) format --quiet --no-cache --check --config $(PYTHON_DIR)/pyproject.toml docs/site
fmt-docs:
	$(DOCS_RUFF) format --quiet --no-cache --config $(PYTHON_DIR)/pyproject.toml docs/site
