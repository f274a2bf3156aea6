#!/usr/bin/env bash
# The README's example: its first C block, compiled and run by the shell block after it, must print the text block after
# that. In a directory of its own, where include/ and build/ are the project's.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first block of each language, each after the one before.
awk -v dir="$work" '
    BEGIN { split("c sh text", language); split("example.c commands.sh expected", file); wanted = 1 }
    inside && /^```/ { inside = 0; wanted++; next }
    inside { print > (dir "/" file[wanted]) }
    !inside && wanted <= 3 && $0 == "```" language[wanted] { inside = 1 }
' "$root/README.md"
for file in example.c commands.sh expected; do
    [[ -s $work/$file ]] || {
        echo "readme: README.md has no example of a C, an sh and a text block in this order" >&2
        exit 1
    }
done

ln -s "$root/include" "$root/build" "$work/"
cd "$work"
status=0
timeout 60 bash -eu commands.sh >printed || status=$?
if ((status != 0)) || ! diff -u expected printed; then
    echo "readme: the example of README.md does not do what README.md says (exit status $status)" >&2
    exit 1
fi
echo "readme: the example compiles and prints what README.md says"
