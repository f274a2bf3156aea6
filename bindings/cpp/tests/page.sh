#!/usr/bin/env bash
# The example of docs/cpp.md: its C++ block is the quickstart, and compiled and run by the shell block it prints the text
# block. In a directory of its own, where include/, bindings/ and build/ are the project's.
#
#     bindings/cpp/tests/page.sh [BUILD]      BUILD: what is build/ there, if not the project's
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=$(realpath "${1:-$root/build}")
page=docs/cpp.md

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first block of each language below the heading, each after the one before.
awk -v dir="$work" '
    BEGIN { split("cpp sh text", language); split("example.cpp commands.sh expected", file); wanted = 0 }
    $0 == "## Example" { wanted = 1 }
    inside && /^```/ { inside = 0; wanted++; next }
    inside { print > (dir "/" file[wanted]) }
    !inside && wanted >= 1 && wanted <= 3 && $0 == "```" language[wanted] { inside = 1 }
' "$root/$page"
for file in example.cpp commands.sh expected; do
    [[ -s $work/$file ]] || {
        echo "page: $page has no example of a C++, an sh and a text block in this order" >&2
        exit 1
    }
done
diff -u "$root/bindings/cpp/examples/quickstart.cpp" "$work/example.cpp" || {
    echo "page: the example of $page is not bindings/cpp/examples/quickstart.cpp" >&2
    exit 1
}

ln -s "$root/include" "$root/bindings" "$work/"
ln -s "$build" "$work/build"
mkdir "$work/bin"
ln -s "$(command -v "${CXX:-c++}")" "$work/bin/c++" # the compiler that the tests are for
status=0
(cd "$work" && PATH=$work/bin:$PATH timeout 120 bash -eu commands.sh >printed) || status=$?
if ((status != 0)) || ! diff -u "$work/expected" "$work/printed"; then
    echo "page: the example of $page does not do what the page says (exit status $status)" >&2
    exit 1
fi
echo "page: the example of $page compiles and prints what the page says"
