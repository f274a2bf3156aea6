"""The wheels, installed into virtual environments that have nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

WHEELS = sorted((ROOT / "build/wheels").glob("*.whl"))
LIBRARY = Path(os.environ["LIBREPLICATION_LIB"])

if not WHEELS:
    pytest.skip("make python-wheels was not run", allow_module_level=True)


def wheel(pure):
    (found,) = [path for path in WHEELS if path.name.endswith("-none-any.whl") == pure]
    return found


def test_the_tags():
    assert wheel(pure=True).name == "libreplication-0.1.0-py3-none-any.whl"
    tag = wheel(pure=False).name.removeprefix("libreplication-0.1.0-py3-none-").removesuffix(".whl")
    versions = subprocess.run(["readelf", "-W", "-V", LIBRARY], check=True, capture_output=True, text=True).stdout
    newest = max((int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", versions))
    assert tag in (f"manylinux_{newest[0]}_{newest[1]}_{os.uname().machine}", f"linux_{os.uname().machine}")


def test_what_is_in_them():
    for pure in (True, False):
        with zipfile.ZipFile(wheel(pure)) as archive:
            names = archive.namelist()
            text = archive.read("libreplication-0.1.0.dist-info/WHEEL").decode()
        assert "libreplication/py.typed" in names and "libreplication/_native.py" in names
        assert ("libreplication/lib/libreplication.so.0.1" in names) is not pure
        assert f"Root-Is-Purelib: {str(pure).lower()}" in text
        assert len([name for name in names if "LICENSE-" in name]) == 2
        assert not [name for name in names if "test" in name or name.endswith(".pyc")]


PROGRAM = """
import libreplication as r
from libreplication import _native
got = []
with r.Sender() as sender:
    with r.Receiver("reader", f"127.0.0.1:{sender.listen('127.0.0.1:0')}", got.append) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
print(_native.library()._name, [entry.data for entry in got])
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pure", [True, False])
def test_a_wheel_in_an_empty_environment(pure, tmp_path):
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
    python = tmp_path / "venv/bin/python"
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    pip += ["--no-index", "--no-deps", "--target", packages, wheel(pure)]
    subprocess.run(pip, check=True, timeout=60, env=environment)

    def run(**more):
        return subprocess.run(
            [python, "-c", PROGRAM],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=50,
        )

    alone = run()
    if pure:
        assert alone.returncode == 1 and "LibraryError: libreplication is not installed" in alone.stderr
        system = run(LD_LIBRARY_PATH=str(LIBRARY.parent))
        assert system.stdout == "libreplication.so.0.1 [b'x']\n", system.stderr
    else:
        assert alone.stdout == f"{packages}/libreplication/lib/libreplication.so.0.1 [b'x']\n", alone.stderr
    named = run(LIBREPLICATION_LIB=str(LIBRARY))
    assert named.stdout == f"{LIBRARY} [b'x']\n", named.stderr


@pytest.mark.timeout(120)
def test_the_page_says_how_to_install_one(tmp_path):
    (command,) = re.findall(r"^pip install .*$", (ROOT / "docs/python.md").read_text(), re.M)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=60)
    environment = {**os.environ, "PATH": f"{tmp_path}/venv/bin{os.pathsep}{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    del environment["PYTHONPATH"], environment["LIBREPLICATION_LIB"]
    subprocess.run(["bash", "-euc", command], cwd=ROOT, env=environment, check=True, timeout=60)
    run = [tmp_path / "venv/bin/python", "-c", PROGRAM]
    printed = subprocess.run(run, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    assert printed.stdout.endswith("[b'x']\n") and "venv" in printed.stdout, printed
