#!/usr/bin/env bash
# Tests the example programs from outside: tests/examples.sh [DIRECTORY WITH THE PROGRAMS]
# Needs bash, coreutils and sqlite3. No fixed port; every wait has a condition and a deadline.
set -uo pipefail

bin=$(cd "${1:-build/bin}" && pwd) || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/replication-test-XXXXXX") || exit 1
started=()
passed=0
failed=0

end_all() {
    for pid in "${started[@]}"; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    started=()
}
trap 'end_all; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

pass() { passed=$((passed + 1)); echo "ok: $1"; }
fail() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    shift
    for file in "$@"; do # what the processes said
        echo "--- ${file##*/}"
        tail -n 20 "$file"
    done
}

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# launch NAME PROGRAM ARGUMENT...: in the background, output in $dir/NAME.out and .err; its process id in $pid
launch() {
    local name=$1 program=$2
    shift 2
    : >"$dir/$name.out" # here, not in the background: nobody shall read what an earlier process left in it
    : >"$dir/$name.err"
    "$bin/$program" "$@" >"$dir/$name.out" 2>"$dir/$name.err" &
    pid=$!
    started+=("$pid")
}

# finish SECONDS PID: waits for the end; its exit status in $status, 124 if it does not end
finish() {
    if wait_for "$1" ended "$2"; then
        wait "$2"
        status=$?
    else
        kill -KILL "$2"
        wait "$2" 2>/dev/null
        status=124
    fi
}
ended() { ! kill -0 "$1"; }
stop() { kill -TERM "$1"; finish 15 "$1"; }

sql() { sqlite3 -batch -cmd '.timeout 5000' "$@"; }
json() { sql :memory: "SELECT json_extract(readfile('$1'), '\$.$2')"; }
has_text() { grep -qF -- "$2" "$1"; }

# The address a writer says it listens at, in $address.
listening() { wait_for 10 has_text "$dir/$1.out" '"event":"listening"' && address=$(sed -n '1s/.*"address":"\([^"]*\)".*/\1/p' "$dir/$1.out"); }
position() { sql "$1" 'SELECT sequence FROM position'; }
at_least() { (($(position "$1") >= $2)); }
ledger_of() { sql "$1" "SELECT entries || ' ' || records || ' ' || checksum FROM ledger"; }
ledger_says() { echo "$(json "$1" entries) $(json "$1" records) $(json "$1" checksum)"; }

# expect NAME STATUS TEXT PROGRAM ARGUMENT...: ends by itself with the status and says the text
expect() {
    local name=$1 wanted=$2 text=$3
    shift 3
    launch expect "$@"
    finish 20 "$pid"
    if ((status == wanted)) && grep -qF -- "$text" "$dir/expect.out" "$dir/expect.err"; then
        pass "$name"
    else
        fail "$name: exit status $status, wanted $wanted and '$text'" "$dir/expect.out" "$dir/expect.err"
    fi
}

test_arguments() {
    local program
    for program in writer reader tap demo; do
        expect "$program -h" 0 "Usage: $program" "$program" -h
        expect "$program --help" 0 "Usage: $program" "$program" --help
        expect "$program: an unknown option" 2 "Try '$program --help'" "$program" --no-such-option
        expect "$program: a stray argument" 2 "unexpected argument 'stray'" "$program" stray
    done
    expect 'writer: a number that is none' 2 "--interval-us takes a number from 1 to" writer --interval-us x
    expect 'writer: a negative number' 2 "not '-5'" writer --burst -5
    expect 'writer: a number out of range' 2 "--buffer-bytes takes a number from 65536" writer --buffer-bytes 1
    expect 'writer: an unknown policy' 2 "--policy takes cut-off, refuse or wait:MS, not 'never'" writer --policy never
    expect 'writer: a missing value' 2 "Try 'writer --help'" writer --listen
    expect 'reader: no database' 2 '--writer and --database are required' reader --writer 127.0.0.1:1
    expect 'reader: an unknown word' 2 "--synchronous takes full or normal, not 'off'" reader --synchronous off
    expect 'tap: no writer' 2 '--writer is required' tap
    expect 'tap: an unknown protocol' 2 "--protocol takes auto, v1 or v2, not 'v3'" tap --protocol v3
    expect 'tap: entry 0' 2 '--from takes a number from 1 to' tap --from 0
}

test_bad_surroundings() {
    expect 'writer: an address that is none' 1 'BAD_ADDRESS' writer --listen nowhere
    expect 'reader: an address that is none' 1 'BAD_ADDRESS' reader --writer nowhere --database "$dir/none.db"
    expect 'tap: an address that is none' 1 'BAD_ADDRESS' tap --writer nowhere
    expect 'reader: a directory that is missing' 1 'unable to open database file' \
        reader --writer 127.0.0.1:1 --database "$dir/missing/none.db"
    printf 'no database at all, but long enough to look at: %0100d' 0 >"$dir/text.db"
    expect 'reader: a file that is no database' 1 'file is not a database' \
        reader --writer 127.0.0.1:1 --database "$dir/text.db"
    sql "$dir/newer.db" 'PRAGMA user_version = 7'
    expect 'reader: a schema from the future' 1 'its schema has version 7' \
        reader --writer 127.0.0.1:1 --database "$dir/newer.db"
    launch first writer --listen 127.0.0.1:0
    local first=$pid
    listening first
    expect 'writer: an address in use' 1 'ADDRESS_IN_USE' writer --listen "$address"
    stop "$first"
}

# Killed in the middle of its work again and again, a reader still stores every entry exactly once.
test_restarts() {
    local name='reader: killed three times, every entry stored exactly once' db=$dir/restarts.db ledger=$dir/restarts.json
    launch writer writer --listen 127.0.0.1:0 --interval-us 2000 --ledger "$ledger"
    local writer=$pid round
    listening writer || { fail "$name: the writer does not listen" "$dir/writer.err"; return; }
    for round in 1 2 3; do
        launch reader reader --writer "$address" --database "$db" --batch $((round * 3))
        if ! wait_for 15 at_least "$db" $((round * 150)); then
            fail "$name: no progress in round $round" "$dir/reader.err" "$dir/writer.err"
            return
        fi
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null
    done
    launch reader reader --writer "$address" --database "$db" --status-interval-ms 100
    local reader=$pid
    wait_for 15 at_least "$db" 600
    stop "$writer"
    local writer_status=$status
    wait_for 15 at_least "$db" "$(json "$ledger" last_sequence)"
    stop "$reader"
    if ((writer_status == 0 && status == 0)) && [[ $(ledger_of "$db") == "$(ledger_says "$ledger")" ]]; then
        pass "$name ($(ledger_of "$db"))"
    else
        fail "$name: writer ended with $writer_status, reader with $status, database '$(ledger_of "$db")', writer '$(ledger_says "$ledger")'" \
            "$dir/reader.err" "$dir/writer.err"
    fi
    local lines
    lines=$(sql :memory: "SELECT count(*) FROM (SELECT value FROM json_each('[' || replace(trim(readfile('$dir/reader.out'), char(10)), char(10), ',') || ']')) WHERE json_extract(value, '\$.sequence') IS NOT NULL AND json_type(value, '\$.receiver.lag') = 'integer'")
    if ((lines > 0 && lines == $(wc -l <"$dir/reader.out"))); then
        pass 'reader: each status line is JSON, with the statistics of the library'
    else
        fail 'reader: each status line is JSON, with the statistics of the library' "$dir/reader.out"
    fi
}

# The same with the writer killed, under a reader that goes on: its log and its own books go on with the next process.
test_writer_restarts() {
    local name='writer: killed three times with its log on disk, every entry stored exactly once'
    local db=$dir/durable.db ledger=$dir/durable.json writer round last at
    launch reader reader --writer "unix:$dir/durable.socket" --database "$db" --log-dir "$dir/durable.reader"
    local reader=$pid
    last=0
    for round in 1 2 3 4; do
        rm -f "$dir/durable.socket" # a writer that was killed leaves it
        launch writer writer --listen "unix:$dir/durable.socket" --interval-us 2000 --stats-interval-ms 10 \
            --log-dir "$dir/durable.writer" --ledger "$ledger"
        writer=$pid
        if ! wait_for 15 at_least "$db" $((last + 100)); then
            fail "$name: no progress in round $round" "$dir/reader.err" "$dir/writer.err"
            return
        fi
        ((round < 4)) || break
        kill -KILL "$writer"
        wait "$writer" 2>/dev/null
        # What the writer told of was on its disk, so nobody may be ahead of the next one or lose any of it.
        at=$(sed -n '$s/.*"last_sequence":\([0-9]*\),.*/\1/p' "$dir/writer.out")
        last=$(position "$db")
        ((last >= ${at:-0})) && at=$last
        last=$at
    done
    if ! has_text "$dir/writer.out" '"event":"continued"'; then
        fail "$name: the writer began anew" "$dir/writer.err"
    fi
    stop "$writer"
    local writer_status=$status
    wait_for 15 at_least "$db" "$(json "$ledger" last_sequence)"
    stop "$reader"
    if ((writer_status == 0 && status == 0)) && [[ $(ledger_of "$db") == "$(ledger_says "$ledger")" ]] &&
        [[ $(json "$ledger" entries) == "$(json "$ledger" last_sequence)" ]]; then
        pass "$name ($(ledger_of "$db"))"
    else
        fail "$name: writer ended with $writer_status, reader with $status, database '$(ledger_of "$db")', writer '$(ledger_says "$ledger")'" \
            "$dir/reader.err" "$dir/writer.err"
    fi
    # The database alone is enough to go on.
    last=$(position "$db")
    launch writer writer --listen "unix:$dir/durable.socket" --interval-us 2000 --log-dir "$dir/durable.writer" --ledger "$ledger"
    writer=$pid
    rm -r "$dir/durable.reader"
    launch reader reader --writer "unix:$dir/durable.socket" --database "$db" --log-dir "$dir/durable.reader"
    reader=$pid
    wait_for 15 at_least "$db" $((last + 300))
    stop "$writer"
    wait_for 15 at_least "$db" "$(json "$ledger" last_sequence)"
    stop "$reader"
    if [[ $(ledger_of "$db") == "$(ledger_says "$ledger")" ]]; then
        pass 'reader: goes on from its database without its log'
    else
        fail 'reader: goes on from its database without its log' "$dir/reader.err" "$dir/writer.err"
    fi
}

# Logs on disk that cannot be used are named.
test_log_directories() {
    expect 'writer: a log in a directory that is missing' 1 "$dir/missing" writer --listen 127.0.0.1:0 --log-dir "$dir/missing/log"
    expect 'reader: a log in a directory that is missing' 1 "$dir/missing" \
        reader --writer 127.0.0.1:1 --database "$dir/none.db" --log-dir "$dir/missing/log"
    launch first writer --listen 127.0.0.1:0 --interval-us 2000 --log-dir "$dir/shared-log" --ledger "$dir/shared-log.json"
    local first=$pid
    listening first
    expect 'writer: a log that another process has' 1 'LOCKED' writer --listen 127.0.0.1:0 --log-dir "$dir/shared-log"
    stop "$first"
    rm "$dir/shared-log.json.journal"
    expect 'writer: a log whose journal is gone' 1 'knows nothing of entry' \
        writer --listen 127.0.0.1:0 --log-dir "$dir/shared-log" --ledger "$dir/shared-log.json"
}

# The checksum that SQL computes is not blind: one changed, doubled or missing thing is seen.
test_checksum() {
    local change copy=$dir/changed.db before
    before=$(ledger_of "$dir/restarts.db")
    for change in 'UPDATE sample SET value = value + 1 WHERE (sequence, record) = (5, 3)' \
        'DELETE FROM sample WHERE (sequence, record) = (5, 3)' \
        'UPDATE entry SET timestamp_us = timestamp_us + 1 WHERE sequence = 9' \
        "UPDATE series SET name = name || 'x' WHERE id = 2" \
        'UPDATE sample SET record = record + 1000 WHERE (sequence, record) = (5, 3)' \
        'UPDATE sample SET value = (SELECT sum(value) FROM sample WHERE sequence = 5 AND record IN (3, 40)) - value WHERE sequence = 5 AND record IN (3, 40)'; do
        cp "$dir/restarts.db" "$copy"
        sql "$copy" "$change"
        if [[ -n $before && $(ledger_of "$copy") != "$before" ]]; then
            pass "ledger sees: $change"
        else
            fail "ledger does not see: $change"
        fi
    done
}

# A database never gets the entries of two writers.
test_foreign_writer() {
    local name='reader: refuses the stream of another writer' before
    before=$(ledger_of "$dir/restarts.db")
    launch other writer --listen 127.0.0.1:0 --interval-us 1000
    local writer=$pid
    listening other
    launch reader reader --writer "$address" --database "$dir/restarts.db"
    finish 20 "$pid"
    if ((status == 1)) && has_text "$dir/reader.err" 'holds another stream' &&
        [[ $(ledger_of "$dir/restarts.db") == "$before" ]]; then
        pass "$name"
    else
        fail "$name: exit status $status" "$dir/reader.err"
    fi
    stop "$writer"
}

# Two processes on one database: one goes on, the other sees it and ends; nothing is stored twice.
test_shared_database() {
    local name='reader: two processes do not store twice into one database' db=$dir/shared.db ledger=$dir/shared.json
    launch writer writer --listen 127.0.0.1:0 --interval-us 2000 --ledger "$ledger"
    local writer=$pid
    listening writer
    launch reader-1 reader --writer "$address" --database "$db" --reader-id one
    local one=$pid
    launch reader-2 reader --writer "$address" --database "$db" --reader-id two
    local two=$pid
    # shellcheck disable=SC2317 # called by wait_for
    either_ended() { ended "$one" || ended "$two"; }
    if ! wait_for 20 either_ended; then
        fail "$name: both go on" "$dir/reader-1.err" "$dir/reader-2.err"
        return
    fi
    local left=$one loser=$two loser_err=$dir/reader-2.err
    if ended "$one" 2>/dev/null; then left=$two loser=$one loser_err=$dir/reader-1.err; fi
    finish 5 "$loser"
    local loser_status=$status
    stop "$writer"
    wait_for 15 at_least "$db" "$(json "$ledger" last_sequence)"
    stop "$left"
    if ((loser_status == 1)) && has_text "$loser_err" 'another process stores into this database too' &&
        [[ $(ledger_of "$db") == "$(ledger_says "$ledger")" ]]; then
        pass "$name"
    else
        fail "$name: it ended with $loser_status" "$loser_err"
    fi
}

# Two readers of one name: the newer takes the older's place, and the older says why it ends.
test_same_name() {
    local name='reader: ends with a clear text when another takes its name'
    launch writer writer --listen 127.0.0.1:0 --interval-us 2000
    local writer=$pid
    listening writer
    launch reader-1 reader --writer "$address" --database "$dir/same-1.db" --reader-id same
    local one=$pid
    wait_for 15 at_least "$dir/same-1.db" 10
    launch reader-2 reader --writer "$address" --database "$dir/same-2.db" --reader-id same
    local two=$pid
    finish 15 "$one"
    local one_status=$status
    if wait_for 15 at_least "$dir/same-2.db" 10 && ((one_status == 1)) &&
        has_text "$dir/reader-1.err" "another process follows the writer as 'same'"; then
        pass "$name"
    else
        fail "$name: the older ended with $one_status" "$dir/reader-1.err" "$dir/reader-2.err"
    fi
    stop "$two"
    stop "$writer"
}

# The same entries, told in either protocol, are the same lines.
test_tap() {
    launch writer writer --listen 127.0.0.1:0 --interval-us 1000 --stats-interval-ms 0
    local writer=$pid protocol
    listening writer
    expect 'tap: an entry that is not there yet' 1 'has not come to entry 1000000 yet' \
        tap --writer "$address" --from 1000000
    expect 'tap: from the oldest entry on' 0 '"sequence":60,' tap --writer "$address" --count 60
    for protocol in v2 v1; do
        launch "tap-$protocol" tap --writer "$address" --from 11 --count 40 --protocol "$protocol"
        finish 15 "$pid"
        local good
        good=$(sql :memory: "
            WITH line AS (SELECT key, value FROM json_each('[' || replace(trim(readfile('$dir/tap-$protocol.out'), char(10)), char(10), ',') || ']'))
            SELECT count(*) FROM line
            WHERE json_extract(value, '\$.sequence') = key + 11 AND json_extract(value, '\$.timestamp_us') > 1e15
              AND json_array_length(value, '\$.records') > 10 AND json_extract(value, '\$.records[0].source') = 'cpu'")
        if ((status == 0)) && [[ $good == 40 && $(wc -l <"$dir/tap-$protocol.out") == 40 ]]; then
            pass "tap: 40 lines of JSON from a $protocol session"
        else
            fail "tap: 40 lines of JSON from a $protocol session: exit status $status, $good lines are right" "$dir/tap-$protocol.err"
        fi
    done
    if cmp "$dir/tap-v1.out" "$dir/tap-v2.out"; then
        pass 'tap: v1 and v2 tell the same'
    else
        fail 'tap: v1 and v2 tell the same'
    fi
    expect 'tap: at a coordinator' 0 '"sequence":3,' tap --writer "$address" --coordinator --protocol v1 --count 3
    "$bin/tap" --writer "$address" 2>"$dir/tap-head.err" | head -n 2 >"$dir/tap-head.out"
    local statuses=("${PIPESTATUS[@]}")
    if [[ ${statuses[0]} == 0 && $(wc -l <"$dir/tap-head.out") == 2 ]]; then
        pass 'tap: ends when nobody reads its output any more'
    else
        fail "tap: ends when nobody reads its output any more: exit status ${statuses[0]}" "$dir/tap-head.err"
    fi
    stop "$writer"
}

# Payloads that are no records: a tap shows their bytes, a reader keeps what came before and says which entry it is.
test_opaque_payloads() {
    # 91 84 ...: one record {"source": "s", "name": "n", "metric": "m", "value": 18446744073709551615}
    local record=hex:9184a6736f75726365a173a46e616d65a16ea66d6574726963a16da576616c7565cfffffffffffffffff
    launch payloads payloads "$record" '' f fo foo hex:fffefd
    local writer=$pid
    listening payloads
    launch tap tap --writer "$address" --count 6
    finish 15 "$pid"
    cat >"$dir/wanted" <<'END'
{"sequence":1,"timestamp_us":1001,"records":[{"metric":"m","name":"n","source":"s","value":18446744073709551615}]}
{"sequence":2,"timestamp_us":1002,"payload_base64":""}
{"sequence":3,"timestamp_us":1003,"payload_base64":"Zg=="}
{"sequence":4,"timestamp_us":1004,"payload_base64":"Zm8="}
{"sequence":5,"timestamp_us":1005,"payload_base64":"Zm9v"}
{"sequence":6,"timestamp_us":1006,"payload_base64":"//79"}
END
    # The order of a map's keys is the library's choice; what is told is not.
    if ((status == 0)) && diff <(sed 's/"records":.*18446744073709551615.*/RECORD/' "$dir/wanted") \
        <(sed 's/"records":.*18446744073709551615.*/RECORD/' "$dir/tap.out"); then
        pass 'tap: payloads that are no records, in base64'
    else
        fail "tap: payloads that are no records, in base64: exit status $status" "$dir/tap.err"
    fi
    launch reader reader --writer "$address" --database "$dir/opaque.db"
    finish 30 "$pid"
    if ((status == 1)) && has_text "$dir/reader.err" 'did not take entry 2' && [[ $(position "$dir/opaque.db") == 1 ]]; then
        pass 'reader: stops at an entry that it cannot store, and keeps those before it'
    else
        fail "reader: stops at an entry that it cannot store: exit status $status" "$dir/reader.err"
    fi
    if [[ $(sql "$dir/opaque.db" 'SELECT value FROM samples') == -1 ]]; then # the same bits, signed
        pass 'reader: keeps all 64 bits of a value'
    else
        fail 'reader: keeps all 64 bits of a value'
    fi
    stop "$writer"
}

test_unix_socket() {
    local name='writer and reader: over a Unix socket and TCP at once' ledger=$dir/unix.json
    launch writer writer --listen "unix:$dir/socket" --listen 127.0.0.1:0 --interval-us 2000 --ledger "$ledger"
    local writer=$pid
    wait_for 10 has_text "$dir/writer.out" '"address":"127.0.0.1:'
    address=$(sed -n '2s/.*"address":"\([^"]*\)".*/\1/p' "$dir/writer.out")
    launch reader-unix reader --writer "unix:$dir/socket" --database "$dir/unix.db"
    local by_unix=$pid
    launch reader-tcp reader --writer "$address" --database "$dir/tcp.db" --synchronous normal
    local by_tcp=$pid
    wait_for 15 at_least "$dir/unix.db" 100
    wait_for 15 at_least "$dir/tcp.db" 100
    stop "$writer"
    wait_for 15 at_least "$dir/unix.db" "$(json "$ledger" last_sequence)"
    wait_for 15 at_least "$dir/tcp.db" "$(json "$ledger" last_sequence)"
    stop "$by_unix"
    stop "$by_tcp"
    if [[ $(ledger_of "$dir/unix.db") == "$(ledger_says "$ledger")" && $(ledger_of "$dir/tcp.db") == "$(ledger_says "$ledger")" ]]; then
        pass "$name"
    else
        fail "$name" "$dir/reader-unix.err" "$dir/reader-tcp.err" "$dir/writer.err"
    fi
}

test_demo() {
    mkdir "$dir/tmp"
    local begin=$SECONDS
    TMPDIR=$dir/tmp launch demo demo
    finish 40 "$pid"
    if ((status == 0 && SECONDS - begin <= 30)) && tail -n 1 "$dir/demo.out" | grep -q '^demo passed.* 0 rows differ.* although the writer was killed at entry'; then
        pass "demo: $(tail -n 1 "$dir/demo.out")"
    else
        fail "demo: exit status $status after $((SECONDS - begin)) s" "$dir/demo.out" "$dir/demo.err"
    fi
    TMPDIR=$dir/tmp launch interrupted demo
    wait_for 10 has_text "$dir/interrupted.out" 'writer at' # it is on its way
    kill -INT "$pid"
    finish 10 "$pid"
    if ((status == 1)) && tail -n 1 "$dir/interrupted.out" | grep -q '^demo FAILED' && has_text "$dir/interrupted.err" interrupted; then
        pass 'demo: interrupted, it says that nothing is proved'
    else
        fail "demo: interrupted: exit status $status" "$dir/interrupted.out" "$dir/interrupted.err"
    fi
    if [[ -z $(ls -A "$dir/tmp") ]]; then
        pass 'demo: leaves nothing behind'
    else
        fail "demo: leaves behind $(ls -A "$dir/tmp")"
    fi
}

for each in arguments bad_surroundings restarts writer_restarts log_directories checksum foreign_writer shared_database same_name tap opaque_payloads unix_socket demo; do
    "test_$each"
    end_all
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
