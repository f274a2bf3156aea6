"""Finds, checks and loads the library.

`library` returns the loaded library. Its attributes are the functions of ``include/replication.h``; their prototypes
are in `_raw`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any, List, Optional

from ._raw import ABI_VERSION, PROTOTYPES, SONAME, VERSION, u32
from .errors import LibraryError

UINT64_MAX = 2**64 - 1
SIZE_MAX = 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1

ENVIRONMENT = ("LIBREPLICATION_LIB", "REPLICATION_LIB")
"""Variables that name the library's file. Only the first one that is set is used."""

_library: Optional[ctypes.CDLL] = None
_loading = threading.Lock()


def library() -> Any:
    """Returns the library, which the first call loads.

    The library is the file that the environment variable ``LIBREPLICATION_LIB`` or ``REPLICATION_LIB`` names; otherwise
    the one inside this package; otherwise the system's. Raises `LibraryError` if there is none or it is incompatible.
    """
    global _library
    if _library is None:
        with _loading:
            if _library is None:
                _library = _load()
    return _library


def _load() -> ctypes.CDLL:
    for variable in ENVIRONMENT:
        path = os.environ.get(variable)
        if path:
            try:
                return _bind(ctypes.CDLL(path), path)
            except OSError as error:
                raise LibraryError(f"cannot load the library that {variable} names: {error}") from None
    inside = Path(__file__).parent / "lib" / SONAME
    failures: List[str] = []
    # The first name is a file; the system's loader searches for the others.
    for name in (str(inside), SONAME, "libreplication.so"):
        if name == str(inside) and not inside.exists():
            failures.append(f"{inside}: not in this package")
            continue
        try:
            loaded = ctypes.CDLL(name)
        except OSError as error:
            failures.append(str(error))
            continue
        return _bind(loaded, name)
    raise LibraryError(
        f"libreplication is not installed: {'; '.join(failures)}. Install the wheel that has the library inside, "
        f"install the library on this system, or name its file in {ENVIRONMENT[0]}"
    )


def _bind(loaded: ctypes.CDLL, name: str) -> ctypes.CDLL:
    """Checks the ABI before any other call, and sets the prototype of every function."""
    try:
        abi_version = loaded.replication_abi_version
    except AttributeError:
        raise LibraryError(f"{name} is not libreplication: it has no replication_abi_version") from None
    abi_version.restype, abi_version.argtypes = u32, []
    found = abi_version()
    if found != ABI_VERSION:
        raise LibraryError(
            f"{name} has ABI {found}, this package (libreplication {VERSION}) needs ABI {ABI_VERSION}: install the "
            f"package and the library of one version"
        )
    missing = []
    for function, (result, *arguments) in PROTOTYPES.items():
        try:
            symbol = getattr(loaded, function)
        except AttributeError:
            missing.append(function)
            continue
        symbol.restype, symbol.argtypes = result, arguments
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LibraryError(
            f"{name} is older than this package (libreplication {VERSION}): it lacks {missing[0]}{others}; install the "
            f"library of that version"
        )
    return loaded
