"""For asyncio: the same, where what waits is awaited."""

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
from .values import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ReceiverOptions, SenderOptions

_T = TypeVar("_T")


async def _in_thread(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Does what blocks on a thread of its own. `work` gets a function that tells whether it is still wanted."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    gone = threading.Event()
    # An exception stays nowhere: its traceback refers to all that was called, which a cycle would keep.
    results: List[_T] = []
    errors: List[BaseException] = []

    def settle() -> None:
        if ended.done():
            errors.clear()  # nobody wants it any more
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
    """Has something done on the loop's thread, if the loop is still there."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        pass


class AsyncReceiver:
    """A `Receiver` for asyncio: an async context manager, whose entries can be iterated over.

        async with AsyncReceiver("reader-1", "127.0.0.1:7000") as receiver:
            async for entry in receiver:
                ...

    Without a handler, ``async for`` takes its place: an entry counts as applied when the loop asks for the next one. A
    loop that is left by ``break`` or an exception leaves its entry unapplied, and the next loop begins with it. With a
    handler (see `Receiver`; it is called on the receiver's own thread) there is no iteration.
    """

    def __init__(
        self, reader_id: str, writer_addr: str, *, max_entries: Optional[int] = None, **options: Unpack[ReceiverOptions]
    ) -> None:
        """Takes what `Receiver` takes. When iterated, `max_entries` is how many entries are handed over at once, by
        default 1: then `token` in the loop's body is of the place after its entry. More is faster, and `token` is of
        the place after the last of them."""
        self._offer: Optional[_Offer] = None
        self._iterates = not (options.keys() & {"handler", "batch_handler", "records"})
        if self._iterates:
            self._offer = offer = _Offer()
            options["batch_handler"] = offer.hand_over
            max_entries = 1 if max_entries is None else max_entries
        self.sync = Receiver(reader_id, writer_addr, max_entries=max_entries or 0, **options)
        """The receiver itself, for what does not wait."""
        if self._offer is not None:
            # Its handler waits for a loop that may not come.
            self.sync._handle.interrupt = self._offer.end

    # ---- life ----

    async def __aenter__(self) -> AsyncReceiver:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Starts it; in the loop in which it is used."""
        if self._offer is not None:
            self._offer.loop = asyncio.get_running_loop()
        self.sync.start()

    async def stop(self) -> None:
        """Ends the connection and waits for a handler that runs."""
        await _in_thread(lambda _: self.sync.stop())

    async def close(self) -> None:
        """Stops it, if it still runs, and frees it."""
        await _in_thread(lambda _: self.sync.close())

    # ---- entries ----

    async def __aiter__(self) -> AsyncIterator[Entry]:
        """Gives the entries in order, until the receiver is stopped. One loop at a time: a new one takes over."""
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
        """Waits until an entry is applied. `timeout` is in seconds; None: for ever. May be cancelled."""
        await _in_thread(lambda goes_on: self.sync._wait(sequence, timeout, goes_on))

    async def pause(self) -> None:
        """Hands no more entries to the handler. Not for a receiver that is iterated."""
        if self._iterates:
            raise InvalidStateError("a receiver that is iterated is paused by not asking for the next entry")
        await _in_thread(lambda _: self.sync.pause())

    def resume(self) -> None:
        """Goes on after `pause`."""
        self.sync.resume()

    @property
    def connected(self) -> bool:
        """Whether a handshake has succeeded and its connection lives."""
        return self.sync.connected

    @property
    def last_sequence(self) -> int:
        """The last sequence that was applied."""
        return self.sync.last_sequence

    def stream(self) -> Stream:
        """The lineage that is followed."""
        return self.sync.stream()

    def token(self) -> bytes:
        """The token of where it stands: in a loop's body, after what was handed over with its entry."""
        return self.sync.token()

    def stats(self) -> Dict[str, Any]:
        """The statistics."""
        return self.sync.stats()


class _Offer:
    """What the callback thread has handed over, and the loop has not finished with.

    The thread waits until all of it is applied, so that the library's position is the loop's.
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
        """A new loop has the entries; one that waits for some hears of it."""
        self.iterator = object()
        self._resolve()
        return self.iterator

    def check(self, iterator: object) -> None:
        if self.iterator is not iterator:
            raise InvalidStateError("another loop has taken over this receiver")

    async def next(self, iterator: object) -> bool:
        """Waits until there are entries; False at the end."""
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
        """All that was handed over is applied."""
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
    """A `Sender` for asyncio: an async context manager, where what waits is awaited."""

    def __init__(self, **options: Unpack[SenderOptions]) -> None:
        """Takes what `Sender` takes."""
        self.sync = Sender(**options)
        """The sender itself, for what does not wait."""

    async def __aenter__(self) -> AsyncSender:
        self.sync.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, address: str) -> int:
        """Accepts readers at an address. Resolving a host name may take time."""
        return await _in_thread(lambda _: self.sync.listen(address))

    def replicate(self, payload: _arguments.Payload, timestamp_us: Optional[int] = None) -> int:
        """Puts an entry into the log and returns its sequence. With a policy that waits, use a thread."""
        return self.sync.replicate(payload, timestamp_us)

    def replicate_batch(self, payloads: List[_arguments.Payload], timestamp_us: Optional[int] = None) -> int:
        """Puts many entries into the log and returns the first one's sequence."""
        return self.sync.replicate_batch(payloads, timestamp_us)

    async def wait_acked(
        self,
        sequence: int,
        level: AckLevel = AckLevel.APPLIED,
        readers: Union[int, Quorum] = 1,
        timeout: Optional[float] = None,
    ) -> int:
        """Waits until readers have acknowledged an entry, and returns how many have. Takes no thread."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Tuple[int, int]] = loop.create_future()

        def settle(status: int, count: int) -> None:
            if not told.done():
                told.set_result((status, count))

        self.sync.on_acked(
            sequence, lambda _, status, count: _tell(loop, settle, status, count), level, readers, timeout
        )
        status, count = await told
        if status != Status.OK:
            raise error_of(status, f"{count} readers have acknowledged entry {sequence}")
        return count

    async def wait_durable(self, sequence: int, timeout: Optional[float] = None) -> None:
        """Waits until an entry is on this node's disk."""
        await _in_thread(lambda goes_on: self.sync._wait_durable(sequence, timeout, goes_on))

    async def stop(self) -> None:
        """Lets the readers catch up for the stop timeout, and closes everything."""
        await _in_thread(lambda _: self.sync.stop())

    async def close(self) -> None:
        """Stops it, if it still runs, and frees it."""
        await _in_thread(lambda _: self.sync.close())
