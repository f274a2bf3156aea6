#!/usr/bin/env bash
# The documents' examples: the first C block of each, compiled and run by the shell block after it, must print the text
# block after that. In a directory of its own, where include/ and build/ are the project's.
#
#     tests/readme.sh [BUILD]      BUILD: what is build/ there, if not the project's
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath "${1:-$root/build}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check DOCUMENT NAME HEADING: the example below the heading, whose C block the shell block compiles as NAME
check() {
    local document=$1 name=$2 heading=$3 dir=$work/$2 file status=0
    mkdir "$dir"
    # The first block of each language, each after the one before.
    awk -v dir="$dir" -v name="$name" -v heading="$heading" '
        BEGIN { split("c sh text", language); split(name " commands.sh expected", file); wanted = 0 }
        $0 == heading { wanted = 1 }
        inside && /^```/ { inside = 0; wanted++; next }
        inside { print > (dir "/" file[wanted]) }
        !inside && wanted >= 1 && wanted <= 3 && $0 == "```" language[wanted] { inside = 1 }
    ' "$root/$document"
    for file in "$name" commands.sh expected; do
        [[ -s $dir/$file ]] || {
            echo "readme: $document has no example of a C, an sh and a text block in this order" >&2
            exit 1
        }
    done
    ln -s "$root/include" "$dir/include"
    ln -s "$build" "$dir/build"
    (cd "$dir" && timeout 60 bash -eu commands.sh >printed) || status=$?
    if ((status != 0)) || ! diff -u "$dir/expected" "$dir/printed"; then
        echo "readme: the example of $document does not do what the document says (exit status $status)" >&2
        exit 1
    fi
    echo "readme: the example of $document compiles and prints what the document says"
}

check README.md example.c '## Quick start'
check docs/durability.md durable.c '## The reader: exactly once with a token'
