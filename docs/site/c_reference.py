"""Writes the reference of the C interface as pages for Sphinx: c_reference.py DIRECTORY

A page for each section of include/replication.api.json, and a first one with the text that the header begins with.
What the descriptions name becomes a reference: functions, types and constants by their whole names (conf.py sees to
those in backquotes), statuses and events also by their short ones.
"""

import json
import pathlib
import re
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
API = json.loads((ROOT / "include/replication.api.json").read_text())
SECTIONS = [section for header in API["headers"] for section in header["sections"]]
ITEMS = [item for section in SECTIONS for item in section["items"]]

# What the header has beside its sections.
VERSION = (
    ("REPLICATION_VERSION_MAJOR", "The version of this header. The library's is replication_version_number()."),
    ("REPLICATION_VERSION_MINOR", "See `REPLICATION_VERSION_MAJOR`."),
    ("REPLICATION_VERSION_PATCH", "See `REPLICATION_VERSION_MAJOR`."),
    ("REPLICATION_VERSION_NUMBER", "The version as one number: major * 1000000 + minor * 1000 + patch."),
)

ENUMS = {item["name"]: item for item in ITEMS if item["kind"] == "enum"}
STATUSES = {member["name"] for member in ENUMS["replication_status"]["members"]}
EVENTS = {member["name"] for member in ENUMS["replication_event_kind"]["members"]}

# A whole name in plain text: a function with its parentheses, or a type.
TYPES = "|".join(sorted((item["name"] for item in ITEMS if item["kind"] not in ("function", "constant")), reverse=True))
NAMED = re.compile(rf"(?<![`\w])((?:[a-z]+_)+[a-z0-9_]*\(\)|(?:{TYPES})\b(?!\())")
CODE = re.compile(r"(`[^`]*`)")


def prose(text: str) -> str:
    """A description as Markdown in which every name is a reference or code."""
    parts = CODE.split(text)
    for index, part in enumerate(parts):
        if not index % 2:
            part = re.sub(r"([*<\[])", r"\\\1", part)
            part = NAMED.sub(r"`\1`", part)
            part = re.sub(r"\bdocs/[a-z-]+\.md", r"[\g<0>](/\g<0>)", part)
            # Some have no backquotes.
            parts[index] = re.sub(r"(\bevent )?(?<!`)\b([A-Z][A-Z_]{3,})\b(?!`)", short_name, part)
        elif part[1:-1] in STATUSES | EVENTS:
            parts[index] = short_name(re.fullmatch(r"()(.*)", part[1:-1]), parts[index - 1].endswith("event "))
    return "".join(parts)


def short_name(match: re.Match, event: bool = False) -> str:
    """A reference to the status or event of that name, if there is one; to the event if "event" is before it."""
    before, name = match[1] or "", match[2]
    if name in EVENTS and (before or event or name not in STATUSES):
        return before + enumerator("EVENT_KIND", name)
    return before + enumerator("STATUS", name) if name in STATUSES else match[0]


def enumerator(prefix: str, name: str) -> str:
    return f"{{c:enumerator}}`{name} <REPLICATION_{prefix}_{name}>`"


def directive(kind: str, signature: str, body: str, level: int = 3) -> str:
    """A directive; what is around others has a higher level."""
    return f"{':' * level}{{c:{kind}}} {signature}\n\n{body.strip()}\n{':' * level}\n"


def paragraphs(lines: list[str]) -> str:
    return "\n\n".join(prose(line) for line in lines)


def field(name: str, body: str) -> str:
    """A field of a list; what follows its first line belongs to it if indented."""
    return f":{name}: " + body.replace("\n", "\n    ") + "\n"


def described(item: dict) -> str:
    """What a function or callback does, its parameters and what it returns."""
    about, parameters, returns, default = [], [], "", ""
    for line in item["doc"]:
        if line.startswith("- "):
            parameters.append(prose(line))
            continue
        match = re.fullmatch(r"(.*?)(?:^|(?<=\. ))Returns (?=`OK`|what )(.*?)(?: (Default: .*))?", line)
        if match:
            line, returns, default = match[1].strip(), match[2], match[3]
        if line:
            about.append(line)
    about += item.get("advice", [])
    fields = ""
    if parameters:
        fields += field("Parameters", "\n" + "\n".join(parameters))
    if returns:
        fields += field("Returns", prose(returns))
    # "10. At least: 1." is two fields; by itself it would begin a list.
    for label, value in re.findall(r"([A-Z][a-z ]*): (.*?)\.(?= [A-Z]|$)", default or ""):
        fields += field(label, prose(value))
    others = [status for status in item.get("statuses", []) if f"`{status}`" not in returns]
    if others:
        fields += field("Statuses", ", ".join(enumerator("STATUS", status) for status in item["statuses"]))
    return paragraphs(about) + "\n\n" + fields


def prototype(name: str, item: dict) -> str:
    parameters = ", ".join(spaced(parameter["type"]) + parameter["name"] for parameter in item["parameters"])
    return f"{spaced(item['returns'])}{name}({parameters or 'void'})"


def spaced(type_name: str) -> str:
    return type_name if type_name.endswith("*") else type_name + " "


def declaration(item: dict) -> str:
    kind, name = item["kind"], item["name"]
    if kind == "function":
        return directive("function", prototype(name, item), described(item))
    if kind == "callback":
        return directive("type", prototype(f"(*{name})", item), described(item))
    if kind == "handle":
        return directive("type", name, paragraphs(item["doc"]))
    if kind == "constant":
        return directive("macro", name, paragraphs(item["doc"]) + f"\n\n:Value: {item['value']}\n")
    if kind == "struct":
        members = [
            directive("member", spaced(part["type"]) + part["name"], paragraphs(part["doc"])) for part in item["fields"]
        ]
    else:
        members = [
            directive("enumerator", f"{item['prefix']}_{member['name']} = {member['value']}", paragraphs(member["doc"]))
            for member in item["members"]
        ]
    body = paragraphs(item["doc"])
    if kind == "enum":
        body += f"\n\nIts type is `{item['type']}`."
    return directive(kind, name, body + "\n\n" + "\n".join(members), level=4)


def version() -> Iterator[str]:
    major, minor, patch = map(int, API["version"].split("."))
    values = (major, minor, patch, major * 1_000_000 + minor * 1_000 + patch)
    for (name, text), value in zip(VERSION, values):
        yield declaration({"kind": "constant", "name": name, "value": value, "doc": [text]})


def page_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def page(header: str, section: dict) -> str:
    parts = [f"# {section['title']}\n", f"Declared in `{header}`.\n"]
    if section["title"] == "Version":
        parts += version()
    return "\n".join(parts + [declaration(item) for item in section["items"]])


def overview() -> str:
    """The header's first comment, whose paragraphs begin with a word in capitals where a subject begins."""
    lines = (ROOT / "src/ffi/overview.txt").read_text().splitlines()
    text = "\n".join(re.sub(r"^ \* ?", "", line) for line in lines if line.startswith(" *") and line != " */")
    blocks = ["# C reference"]
    for block in text.split("\n\n"):
        if block.startswith("    "):
            blocks.append(block)
            continue
        subject = re.match(r"([A-Z ]+)\. ", block)
        if subject:
            blocks.append(f"## {subject[1].capitalize()}")
            block = block[subject.end() :]
        # Such as _new: the end of a name.
        block = re.sub(r"(?<=[ (])(_[a-z_]+)", r"`\1`", " ".join(block.split("\n")))
        block = prose(block)
        # Another subject.
        block = re.sub(
            r"(?<=\(see )([A-Z]+)(?=\))", lambda match: f"[{match[1].capitalize()}](#{match[1].lower()})", block
        )
        blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def main(directory: pathlib.Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    contents = "\n".join(page_name(section["title"]) for section in SECTIONS)
    (directory / "index.md").write_text(
        f"{overview()}\n## Sections\n\n```{{toctree}}\n:maxdepth: 1\n\n{contents}\n```\n"
    )
    for header in API["headers"]:
        for section in header["sections"]:
            (directory / f"{page_name(section['title'])}.md").write_text(page(header["file"], section))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
