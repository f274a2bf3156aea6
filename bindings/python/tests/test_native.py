"""The layout of structures, the names of statuses, and how the library is found."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

import libreplication
from libreplication import _native, _raw, errors

LIBRARY = os.environ["LIBREPLICATION_LIB"]


def test_the_version_is_the_librarys():
    assert libreplication.__version__ == libreplication.library_version()
    assert f'version = "{libreplication.__version__}"' in (ROOT / "bindings/python/pyproject.toml").read_text()


def test_the_structures_have_the_headers_layout(tmp_path):
    structures = {
        "event": _raw.EventStruct,
        "slice": _raw.SliceStruct,
        "entry": _raw.EntryStruct,
    }
    lines, expected = [], []
    for name, structure in structures.items():
        lines.append(f"sizeof(replication_{name})")
        expected.append(ctypes.sizeof(structure))
        for member, _ in structure._fields_:
            lines.append(f"offsetof(replication_{name}, {member})")
            lines.append(f"sizeof(((replication_{name} *)0)->{member})")
            expected += [getattr(structure, member).offset, getattr(structure, member).size]
    source = tmp_path / "layout.c"
    prints = "".join(f'printf("%zu\\n", {line});' for line in lines)
    source.write_text(f'#include "replication.h"\n#include <stdio.h>\nint main(void) {{ {prints} }}\n')
    subprocess.run(["cc", f"-I{ROOT / 'include'}", source, "-o", tmp_path / "layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert [int(line) for line in printed.split()] == expected


def test_every_status_has_a_name_and_an_exception():
    library = _native.library()
    for status in errors.Status:
        assert library.replication_status_name(status).decode() == status.name
        if status != errors.Status.OK:
            error = errors.error_of(status, "why")
            assert type(error) is not errors.ReplicationError
            assert (error.status, error.name, str(error)) == (status, status.name, f"{status.name}: why")
    assert library.replication_status_name(999) == b"UNKNOWN"
    unknown = errors.error_of(999, "why")
    assert type(unknown) is errors.ReplicationError and unknown.status == 999 and unknown.name == "UNKNOWN"
    assert library.replication_version_number() == 1000 and library.replication_abi_version() == _raw.ABI_VERSION


# ---- loading --------------------------------------------------------------------------------------------------------


def stub(directory: Path, functions: dict) -> Path:
    """A shared library that has some functions."""
    source = directory / "stub.c"
    source.write_text("".join(f"unsigned {name}(void) {{ return {value}; }}\n" for name, value in functions.items()))
    made = directory / "libstub.so"
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", made], check=True)
    return made


def load(**environment: str) -> str:
    """What a new process says when it loads the library."""
    program = "import libreplication as r\ntry: print(r.library_version())\nexcept r.LibraryError as e: print(e)"
    env = {key: value for key, value in os.environ.items() if key not in _native.ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**env, **environment}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_both_variables_name_the_library():
    assert load(LIBREPLICATION_LIB=LIBRARY) == "0.1.0"
    assert load(REPLICATION_LIB=LIBRARY) == "0.1.0"
    assert load(LIBREPLICATION_LIB=LIBRARY, REPLICATION_LIB="/nowhere") == "0.1.0"


def test_the_system_is_searched():
    assert load(LD_LIBRARY_PATH=str(Path(LIBRARY).parent)) == "0.1.0"


def test_a_missing_library_is_named(tmp_path):
    said = load(LIBREPLICATION_LIB=str(tmp_path / "no.so"))
    assert "LIBREPLICATION_LIB" in said and "no.so" in said
    said = load(LD_LIBRARY_PATH="/nowhere")
    assert said.startswith("libreplication is not installed") and "LIBREPLICATION_LIB" in said


def test_another_library_is_refused(tmp_path):
    assert "is not libreplication" in load(LIBREPLICATION_LIB=str(stub(tmp_path, {"other": 1})))


def test_another_abi_is_refused(tmp_path):
    said = load(LIBREPLICATION_LIB=str(stub(tmp_path, {"replication_abi_version": 7})))
    assert "has ABI 7" in said and f"needs ABI {_raw.ABI_VERSION}" in said


def test_an_older_library_is_refused_with_what_it_lacks(tmp_path):
    functions = dict.fromkeys(_raw.PROTOTYPES, _raw.ABI_VERSION)
    for missing in ("receiver_token", "sender_wait_durable"):
        del functions[missing]
    said = load(LIBREPLICATION_LIB=str(stub(tmp_path, functions)))
    assert "is older than this package" in said and "it lacks sender_wait_durable and 1 more" in said
