"""Lays out the repository's Markdown documents as the sources of the site: documents.py DIRECTORY

They are copied as they are, but for their links. Those to documents stay; those to other files and directories of the
repository become their addresses there. Fails when one leads nowhere.
"""

import pathlib
import posixpath
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/internals/*.md",
)
# What has another place on the site.
MOVED = {"README.md": "index.md", "include/replication.h": "reference/c/index.md"}
SITE = ROOT / "docs/site"

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
# Code is left alone: fences, which begin a line, and what is in backquotes.
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def repository() -> str:
    """The address of the repository, from Cargo.toml."""
    return re.search(r'^repository = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def documents() -> list[str]:
    """The paths of all documents, from the root."""
    return [path.relative_to(ROOT).as_posix() for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]


def rewritten(text: str, document: str, known: set[str]) -> str:
    """The text of a document, with its links as the site has them."""
    here = posixpath.dirname(document)

    def link(match: re.Match) -> str:
        path, fragment = posixpath.normpath(posixpath.join(here, match[1])), match[2] or ""
        if not (ROOT / path).exists():
            sys.exit(f"{document}: links to {match[1]}, which is not there")
        if path in known or path in MOVED or path.startswith("docs/images/"):
            return posixpath.relpath(MOVED.get(path, path), here or ".") + fragment
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{repository()}/{kind}/main/{path}{fragment}"

    parts = CODE.split(text)
    # A link whose text is code is in two parts, so that the second begins within it.
    return "".join(part if index % 2 else LINK.sub(link, part) for index, part in enumerate(parts))


def main(directory: pathlib.Path) -> None:
    known = set(documents())
    for document in documents():
        target = directory / MOVED.get(document, document)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = rewritten((ROOT / document).read_text(), document, known)
        if document == "README.md":
            text += "\n" + (SITE / "contents.md").read_text()
        target.write_text(text)
    shutil.copytree(ROOT / "docs/images", directory / "docs/images", dirs_exist_ok=True)
    shutil.copytree(SITE / "reference", directory / "reference", dirs_exist_ok=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
