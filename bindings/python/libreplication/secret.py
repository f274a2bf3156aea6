"""Secrets: what a writer and its readers share under a name."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from . import _arguments
from ._arguments import Payload
from ._handle import check
from ._native import library
from .values import Path


class Secret:
    """A secret that a writer and its readers share under a name, and by which each proves to the other who it is.

    `from_bytes`, `from_passphrase` and `from_file` create it. `cluster` tells the secrets of one cluster from those of
    another and may be ``""``; `name` has 1 to 64 bytes without control characters, and access rules know it as
    ``secret:NAME``. Both ends have the same. A secret does not change, and any thread may use it. Printing it does
    not show it.
    """

    name: str
    """Its name."""

    def __init__(self) -> None:
        raise TypeError("use Secret.from_bytes, Secret.from_passphrase or Secret.from_file")

    @classmethod
    def from_bytes(cls, cluster: str, name: str, secret: Payload) -> Secret:
        """Creates a secret of 32 to 4096 bytes that nobody can guess."""
        given = _arguments.octets("secret", secret)
        return cls._made("from_bytes", cluster, name, given, len(given))

    @classmethod
    def from_passphrase(cls, cluster: str, name: str, passphrase: str) -> Secret:
        """Creates a secret of 12 to 4096 bytes that people can remember.

        Deriving its key takes 64 MiB of memory and some tenths of a second.
        """
        if not isinstance(passphrase, str):
            raise TypeError(f"passphrase must be a str, not {type(passphrase).__name__}")
        given = passphrase.encode()
        return cls._made("from_passphrase", cluster, name, given, len(given))

    @classmethod
    def from_file(
        cls,
        cluster: str,
        name: str,
        file: Path,
        *,
        is_passphrase: bool = False,
        insecure_permissions_allowed: bool = False,
    ) -> Secret:
        """Creates a secret from a file with its bytes, or with a passphrase.

        A line end at the end of the file is not part of the secret. Other users must not be able to read or change it,
        unless `insecure_permissions_allowed`.
        """
        path = _arguments.path("file", file)
        return cls._made("from_file", cluster, name, path, bool(is_passphrase), bool(insecure_permissions_allowed))

    @classmethod
    def _made(cls, how: str, cluster: str, name: str, *arguments: Any) -> Secret:
        native, made = library(), ctypes.c_void_p()
        make = getattr(native, f"replication_secret_{how}")
        texts = _arguments.text("cluster", cluster), _arguments.text("name", name)
        check(make(*texts, *arguments, ctypes.byref(made)))
        secret = cls.__new__(cls)
        secret._library, secret._pointer, secret.name = native, made.value, name
        return secret

    _library: Any
    _pointer: Optional[int]

    def __repr__(self) -> str:
        return f"<Secret {self.name!r}>"

    def __del__(self) -> None:
        pointer, self._pointer = getattr(self, "_pointer", None), None
        if pointer:
            self._library.replication_secret_free(pointer)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled: make it in the process that uses it")


def pointer_of(name: str, secret: Optional[Secret]) -> Optional[int]:
    """Returns the library's secret; None for None."""
    if secret is not None and not isinstance(secret, Secret):
        raise TypeError(f"{name} must be a Secret, not {type(secret).__name__}")
    return None if secret is None else secret._pointer
