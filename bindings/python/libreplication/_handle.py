"""The lifetime of a native handle: calls in progress, closing from any thread, forks, the end of the interpreter."""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import threading
from typing import Any, Callable, List, Set

from . import _callbacks
from ._callbacks import Host
from ._native import library
from .errors import ClosedError, ForkedError, InvalidStateError, ReplicationError, Status, error_of

_get_ident = threading.get_ident


def last_error(status: int) -> ReplicationError:
    """Returns the exception for the status of this thread's last call of the library."""
    message = library().replication_last_error_message().decode("utf-8", "replace")
    return error_of(status, message)


def check(status: int) -> None:
    """Raises the status of a call, unless it is OK."""
    if status:
        raise last_error(status)


class Handle:
    """The native handle of a sender or receiver. ``with handle as pointer`` is a call in progress.

    The library requires that no call runs while a handle is freed, and that none begins afterwards. So each call enters
    itself in `_users`. The closer stops the handle, which ends the calls that wait, and frees it after the last call.
    """

    def __init__(self, kind: str, pointer: int, host: Host) -> None:
        native = library()
        self.kind = kind
        self.pointer = pointer
        self.host = host
        self.interrupt: Callable[[], None] = lambda: None
        """Ends a handler of this package that waits, because the handle is about to be stopped."""
        self._stop = getattr(native, f"{kind}_stop")
        self._free = getattr(native, f"{kind}_free")
        self._users: List[int] = []
        self._closing = False
        self._forked = False
        self._closed = False
        self._closer: List[bool] = [True]  # the thread that takes it out closes the handle
        self._changed = threading.Condition()

    # ---- calls ----

    def __enter__(self) -> int:
        # Both steps are atomic, and in this order: the closer sees the user, or the user sees that it is closing.
        self._users.append(_get_ident())
        if self._closing or self._forked:
            self.__exit__()
            if self._forked:
                raise ForkedError(
                    f"this {self.kind} was made by another process; threads do not survive a fork: make a new one here"
                )
            raise ClosedError(f"this {self.kind} is closed")
        return self.pointer

    def __exit__(self, *_: object) -> None:
        self._users.remove(_get_ident())
        if self._closing:
            self._notify()

    @property
    def closed(self) -> bool:
        """Whether the handle is closed, so that no call can be made."""
        return self._closing

    # ---- closing ----

    def close(self) -> None:
        """Stops and frees the handle. On return no callback runs, unless it made the call.

        The main thread leaves the work to another thread, so that Ctrl-C interrupts it while a handler does not return.
        Closing then continues.
        """
        me = _get_ident()
        if self.host.thread == me or me in self._users:
            # A callback cannot wait for its own end, and a signal handler cannot wait for the call that it interrupted.
            if self._claim():
                self.host.ended = self.host.thread == me
                self._finish_elsewhere()
            return
        on_main_thread = me == threading.main_thread().ident
        while not self._closed:
            if on_main_thread and self._closer and self._close_elsewhere():
                continue
            if self._claim():
                self._finish()
            else:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._closer)

    def abandon(self) -> None:
        """Closes the handle from a finalizer. It must not wait: it runs on any thread, which may hold any lock."""
        if self._claim():
            self._finish_elsewhere()

    def _claim(self) -> bool:
        try:
            self._closer.pop()
        except IndexError:
            return False
        self._closing = True
        return True

    def _finish_elsewhere(self) -> None:
        try:
            _thread.start_new_thread(self._finish, ())
        except RuntimeError:
            self._give_up()  # no thread is available, as at the end of the interpreter

    def _close_elsewhere(self) -> bool:
        """Makes another thread close the handle, and waits for it. Returns false if no thread is available."""
        begun: List[bool] = []

        def close() -> None:
            # Claimed here, so that the claim is not lost if Ctrl-C arrives before this thread runs.
            claimed = self._claim()
            begun.append(True)
            if claimed:
                self._finish()
            else:
                self._notify()

        try:
            _thread.start_new_thread(close, ())
        except RuntimeError:
            return False
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (begun and self._closer))
        return True

    def _finish(self) -> None:
        try:
            if not self._forked:
                self.interrupt()
                self._stop(self.pointer)
                with self._changed:
                    self._changed.wait_for(lambda: not self._users)
            pointer, self.pointer = self.pointer, 0
            self._free(pointer)
        except BaseException:
            self._give_up()  # Ctrl-C interrupted the wait
            raise
        _callbacks.forget(self.host)
        _live.discard(self)
        self._closed = True
        self._notify()

    def _give_up(self) -> None:
        """Lets another thread close the handle, at the latest when the interpreter ends."""
        self._closer.append(True)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _fork(self) -> None:
        """Runs in the child after a fork: threads that were in a call, or held a lock, exist only in the parent."""
        self._forked = True
        self._users.clear()
        self._changed = threading.Condition()
        if self._closing and not self._closer:
            self._closed = True  # in this process
            _live.discard(self)


# ---- making ---------------------------------------------------------------------------------------------------------


def make(kind: str, config: Config, host: Host) -> Handle:
    """Creates a handle from a configuration. The registries refer to it until it is closed."""
    if _ending:
        raise InvalidStateError(f"no {kind} can be made while the interpreter ends")
    out = ctypes.c_void_p()
    check(getattr(library(), f"{kind}_new")(config.pointer, ctypes.byref(out)))
    assert out.value is not None
    handle = Handle(kind, out.value, host)
    _live.add(handle)
    if _ending:  # set since the check above
        handle.close()
    return handle


class Config:
    """A native configuration that exists during a ``with`` statement."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.pointer: int = 0

    def __enter__(self) -> Config:
        self.pointer = getattr(library(), f"{self._kind}_config_new")()
        if not self.pointer:
            raise last_error(Status.OUT_OF_MEMORY)
        return self

    def __exit__(self, *_: object) -> None:
        getattr(library(), f"{self._kind}_config_free")(self.pointer)

    def set(self, option: str, *values: Any) -> None:
        """Calls a setter."""
        check(getattr(library(), f"{self._kind}_config_{option}")(self.pointer, *values))


# ---- the process ----------------------------------------------------------------------------------------------------

_live: Set[Handle] = set()
_ending = False


def _close_all() -> None:
    """Closes every handle at exit, the newest first: no callback may run once the interpreter is gone."""
    global _ending
    _ending = True
    given_up: Set[Handle] = set()
    while _live - given_up:
        for handle in sorted(_live - given_up, key=lambda handle: handle.host.key, reverse=True):
            try:
                handle.close()
            except KeyboardInterrupt:
                given_up.add(handle)  # its handler hangs; the other handles are closed nevertheless
    if given_up:
        raise KeyboardInterrupt


def _after_fork() -> None:
    for handle in list(_live):
        handle._fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
