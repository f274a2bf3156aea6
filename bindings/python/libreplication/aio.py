"""`Sender` and `Receiver` for asyncio: calls that wait are awaited."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar, Union

from . import _arguments
from ._callbacks import Stopping
from .constants import AckLevel
from .entry import Batch, Entry
from .errors import InvalidStateError, Status, error_of
from .quorum import Quorum
from .receiver import Receiver
from .sender import Sender

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ReceiverOptions, SenderOptions

_T = TypeVar("_T")


async def _in_thread(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Runs a blocking call on its own thread. `work` receives a function that returns whether its result is wanted."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    gone = threading.Event()
    # An exception must be stored nowhere else: its traceback refers to all frames, which a cycle would keep alive.
    results: List[_T] = []
    errors: List[BaseException] = []

    def settle() -> None:
        if ended.done():
            errors.clear()  # the caller no longer wants the result
        else:
            ended.set_result(None)

    def run() -> None:
        try:
            results.append(work(lambda: not gone.is_set()))
        except BaseException as error:
            errors.append(error)
        _tell(loop, settle)

    threading.Thread(target=run, name="libreplication-wait", daemon=True).start()
    try:
        await ended
    except BaseException:
        errors.clear()
        raise
    finally:
        gone.set()
    if errors:
        raise errors.pop()
    return results.pop()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """Schedules a call on the loop's thread, if the loop still exists."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        pass


class AsyncReceiver:
    """A `Receiver` for asyncio: an async context manager and an async iterable of entries.

        async with AsyncReceiver("reader-1", "127.0.0.1:7000") as receiver:
            async for entry in receiver:
                ...

    Without a handler, ``async for`` receives the entries: an entry counts as applied when the loop asks for the next
    one. If ``break`` or an exception ends the loop, its entry is not applied, and the next loop begins with it. A
    receiver with a handler (see `Receiver`; it is called on the receiver's own thread) cannot be iterated over.
    """

    def __init__(
        self, reader_id: str, writer_addr: str, *, max_entries: Optional[int] = None, **options: Unpack[ReceiverOptions]
    ) -> None:
        """Takes the options of `Receiver`. When iterated over, the receiver takes up to `max_entries` entries from the
        library at once, by default 1: then `token` in the loop's body is the position after the current entry. A larger
        number is faster, and `token` is the position after the last of them."""
        self._offer: Optional[_Offer] = None
        self._iterates = not (options.keys() & {"handler", "batch_handler", "records"})
        if self._iterates:
            self._offer = offer = _Offer()
            options["batch_handler"] = offer.hand_over
            max_entries = 1 if max_entries is None else max_entries
        self.sync = Receiver(reader_id, writer_addr, max_entries=max_entries or 0, **options)
        """The receiver itself, for calls that do not wait."""
        if self._offer is not None:
            # Its handler waits for a loop, which may never ask for entries.
            self.sync._handle.interrupt = self._offer.end

    # ---- life ----

    async def __aenter__(self) -> AsyncReceiver:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Starts the receiver. Call it in the event loop in which the receiver is used."""
        if self._offer is not None:
            self._offer.loop = asyncio.get_running_loop()
        self.sync.start()

    async def stop(self) -> None:
        """Disconnects and waits for a running handler."""
        await _in_thread(lambda _: self.sync.stop())

    async def close(self) -> None:
        """Stops the receiver if it runs, and frees it."""
        await _in_thread(lambda _: self.sync.close())

    # ---- entries ----

    async def __aiter__(self) -> AsyncIterator[Entry]:
        """Yields the entries in order until the receiver is stopped. One loop at a time: a new loop takes over."""
        offer = self._offer
        if offer is None:
            raise InvalidStateError("this receiver has a handler, which gets the entries")
        me = offer.take_over()
        while await offer.next(me):
            while offer.done < len(offer.entries):
                yield offer.entries[offer.done]
                offer.check(me)
                offer.done += 1
            offer.finish()

    # ---- waiting and asking ----

    async def wait_sequence(self, sequence: int, timeout: Optional[float] = None) -> None:
        """Waits until an entry is applied. `timeout` is in seconds; None: no limit. May be cancelled."""
        await _in_thread(lambda goes_on: self.sync._wait(sequence, timeout, goes_on))

    async def wait_token(self, token: bytes, timeout: Optional[float] = None) -> None:
        """Waits until the entry of a token is applied. `timeout` is in seconds; None: no limit. May be cancelled."""
        await _in_thread(lambda goes_on: self.sync._wait_token(token, timeout, goes_on))

    async def pause(self) -> None:
        """Passes no more entries to the handler. Not allowed for a receiver that is iterated over."""
        if self._iterates:
            raise InvalidStateError("a receiver that is iterated is paused by not asking for the next entry")
        await _in_thread(lambda _: self.sync.pause())

    def resume(self) -> None:
        """Ends a pause."""
        self.sync.resume()

    @property
    def connected(self) -> bool:
        """Whether a connection is established, handshake included."""
        return self.sync.connected

    @property
    def last_sequence(self) -> int:
        """The last applied sequence."""
        return self.sync.last_sequence

    def token(self) -> bytes:
        """Returns the token of the receiver's position: in a loop's body, after the entries taken with its entry."""
        return self.sync.token()

    def stats(self) -> Dict[str, Any]:
        """Returns the statistics."""
        return self.sync.stats()


class _Offer:
    """The entries that the callback thread has passed on and the loop has not applied yet.

    The callback thread waits until all of them are applied, so that the library's position is the loop's.
    """

    def __init__(self) -> None:
        self.loop: Optional[asyncio.AbstractEventLoop] = None
        self.entries: Sequence[Entry] = ()
        self.done = 0
        self.iterator: object = None
        self._ended = False
        self._changed = threading.Condition()
        self._waiter: Optional[asyncio.Future[None]] = None

    # On the callback thread.

    def hand_over(self, batch: Batch) -> None:
        with self._changed:
            self.done = 0
            self.entries = list(batch)
            self._wake()
            self._changed.wait_for(lambda: self._ended or not self.entries)
            if self.entries:
                batch.applied, self.entries = self.done, ()
                raise Stopping("the receiver is stopped before this entry is applied")

    def _wake(self) -> None:
        if self.loop is not None:
            _tell(self.loop, self._resolve)

    # On the loop's thread.

    def take_over(self) -> object:
        """Passes the entries to a new loop, and notifies a loop that waits for entries."""
        self.iterator = object()
        self._resolve()
        return self.iterator

    def check(self, iterator: object) -> None:
        if self.iterator is not iterator:
            raise InvalidStateError("another loop has taken over this receiver")

    async def next(self, iterator: object) -> bool:
        """Waits until there are entries; returns False at the end."""
        while True:
            with self._changed:
                if self._ended:
                    return False
                self.check(iterator)
                if self.entries:
                    return True
                self._waiter = waiter = asyncio.get_running_loop().create_future()
            await waiter

    def finish(self) -> None:
        """Marks all entries as applied."""
        with self._changed:
            self.entries = ()
            self._changed.notify_all()

    def _resolve(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # On any thread.

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._wake()


class AsyncSender:
    """A `Sender` for asyncio: an async context manager whose waiting calls are awaited."""

    def __init__(self, **options: Unpack[SenderOptions]) -> None:
        """Takes the options of `Sender`."""
        self.sync = Sender(**options)
        """The sender itself, for calls that do not wait."""

    async def __aenter__(self) -> AsyncSender:
        self.sync.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, address: str) -> int:
        """Accepts readers at an address. Resolving a host name may take time."""
        return await _in_thread(lambda _: self.sync.listen(address))

    def replicate(self, payload: _arguments.Payload, timestamp_us: Optional[int] = None) -> int:
        """Appends an entry to the log and returns its sequence. If a policy makes it wait, call it in a thread."""
        return self.sync.replicate(payload, timestamp_us)

    def replicate_token(self, payload: _arguments.Payload, timestamp_us: Optional[int] = None) -> bytes:
        """Appends an entry to the log and returns its token."""
        return self.sync.replicate_token(payload, timestamp_us)

    def replicate_batch(self, payloads: List[_arguments.Payload], timestamp_us: Optional[int] = None) -> int:
        """Appends entries with consecutive sequences and returns the first sequence."""
        return self.sync.replicate_batch(payloads, timestamp_us)

    async def wait_acked(
        self, sequence: int, level: AckLevel = AckLevel.APPLIED, readers: int = 1, timeout: Optional[float] = None
    ) -> int:
        """Waits until readers have acknowledged an entry that this sender numbered, and returns how many have."""
        return await _in_thread(lambda goes_on: self.sync._wait_acked(sequence, level, readers, timeout, goes_on))

    async def wait_token(
        self,
        token: bytes,
        level: AckLevel = AckLevel.APPLIED,
        readers: Union[int, Quorum] = 1,
        timeout: Optional[float] = None,
    ) -> int:
        """Waits until readers have acknowledged the entry of a token, and returns how many have. Uses no thread."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Tuple[int, int]] = loop.create_future()

        def settle(status: int, count: int) -> None:
            if not told.done():
                told.set_result((status, count))

        self.sync.on_acked(token, lambda status, count: _tell(loop, settle, status, count), level, readers, timeout)
        status, count = await told
        if status != Status.OK:
            raise error_of(status, f"{count} readers have acknowledged the entry")
        return count

    async def wait_durable(self, sequence: int, timeout: Optional[float] = None) -> None:
        """Waits until an entry is on this node's disk."""
        await _in_thread(lambda goes_on: self.sync._wait_durable(sequence, timeout, goes_on))

    async def stop(self) -> None:
        """Lets readers catch up for the stop timeout, and closes everything."""
        await _in_thread(lambda _: self.sync.stop())

    async def close(self) -> None:
        """Stops the sender if it runs, and frees it."""
        await _in_thread(lambda _: self.sync.close())
