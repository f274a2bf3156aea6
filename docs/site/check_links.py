"""Checks that every link within a site leads to a page and a place on it: check_links.py DIRECTORY [EXCEPT]...

Pages below the directories EXCEPT may be linked to; their own links are not looked at. Links to other sites are not
followed.
"""

import functools
import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """What a page links to, and what can be linked to on it."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.places.add(value)


@functools.lru_cache(maxsize=None)
def page(path: pathlib.Path) -> Page:
    return Page(path)


def leads_nowhere(source: pathlib.Path, link: str) -> bool:
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (source.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else source
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    fragment = urllib.parse.unquote(parts.fragment)
    return bool(fragment) and target.suffix == ".html" and fragment not in page(target).places


def main(root: pathlib.Path, exceptions: list[str]) -> None:
    checked, broken = 0, 0
    for path in sorted(root.rglob("*.html")):
        if path.relative_to(root).parts[0] in exceptions:
            continue
        for link in sorted(page(path).links):
            checked += 1
            if leads_nowhere(path, link):
                broken += 1
                print(f"{path.relative_to(root)} links to {link}, which is not there", file=sys.stderr)
    if broken or not checked:
        sys.exit(f"{broken} of {checked} links are broken")
    print(f"{checked} links lead somewhere")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
