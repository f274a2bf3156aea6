# One table of functions in the library, the header and the bindings.

.PHONY: test-symbol-tables
test-symbol-tables: $(LIB)
	CC='$(CC)' tests/symbols/check
	CC='$(CC)' tests/symbols/compare $(LIB)

test-symbols: test-symbol-tables
