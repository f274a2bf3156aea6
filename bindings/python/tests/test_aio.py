"""asyncio: awaiting, and iterating over entries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
import weakref

import pytest
from conftest import Events, Inbox, tasks, wait_until

import libreplication as r
from libreplication import errors


def reader(address, **options):
    return r.AsyncReceiver("reader", address, reconnect_interval_ms=20, ack_interval_ms=5, **options)


def test_waiting(sender, address):
    inbox = Inbox()

    async def main():
        async with reader(address, handler=inbox.append) as receiver:
            sequence = sender.replicate(b"x")
            await receiver.wait_sequence(sequence)
            assert receiver.connected and receiver.last_sequence == sequence == receiver.stats()["last_sequence"]
            assert receiver.token() == sender.token()
            await receiver.wait_token(sender.token())
            with pytest.raises(TimeoutError):
                await receiver.wait_sequence(99, timeout=0.01)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receiver.wait_sequence(99), 0.01)
            await receiver.pause()
            receiver.resume()
            many = [receiver.wait_sequence(n) for n in range(1, 21)]
            sender.replicate_batch([b"y"] * 19)
            await asyncio.gather(*many)
            with pytest.raises(errors.InvalidStateError, match="has a handler"):
                async for _ in receiver:
                    pass
            waiting = asyncio.ensure_future(receiver.wait_sequence(99))
            await asyncio.sleep(0)
            await receiver.stop()
            with pytest.raises(errors.ClosedError):
                await waiting

    asyncio.run(main())
    assert len(inbox) == 20


def test_a_cancelled_wait_leaves_no_thread(sender, address):
    async def main():
        async with reader(address, handler=print) as receiver:
            before = tasks()
            waits = [asyncio.ensure_future(receiver.wait_sequence(99)) for _ in range(10)]
            await asyncio.sleep(0)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await asyncio.get_running_loop().run_in_executor(None, wait_until, lambda: tasks() <= before + 1)

    asyncio.run(main())


def test_a_loop_that_waits_hears_that_another_has_taken_over(sender, address):
    async def first(receiver):
        async for entry in receiver:
            return entry.data

    async def main():
        async with reader(address) as receiver:
            waiting = asyncio.ensure_future(first(receiver))
            await asyncio.sleep(0)
            other = asyncio.ensure_future(first(receiver))
            with pytest.raises(errors.InvalidStateError, match="taken over"):
                await asyncio.wait_for(waiting, 20)
            sender.replicate(b"x")
            assert await asyncio.wait_for(other, 20) == b"x"

    asyncio.run(main())


@pytest.mark.parametrize("policy", [r.ApplyPolicy.STOP, r.ApplyPolicy.SKIP])
def test_an_entry_that_a_loop_leaves_is_not_given_up(sender, address, policy):
    """What a stop interrupts has not failed, whatever the policy does with what has."""
    events = Events()

    async def main():
        sender.replicate_batch([b"x"] * 3)
        async with reader(address, apply_policy=policy, on_event=events.append) as receiver:
            async for _ in receiver:
                break
            await receiver.stop()
            stats = receiver.stats()
            assert (stats["last_sequence"], stats["total_entries_skipped"]) == (0, 0)

    asyncio.run(main())
    assert not events.of(r.EventKind.STOPPED)


@pytest.mark.parametrize("max_entries", [None, 7])
def test_iterating(sender, address, max_entries):
    async def main():
        got = []
        async with reader(address, max_entries=max_entries) as receiver:
            sender.replicate_batch([b"%d" % n for n in range(1, 51)])
            async for entry in receiver:
                got.append(int(entry.data))
                assert receiver.last_sequence < entry.sequence, "an entry is applied when the next is asked for"
                if entry.sequence == 50:
                    break
            sequence = sender.replicate(b"51")
            async for entry in receiver:
                got.append(int(entry.data))
                if entry.sequence == sequence:
                    break
        return got

    # The entry at which a loop was left comes again in the next one.
    assert asyncio.run(main()) == [*range(1, 51), 50, 51]


def test_a_loop_that_raises_leaves_its_entry(sender, address):
    events = Events()

    async def main():
        sender.replicate_batch([b"1", b"2", b"3"])
        async with reader(address, on_event=events.append) as receiver:
            with pytest.raises(ZeroDivisionError):
                async for entry in receiver:
                    if entry.sequence == 2:
                        raise ZeroDivisionError
            assert receiver.last_sequence == 1
            rest = []
            async for entry in receiver:
                rest.append(entry.sequence)
                if entry.sequence == 3:
                    break
            return rest

    assert asyncio.run(main()) == [2, 3]


def test_the_token_in_a_loop_is_behind_its_entry(sender, address):
    async def main():
        sender.replicate_batch([b"x"] * 5)
        tokens = []
        async with reader(address) as receiver:
            async for entry in receiver:
                tokens.append(receiver.token())
                if entry.sequence == 5:
                    break
        async with reader(address, token=tokens[2]) as receiver:
            async for entry in receiver:
                return entry.sequence

    assert asyncio.run(main()) == 4


def test_a_loop_ends_when_the_receiver_is_closed(sender, address):
    async def main():
        receiver = reader(address)
        receiver.start()
        seen = []

        async def loop():
            async for entry in receiver:
                seen.append(entry.sequence)

        looping = asyncio.ensure_future(loop())
        sender.replicate(b"x")
        while not seen:
            await asyncio.sleep(0.001)
        await receiver.close()
        await looping
        return seen

    assert asyncio.run(main()) == [1]


def test_an_entry_that_is_left_is_no_failure(sender, address, caplog):
    events = Events()

    async def main():
        async with reader(address, on_event=events.append) as receiver:
            sender.replicate_batch([b"1", b"2"])
            async for entry in receiver:
                if entry.sequence == 2:
                    break
            return receiver.last_sequence

    assert asyncio.run(main()) == 1
    assert not events.of(r.EventKind.APPLY_FAILED) and "Traceback" not in caplog.text


def test_two_loops_at_once_are_refused(sender, address):
    async def main():
        sender.replicate_batch([b"1", b"2"])
        async with reader(address) as receiver:
            async with contextlib.AsyncExitStack() as stack:
                first, second = receiver.__aiter__(), receiver.__aiter__()
                stack.push_async_callback(first.aclose)
                stack.push_async_callback(second.aclose)
                assert (await first.__anext__()).sequence == 1
                assert (await second.__anext__()).sequence == 1
                with pytest.raises(errors.InvalidStateError, match="taken over"):
                    await first.__anext__()
                assert (await second.__anext__()).sequence == 2
            with pytest.raises(errors.InvalidStateError):
                await receiver.pause()

    asyncio.run(main())


def test_the_loop_may_end_before_the_receiver(sender, address):
    """Nobody takes the entry that was handed over; closing does not wait for it."""
    kept = []

    async def main():
        receiver = reader(address)
        kept.append(receiver)
        receiver.start()
        sender.replicate(b"x")
        async for _ in receiver:
            break
        waiting = asyncio.ensure_future(receiver.wait_sequence(9))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    receiver = kept.pop()
    asyncio.run(receiver.close())


def test_it_may_be_forgotten(sender, address):
    async def main():
        receiver = reader(address)
        receiver.start()
        sender.replicate(b"x")
        async for _ in receiver:
            break

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(main())
        gc.collect()


def test_a_wait_that_failed_keeps_nothing(sender, address):
    """It is not left to the collector of cycles, which may be long in coming, to end a receiver."""

    async def main():
        receiver = reader(address, handler=print)
        receiver.start()
        try:
            await receiver.wait_sequence(99, timeout=0.01)
        except errors.TimedOutError:
            pass
        return weakref.ref(receiver.sync)

    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            receiver = asyncio.run(main())
            wait_until(lambda: receiver() is None)
    finally:
        gc.enable()


def test_a_sender():
    async def main():
        async with r.AsyncSender(stop_timeout_ms=100) as sender:
            port = await sender.listen("127.0.0.1:0")
            async with reader(f"127.0.0.1:{port}", handler=print) as receiver:
                token = sender.replicate_token(b"")
                assert await sender.wait_token(token, timeout=10) == await sender.wait_acked(1, timeout=10) == 1
                with pytest.raises(errors.TimedOutError):
                    await sender.wait_token(token, readers=5, timeout=0.01)
                with pytest.raises(errors.InvalidStateError):
                    await sender.wait_durable(1)
                assert sender.replicate_batch([b"", b""]) == 2
                await receiver.wait_sequence(3)
            waiting = asyncio.ensure_future(sender.wait_token(token, readers=5))
            await asyncio.sleep(0)
            await sender.stop()
            with pytest.raises(errors.ClosedError):
                await waiting

    asyncio.run(main())


def test_only_the_loops_thread_runs_its_body(sender, address):
    async def main():
        sender.replicate(b"x")
        async with reader(address) as receiver:
            async for _ in receiver:
                return threading.get_ident()

    assert asyncio.run(main()) == threading.get_ident()
