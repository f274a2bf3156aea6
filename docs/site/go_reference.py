"""Writes the reference of the Go package as a page: go_reference.py TEXT PAGE

TEXT is what `go doc -all` printed: declarations stand at the beginning of a line, and what is said of them is indented
by four. Each function, method and type gets a heading, so that the search finds it.
"""

from __future__ import annotations

import pathlib
import re
import sys

INDENT = "    "
SECTIONS = ("CONSTANTS", "VARIABLES", "FUNCTIONS", "TYPES")


def prose(lines: list[str]) -> list[str]:
    """A comment as Markdown: lists and indented examples are alike in both."""
    result, in_list = [], False
    for line in lines:
        if re.match(r" {1,3}(-|\d+\.) ", line):
            in_list = True
        elif line and not line.startswith(" "):
            in_list = False
        example = line.startswith((INDENT, "\t")) and not in_list
        if re.match("# .", line):
            line = "#" + line
        elif not example:
            line = re.sub(r"([*_<\[\]`\\])", r"\\\1", line)
        result.append(line)
    return result


def declaration(lines: list[str]) -> list[str]:
    """Takes a declaration off the lines. One that opens a brace or parenthesis goes on until that is closed."""
    taken = [lines.pop(0)]
    closing = {"{": "}", "(": ")"}.get(taken[0][-1])
    while lines and (closing or lines[0].startswith("\t")):
        taken.append(lines.pop(0))
        if closing and taken[-1].startswith(closing):
            break
    return taken


def heading(first_line: str) -> str | None:
    """What a declaration is found by; None for a group, which belongs to what is before it."""
    method = re.match(r"func \(\w+ \*?(\w+)\) (\w+)", first_line)
    if method:
        return f"{method[1]}.{method[2]}"
    named = re.match(r"(?:func|type|const|var) (\w+)", first_line)
    return named and named[1]


def page(text: str) -> str:
    first, *lines = text.rstrip().split("\n")
    package = re.fullmatch(r'package \w+ // import "(.*)"', first)
    if not package:
        sys.exit(f"go doc begins with: {first}")
    result = ["# Go reference", "", "```go", f'import "{package[1]}"', "```"]

    about = lines[: lines.index("CONSTANTS")]
    result += prose(about)
    lines = lines[len(about) :]
    symbols, section = 0, ""
    while lines:
        line = lines[0]
        if line in SECTIONS:
            section = lines.pop(0)
            result += [f"## {section.capitalize()}", ""]
        elif line.startswith(INDENT) or not line:
            said = []
            while lines and (lines[0].startswith(INDENT) or not lines[0]):
                said.append(lines.pop(0)[len(INDENT) :])
            result += prose(said)
        else:
            symbol = heading(line)
            if symbol:
                level = "####" if line.startswith("func") and section == "TYPES" else "###"
                result += [f"{level} {symbol}", ""]
                symbols += 1
            result += ["```go", *declaration(lines), "```", ""]
    if not symbols:
        sys.exit("go doc printed no declaration")
    return "\n".join(result) + "\n"


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_text(page(pathlib.Path(sys.argv[1]).read_text()))
