"""Python's state of the library's threads lasts from the first callback to the thread's end."""

from __future__ import annotations

import ctypes
import threading
import weakref

from conftest import follow, wait_until


class Mark:
    """Something to keep in a thread's own data."""


def test_it_lasts_from_callback_to_callback_and_no_longer(sender, address):
    local = threading.local()
    counts, marks = [], []

    def handle(entry):
        if not hasattr(local, "mark"):
            local.mark = Mark()
            marks.append(weakref.ref(local.mark))
        local.count = getattr(local, "count", 0) + 1
        counts.append(local.count)

    with follow(address, handle) as receiver:
        for _ in range(5):
            receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
        assert counts == [1, 2, 3, 4, 5] and marks[0]() is not None
    wait_until(lambda: marks[0]() is None, "the end of the thread's data")


def test_the_thread_that_closes_can_still_be_called_from_c(sender, address, inbox):
    """Its own state is another one."""
    with follow(address, inbox) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 5)(3, 1, 5, 2, 4)
    ctypes.CDLL(None).qsort(numbers, 5, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3, 4, 5]
