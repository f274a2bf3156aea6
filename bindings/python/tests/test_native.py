"""The table of functions, and how the library is found."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import libreplication
from libreplication import _native, constants, errors

HEADER = (ROOT / "include/replication.h").read_text()
LIBRARY = os.environ["LIBREPLICATION_LIB"]


def prototypes():
    """Each function of the header with its result and arguments, as the compiler reads it."""
    preprocessed = subprocess.run(
        ["cc", "-E", "-P", "-x", "c", ROOT / "include/replication.h"], check=True, capture_output=True, text=True
    ).stdout
    found = {}
    for declaration in preprocessed.replace("\n", " ").split(";"):
        match = re.match(r"\s*([\w\s*]*?)\b((?:sender|receiver|replication)_\w+) *\((.*)\)\s*$", declaration)
        if match and "typedef" not in declaration:
            arguments = [argument.strip() for argument in match[3].split(",")]
            found[match[2]] = (match[1].strip(), [] if arguments == ["void"] else arguments)
    return found


CALLBACKS = {f"replication_{name}_fn": getattr(_native, f"{name.title().replace('_', '')}Fn") for name in (
    "free", "event", "log", "acked", "ingest", "ingest_batch", "record", "connect"
)}  # fmt: skip
NUMBERS = {
    "replication_status": _native.status,
    "int32_t": _native.i32,
    "uint8_t": _native.u8,
    "uint32_t": _native.u32,
    "uint64_t": _native.u64,
    "size_t": _native.size,
    "_Bool": _native.flag,
    "bool": _native.flag,
    "int": _native.descriptor,
    "void": None,
}


def ctypes_of(declared):
    """What stands for a C type in the table. Texts that come in or are not to be freed are char pointers."""
    plain = re.sub(r"\b(const|struct)\b", "", declared)
    if "*" in plain:
        text = plain.replace(" ", "") == "char*" and "const" in declared
        return _native.text if text else _native.pointer
    name = plain.strip()
    return CALLBACKS[name] if name in CALLBACKS else NUMBERS[name]


def test_the_table_is_the_header():
    declared = prototypes()
    assert len(declared) > 130
    assert list(_native.PROTOTYPES) == list(declared), "the functions, in the order of the header"
    for name, (result, arguments) in declared.items():
        types = [re.sub(r"\w+$", "", argument).strip() for argument in arguments]
        assert _native.PROTOTYPES[name] == (ctypes_of(result), *map(ctypes_of, types)), name


def test_the_table_is_what_the_library_exports():
    lines = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
    assert sorted(line.split()[-1] for line in lines.splitlines()) == sorted(_native.PROTOTYPES)


@pytest.mark.parametrize(
    "prefix, numbers",
    [
        ("STATUS", errors.Status),
        ("EVENT_KIND", constants.EventKind),
        ("LOG_LEVEL", constants.LogLevel),
        ("ACK_LEVEL", constants.AckLevel),
        ("VALUE_TYPE", constants.ValueType),
        ("FULL_POLICY", constants.FullPolicy),
        ("SYNC_POLICY", constants.SyncPolicy),
        ("GATE_POLICY", constants.GatePolicy),
        ("PROTOCOL", constants.Protocol),
        ("GAP_POLICY", constants.GapPolicy),
        ("APPLY_POLICY", constants.ApplyPolicy),
    ],
)
def test_the_numbers_are_the_headers(prefix, numbers):
    declared = {
        name: int(value) for name, value in re.findall(rf"^ +REPLICATION_{prefix}_(\w+) = (\d+),", HEADER, re.M)
    }
    assert {member.name: member.value for member in numbers} == declared


def test_the_constants_are_the_headers():
    defined = dict(re.findall(r"^#define REPLICATION_(\w+) (\w+)$", HEADER, re.M))
    names = ("ABI_VERSION", "HEADER_SIZE", "MAX_MESSAGE_SIZE", "MAX_READER_ID_BYTES", "STREAM_ID_BYTES", "TOKEN_BYTES")
    for name in names:
        assert getattr(_native, name) == int(defined[name])
    version = ".".join(defined[f"VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH"))
    assert libreplication.__version__ == version == libreplication.library_version()
    assert f'version = "{version}"' in (ROOT / "bindings/python/pyproject.toml").read_text()


def test_the_structures_have_the_headers_layout(tmp_path):
    structures = {
        "event": _native.EventStruct,
        "slice": _native.SliceStruct,
        "entry": _native.EntryStruct,
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
    assert library.replication_version_number() == 1000 and library.replication_abi_version() == 1


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
    assert "has ABI 7" in said and "needs ABI 1" in said


def test_an_older_library_is_refused_with_what_it_lacks(tmp_path):
    functions = dict.fromkeys(_native.PROTOTYPES, 1)
    for missing in ("receiver_get_token", "sender_wait_durable"):
        del functions[missing]
    said = load(LIBREPLICATION_LIB=str(stub(tmp_path, functions)))
    assert "is older than this package" in said and "it lacks sender_wait_durable and 1 more" in said
