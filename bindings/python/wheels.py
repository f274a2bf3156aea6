#!/usr/bin/env python3
"""Builds the two wheels: one with the library inside, tagged for its platform, and a pure one.

wheels.py [--library FILE] DIRECTORY     without --library only the pure one
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LICENSES = sorted(HERE.parents[1].glob("LICENSE-*"))
SONAME = "libreplication.so.0.1"
SOURCES = ["pyproject.toml", "setup.py", "README.md", "libreplication"]


def build(library, directory):
    """Builds a wheel from a copy of the sources, so that nothing is left in the tree."""
    with tempfile.TemporaryDirectory() as work:
        for name in SOURCES:
            source = HERE / name
            if source.is_dir():
                shutil.copytree(source, Path(work, name), ignore=shutil.ignore_patterns("__pycache__", "lib"))
            else:
                shutil.copy(source, work)
        for text in LICENSES:
            shutil.copy(text, work)
        if library is not None:
            inside = Path(work, "libreplication", "lib")
            inside.mkdir()
            shutil.copy(library, inside / SONAME)
            # A quarter of the size; the names of what is exported stay.
            subprocess.run(["strip", "--strip-unneeded", inside / SONAME], check=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", directory]
        subprocess.run([*pip, "wheel", *options, work], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, help="the shared library to put inside")
    parser.add_argument("directory", type=Path, help="where the wheels go")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    build(None, arguments.directory)
    if arguments.library is not None:
        build(arguments.library.resolve(), arguments.directory)
    for wheel in sorted(arguments.directory.glob("*.whl")):
        print(f"wheels: {wheel}")


main()
