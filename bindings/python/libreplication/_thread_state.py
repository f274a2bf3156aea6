"""Keeps Python's state of a library thread from the thread's first callback to its end.

Python creates such a state for a thread that it does not know, and drops it when the callback returns. That costs
several times as much as a handler of single entries, and every callback begins with new `threading.local` objects.
Worse, before Python 3.12 a fork at such a moment leaves a lock held in the child, which then hangs in `os.fork`. So the
first callback acquires the state once more, and the thread releases it at its end.
"""

from __future__ import annotations

import ctypes
from typing import Any

_ensure = ctypes.pythonapi.PyGILState_Ensure
_ensure.restype, _ensure.argtypes = ctypes.c_int, []
_release = ctypes.pythonapi.PyGILState_Release
_release.restype, _release.argtypes = None, [ctypes.c_int]

_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _give_back(_: int) -> None:
    # This call has acquired the state too, and drops it when it returns. 0 is PyGILState_LOCKED: the call continues.
    _release(0)


_destructor = _Destructor(_give_back)
try:
    # C++ and Rust register the destructors of thread-local objects here. They run before pthread's own thread-specific
    # data, in which Python finds the state, is destroyed.
    _at_thread_exit: Any = ctypes.CDLL(None)["__cxa_thread_atexit_impl"]
    _at_thread_exit.restype = ctypes.c_int
    _at_thread_exit.argtypes = [_Destructor, ctypes.c_void_p, ctypes.c_void_p]
except AttributeError:
    _at_thread_exit = None


def keep() -> None:
    """Keeps the state of this thread, which is in a callback, if the C library can report the thread's end."""
    if _at_thread_exit is not None and _at_thread_exit(_destructor, None, None) == 0:
        _ensure()
