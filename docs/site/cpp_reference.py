"""Writes the pages of the C++ reference, for breathe to fill from doxygen's XML: cpp_reference.py XML DIRECTORY

A page for each class, one for the rest of each namespace, and a first one with what the header begins with. Takes the
classes out of the namespaces in XML.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

NAMESPACE = "replication"


def directive(kind: str, name: str, *options: str) -> str:
    return "\n".join([f"```{{doxygen{kind}}} {name}", *options, "```"]) + "\n"


def main(xml: pathlib.Path, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    compounds = [
        (compound.get("kind"), compound.findtext("name"), xml / f"{compound.get('refid')}.xml")
        for compound in ElementTree.parse(xml / "index.xml").iterfind("compound")
    ]
    classes = {name: kind for kind, name, _ in compounds if kind in ("class", "struct") and name.startswith(NAMESPACE)}
    if not classes:
        sys.exit(f"{xml}: no class is described")

    contents = []

    def write(title: str, text: str) -> None:
        contents.append(re.sub(r"\W+", "-", title).lower())
        (directory / f"{contents[-1]}.md").write_text(f"# {title}\n\n{text}")

    for name, kind in sorted(classes.items()):
        # A class within another is on the page of that one.
        if name.rpartition("::")[0] not in classes:
            write(name, directive(kind, name, ":members:", ":undoc-members:"))
    for kind, name, path in compounds:
        if kind == "namespace" and name.startswith(NAMESPACE):
            # What has a page of its own is nothing of the namespace's page.
            path.write_text(re.sub(r" *<inner(class|namespace) .*\n", "", path.read_text()))
            write(f"Functions and types of {name}", directive("namespace", name))

    about = directive("file", "replication.hpp", ":sections: briefdescription detaileddescription")
    pages = "\n".join(contents)
    (directory / "index.md").write_text(
        f"# C++ reference\n\n{about}\n## Contents\n\n```{{toctree}}\n:maxdepth: 1\n\n{pages}\n```\n"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
