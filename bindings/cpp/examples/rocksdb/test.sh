#!/usr/bin/env bash
# One writer and two readers, each a process with a RocksDB database of its own. A reader and then the writer are killed in
# the middle and started again. At the end all three databases must hold the same, nothing that was confirmed may be missing,
# and nothing may be there twice.
#
#     bindings/cpp/examples/rocksdb/test.sh [DIRECTORY WITH THE PROGRAMS]
set -euo pipefail

bin=$(cd "${1:-build/bin}" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/replication-rocksdb-XXXXXX")
address=unix:$dir/socket
declare -A pids=()

end_all() {
    local pid
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap end_all EXIT
trap 'exit 1' INT TERM

fail() {
    echo "rocksdb: FAILED: $*" >&2
    tail -n 5 "$dir"/*.err >&2
    exit 1
}

# start NAME PROGRAM ARGUMENT...: in the background; what it says is added to NAME.out and NAME.err
start() {
    local name=$1 program=$2
    shift 2
    "$bin/$program" "$@" >>"$dir/$name.out" 2>>"$dir/$name.err" &
    pids[$name]=$!
}
start_writer() { start writer rocksdb-writer "$dir/writer.db" "$dir/log" "$address"; }
start_reader() { start "$1" rocksdb-reader "$dir/$1.db" "$address" "$1"; }

kill_now() {
    kill -KILL "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

# end NAME: asks it to end, which it does without an error
end() {
    local status=0
    kill -TERM "${pids[$1]}"
    wait "${pids[$1]}" || status=$?
    unset "pids[$1]"
    ((status == 0)) || fail "$1 ended with status $status"
}

# The last number that a process has said. Its last line may be cut short, by a kill.
confirmed() { awk '/^committed [0-9]+ [0-9]+$/ && $2 > last { last = $2 } END { print last + 0 }' "$dir/writer.out"; }
applied() { awk '/^applied [0-9]+$/ { last = $2 } END { print last + 0 }' "$dir/$1.out"; }

# wait_until WHAT COMMAND...: until the command succeeds, for half a minute
wait_until() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "still not so: $what"
        sleep 0.02
    done
}
has_confirmed() { (($(confirmed) >= $1)); }
has_applied() { (($(applied "$1") >= $2)); }

touch "$dir/writer.out" "$dir/one.out" "$dir/two.out"
start_writer
wait_until 'the writer listens' grep -q '^listening$' "$dir/writer.out"
start_reader one
start_reader two
wait_until 'commits are confirmed' has_confirmed 200
wait_until 'reader one follows' has_applied one 200
wait_until 'reader two follows' has_applied two 200

kill_now one
wait_until 'the writer goes on without reader one' has_confirmed $(($(confirmed) + 200))
kill_now writer
before=$(confirmed)
start_writer
wait_until 'the writer goes on' has_confirmed $((before + 200))
kill_now writer # and again, with a reader away all the time
before=$(confirmed)
start_writer
wait_until 'the writer goes on once more' has_confirmed $((before + 200))
start_reader one
last=$(confirmed)
wait_until 'reader one catches up' has_applied one "$last"
wait_until 'reader two follows' has_applied two "$last"
end writer # which lets the readers catch up
last=$(confirmed)
wait_until 'reader one has everything' has_applied one "$last"
wait_until 'reader two has everything' has_applied two "$last"
end one
end two

for node in writer one two; do
    "$bin/rocksdb-dump" "$dir/$node.db" | LC_ALL=C sort >"$dir/$node.dump" || fail "the database of $node cannot be read"
done
for node in one two; do
    cmp -s "$dir/writer.dump" "$dir/$node.dump" || fail "the database of $node is not the writer's"
done

awk '/^committed [0-9]+ [0-9]+$/ { print "commit/" $3 }' "$dir/writer.out" | LC_ALL=C sort >"$dir/confirmed"
grep -o '^commit/[0-9]*' "$dir/writer.dump" >"$dir/stored"
missing=$(LC_ALL=C comm -23 "$dir/confirmed" "$dir/stored" | wc -l)
((missing == 0)) || fail "$missing confirmed commits are not in the databases"
commits=$(wc -l <"$dir/stored")
counted=$(awk -F '\t' '$1 == "commits" { print $2 }' "$dir/writer.dump")
((commits == counted)) || fail "$commits commits are stored, and $counted were counted"
((commits >= 600)) || fail "only $commits commits"

echo "rocksdb: three databases hold the same $(wc -l <"$dir/writer.dump") keys; $commits commits, of which" \
    "$(wc -l <"$dir/confirmed") were confirmed, are there, each once"
