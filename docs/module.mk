# The reference as pages, from the headers' comments. Bindings add theirs to the target.

DOXYGEN ?= doxygen

DOCS_CPP := $(wildcard bindings/cpp/*.hpp)

.PHONY: docs docs-c docs-cpp docs-rust
docs: docs-c $(if $(DOCS_CPP),docs-cpp) docs-rust ## make the reference as pages, in build/docs

# Options for doxygen. A header in which it finds nothing to document would be no error to it, so the pages are looked at.
docs-c: OPTIONS = 'INPUT = $(HEADERS)' 'OPTIMIZE_OUTPUT_FOR_C = YES' 'FILTER_PATTERNS = "*.h=awk -f docs/doxygen.awk"'
docs-c: PAGE = replication_8h.html
docs-cpp: OPTIONS = 'INPUT = $(DOCS_CPP)'
docs-cpp: PAGE = replication_8hpp.html

docs-c docs-cpp: docs-%:
	@rm -rf $(B)/docs/$* && mkdir -p $(B)/docs/$*
	{ cat docs/Doxyfile; printf '%s\n' 'PROJECT_NUMBER = $(VERSION)' 'OUTPUT_DIRECTORY = $(B)/docs/$*' $(OPTIONS); } | $(DOXYGEN) -
	@grep -q 'class="memname"\|class="memItemLeft"' $(B)/docs/$*/html/$(PAGE)

# Warnings are links that lead nowhere and public items without a comment.
docs-rust:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --lib
	@rm -rf $(B)/docs/rust && mkdir -p $(B)/docs && cp -r $(or $(CARGO_TARGET_DIR),target)/doc $(B)/docs/rust
	@test -e $(B)/docs/rust/replication/struct.Sender.html

lint: docs-rust
