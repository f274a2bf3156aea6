# SQLite databases that follow one another by changesets: two programs and their test.

SESSION_PROGRAMS := $(B)/bin/session-writer $(B)/bin/session-reader
SESSION_CFLAGS   := -Iexamples-c -DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_PREUPDATE_HOOK
SESSION_SHARED   := $(addprefix examples-c/sqlite-session/,database.c) examples-c/common.c examples-c/report.c
SESSION_HEADERS  := include/replication.h $(wildcard examples-c/*.h examples-c/sqlite-session/*.h)

$(B)/bin/session-writer: $(addprefix examples-c/sqlite-session/,writer.c outbox.c input.c) $(SESSION_SHARED) $(SESSION_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(SESSION_CFLAGS) $(SQLITE_CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS) $(SQLITE_LIBS)

$(B)/bin/session-reader: $(addprefix examples-c/sqlite-session/,reader.c replica.c) $(SESSION_SHARED) $(SESSION_HEADERS) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(SESSION_CFLAGS) $(SQLITE_CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) $(LDLIBS) $(SQLITE_LIBS)

examples: $(SESSION_PROGRAMS)

$(B)/test/session-crash.so: examples-c/sqlite-session/crash.c $(SESSION_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(SQLITE_CFLAGS) -fPIC -shared -o $@ $< -ldl

.PHONY: test-sqlite-session
test-sqlite-session: $(SESSION_PROGRAMS) $(B)/test/session-crash.so ## SQLite changesets between processes that are killed
	examples-c/sqlite-session/test $(B)/bin $(B)/test/session-crash.so

test-runs: test-sqlite-session
