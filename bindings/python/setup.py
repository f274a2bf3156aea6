"""The tag of the wheel. All else is in pyproject.toml.

A wheel with the library inside (``libreplication/lib``) runs with any Python 3, on the platforms that the library runs
on; one without runs anywhere and looks for a library of the system.
"""

import platform
import re
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

INSIDE = sorted(Path(__file__).parent.glob("libreplication/lib/*.so*"))

# What PEP 600 allows a manylinux wheel to need of the system, and this library uses.
ALLOWED = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"}


def platform_tag(library):
    """The platforms of a library: those with a C library at least as new as the newest version of its symbols."""
    machine = platform.machine()

    def readelf(option):
        return subprocess.run(["readelf", "-W", option, library], check=True, capture_output=True, text=True).stdout

    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("-d")))
    versions = [(int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", readelf("-V"))]
    others = {name for name in needed if not name.startswith("ld-linux")} - ALLOWED
    if others or not versions:
        return f"linux_{machine}"
    return "manylinux_{}_{}_{}".format(*max(versions), machine)


class PackageWithLibrary(Distribution):
    """Goes to the directory of packages with machine code if it has the library inside."""

    def has_ext_modules(self):
        return bool(INSIDE)


class Wheel(bdist_wheel):
    """A wheel for every Python 3, and for one platform if it has the library inside."""

    def get_tag(self):
        return "py3", "none", platform_tag(INSIDE[0]) if INSIDE else "any"


setup(distclass=PackageWithLibrary, cmdclass={"bdist_wheel": Wheel})
