"""How Sphinx makes the site from what documents.py, c_reference.py, go_reference.py and doxygen have written."""

import enum
import inspect
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.c import CDomain, CObject
from sphinx.domains.cpp import CPPDomain
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = pathlib.Path(__file__).resolve().parents[2]
API = json.loads((ROOT / "include/replication.api.json").read_text())
sys.path.insert(0, str(ROOT / "bindings/python"))

import libreplication  # noqa: E402 - found by the line above

project = "libreplication"
version = release = API["version"]
language = "en"
extensions = ["myst_parser", "breathe", "sphinx.ext.autodoc"]
root_doc = "index"

html_theme = "furo"
html_title = f"libreplication {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# Some names are longer than a line.
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

# ---- Markdown -------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "fieldlist"]
# Headings have the anchors that they have in the repository.
myst_heading_anchors = 4

# ---- What must be there when it is named ----------------------------------------------------------------------------

nitpicky = True
# What is of the standard libraries, or internal, has no place here.
nitpick_ignore_regex = [
    ("c:identifier", r"u?int\d+_t|size_t"),
    ("cpp:identifier", r"detail(::.*)?|SIZE_MAX"),
    ("py:.*", r"(?!libreplication\.).*"),
]

# ---- C++ ------------------------------------------------------------------------------------------------------------

breathe_projects = {"cpp": os.environ["DOXYGEN_XML"]}
breathe_default_project = "cpp"

# ---- Python ---------------------------------------------------------------------------------------------------------

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": True}


def python_names() -> dict[str, str]:
    """Whole names by what the descriptions call them: classes and functions, and members with their class."""
    names = {}
    for module in (libreplication.errors, libreplication.codec, libreplication):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            names[name] = f"{module.__name__}.{name}"
            if inspect.isclass(value):
                names.update((f"{name}.{member}", f"{module.__name__}.{name}.{member}") for member in vars(value))
    return names


PYTHON_NAMES = python_names()


def as_restructured_text(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list) -> None:
    """Descriptions are written as Markdown: names in single backquotes, examples indented by four."""

    def code(match: re.Match) -> str:
        name = match[1]
        return f":py:obj:`{name} <{PYTHON_NAMES[name]}>`" if name in PYTHON_NAMES else f"``{name}``"

    written = []
    example = False
    for line in lines:
        if line.startswith("    "):
            if not example:
                written += ["::", ""]
            example = True
        elif line:
            example = False
            # What the standard library says of named tuples says nothing.
            if line.startswith(("Alias for field number ", "Create new instance of ")):
                continue
            line = re.sub(r"(?<![`:])`([^`]+)`(?!`)", code, line)
        written.append(line)
    lines[:] = written


def without_signature(
    _app: Sphinx, _what: str, _name: str, value: object, _options: object, arguments: str, returned: str
) -> tuple:
    """Nobody makes a member of an enumeration from all that its class takes."""
    if isinstance(value, enum.EnumMeta):
        return "", None
    return arguments, returned


# ---- C names in every text ------------------------------------------------------------------------------------------


def c_names() -> set[str]:
    """Functions, types and constants of the C interface."""
    names = set()
    for header in API["headers"]:
        for section in header["sections"]:
            for item in section["items"]:
                names.add(item["name"])
                names.update(f"{item['prefix']}_{member['name']}" for member in item.get("members", ()))
    return names


class NamesOfC(SphinxTransform):
    """Makes references of the names of the C interface that stand as code in a text."""

    default_priority = 300
    names = c_names()

    def apply(self, **_options: object) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            name = text.removesuffix("()")
            within = (nodes.title, nodes.reference, addnodes.pending_xref)
            if name not in self.names or any(isinstance(parent, within) for parent in ancestors(literal)):
                continue
            reference = addnodes.pending_xref(
                text, refdomain="c", reftype="identifier", reftarget=name, refdoc=self.env.docname, refwarn=True
            )
            literal.replace_self(reference)
            reference += literal


def c_name_in_cpp(
    app: Sphinx, environment: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Node | None:
    """Declarations in C++ name what is declared in C."""
    name = node["reftarget"]
    if node.get("refdomain") != "cpp" or name not in NamesOfC.names:
        return None
    domain = environment.domains["c"]
    return domain.resolve_xref(environment, node["refdoc"], app.builder, "identifier", name, node, content)


def ancestors(node: nodes.Node) -> list[nodes.Node]:
    result = []
    while node.parent is not None:
        node = node.parent
        result.append(node)
    return result


# ---- The search and the list of what is on a page --------------------------------------------------------------------


class SearchedC(CDomain):
    """The search finds functions, not their parameters."""

    def get_objects(self) -> Iterator[tuple]:
        return without_parameters(super().get_objects())


class SearchedCPP(CPPDomain):
    """The search finds functions, not their parameters."""

    def get_objects(self) -> Iterator[tuple]:
        return without_parameters(super().get_objects())


def without_parameters(objects: Iterator[tuple]) -> Iterator[tuple]:
    return (found for found in objects if found[2] not in ("functionParam", "templateParam"))


def name_parts(_directive: CObject, signature: nodes.Element) -> tuple[str, ...]:
    """What Sphinx lists of a C declaration among what is on its page, where it lists those of other languages."""
    return tuple(name.astext() for name in signature.findall(addnodes.desc_name))


def listed_name(directive: CObject, signature: nodes.Element) -> str:
    """Constants and fields, whose names are long, are left out."""
    parts = signature["_toc_parts"]
    return parts[-1] if parts and directive.objtype not in ("enumerator", "member") else ""


CObject._object_hierarchy_parts = name_parts
CObject._toc_entry_name = listed_name


def setup(app: Sphinx) -> None:
    app.add_domain(SearchedC, override=True)
    app.add_domain(SearchedCPP, override=True)
    app.add_transform(NamesOfC)
    app.connect("missing-reference", c_name_in_cpp)
    # What docs/protocol.md calls its pictures of bytes.
    for language_of_bytes in ("frame", "bytes"):
        app.add_lexer(language_of_bytes, TextLexer)
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("autodoc-process-signature", without_signature)
