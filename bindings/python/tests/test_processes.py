"""The end of the interpreter, fork and spawn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from libreplication import errors


def run(program: str, *arguments: str, status: int = 0) -> str:
    """Runs a program in a Python of its own and returns what it printed. It must end by itself and in order."""
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", program, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, said = process.communicate(timeout=50)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and what it forked
        printed, said = process.communicate()
        raise AssertionError(f"it does not end: {printed}{said}") from None
    assert process.returncode == status, f"status {process.returncode}: {said}"
    assert not any(word in said for word in ("Traceback", "Fatal", "panic", "Exception")), said
    return printed


PAIR = """
import atexit, gc, os, queue, sys, threading, time
import libreplication as r

sender = r.Sender(stop_timeout_ms=200, full_policy=r.FullPolicy.WAIT, full_wait_ms=1000)
sender.start()
address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"

def follow(handler, **options):
    receiver = r.Receiver("reader", address, handler, reconnect_interval_ms=20, **options)
    receiver.start()
    return receiver
"""


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "threading.Thread(target=sys.exit).start()"])
@pytest.mark.parametrize("kept", [True, False])
def test_the_interpreter_ends_with_handles_open(ending, kept):
    program = f"""{PAIR}
receiver = follow(lambda entry: time.sleep(0.001))
sender.replicate_batch([b"x"] * 1000)
receiver.wait_sequence(5, timeout=20)
{"keep = [sender, receiver]; keep.append(keep)" if kept else "del receiver, sender"}
print("end")
{ending}
"""
    assert run(program) == "end\n"


def test_the_interpreter_ends_while_daemon_threads_work():
    program = f"""{PAIR}
# On a slow machine the first entries may have left the buffer when the receiver comes.
receiver = follow(lambda entry: None, on_event=lambda event: None, gap_policy=r.GapPolicy.CONTINUE)

def work(call):
    while True:
        try:
            call()
        except r.ReplicationError:
            pass

works = [lambda: sender.replicate(b"x"), lambda: receiver.wait_sequence(10**9), lambda: sender.wait_acked(1, readers=9),
         lambda: follow(lambda entry: None).close(), lambda: receiver.stats()]
sender.replicate(b"x")
for call in works:
    threading.Thread(target=work, args=(call,), daemon=True).start()
receiver.wait_sequence(100, timeout=20)
print("end")
"""
    for _ in range(5):
        assert run(program) == "end\n"


def test_the_interpreter_ends_in_a_callbacks_time():
    """A handler that runs is waited for; its handle may be closed by it meanwhile."""
    program = f"""{PAIR}
def handle(entry):
    running.set()
    ending.wait(20)
    receiver.close()
    print("handled", flush=True)

running, ending = threading.Event(), threading.Event()
atexit.register(ending.set)  # what is registered last is called first
receiver = follow(handle)
sender.replicate(b"x")
running.wait(20)
print("end", flush=True)
"""
    assert run(program) == "end\nhandled\n"


def test_an_exception_in_the_main_thread_ends_it_all_the_same():
    program = f"""{PAIR}
receiver = follow(lambda entry: time.sleep(0.001))
sender.replicate_batch([b"x"] * 100)
raise SystemExit(3)
"""
    run(program, status=3)


def test_nothing_can_be_made_at_the_end():
    """What was registered before the package was imported runs after the package's own handler."""
    program = (
        "import atexit\n"
        "@atexit.register\n"
        "def late():\n"
        "    try: r.Sender()\n"
        "    except r.errors.InvalidStateError as error: print(error)\n"
        "import libreplication as r\n"
        "r.Sender().start()\n"
    )
    assert "while the interpreter ends" in run(program)


def test_a_handler_registered_at_exit_may_still_use_them():
    program = f"""{PAIR}
got = []
receiver = follow(got.append)

@atexit.register
def flush():
    sequence = sender.replicate(b"last")
    receiver.wait_sequence(sequence, timeout=20)
    print(got[-1].data.decode())
"""
    assert run(program) == "last\n"


def test_globals_and_finalizers_at_the_end():
    program = f"""{PAIR}
class Owner:
    def __init__(self):
        self.receiver = follow(lambda entry: None)
    def __del__(self):
        self.receiver.close()
        self.receiver.close()
        print("finalized")

owner = Owner()
sender.replicate(b"x")
"""
    assert run(program) == "finalized\n"


@pytest.mark.parametrize("kept", [True, False])
def test_the_interpreter_ends_while_a_receiver_is_iterated(kept):
    """Its handler waits for a loop that does not come."""
    program = f"""{PAIR}
import asyncio

async def main():
    receiver = r.AsyncReceiver("iterated", address)
    {"kept.append(receiver)" if kept else ""}
    receiver.start()
    async for entry in receiver:
        return entry.sequence

kept = []
sender.replicate_batch([b"x"] * 10)
print(asyncio.run(main()))
"""
    assert run(program) == "1\n"


def test_ctrl_c_while_closing_leaves_the_rest_to_the_end():
    program = f"""{PAIR}
import signal

def handle(entry):
    running.set()
    while not receiver.closed:
        time.sleep(0.001)

def interrupt(*_):
    if not heard:
        heard.append(True)
        raise KeyboardInterrupt

def stop_and_interrupt(pointer):
    stop(pointer)
    while not heard:  # a signal that comes just before a thread begins to wait does not wake it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
        time.sleep(0.01)

heard = []
signal.signal(signal.SIGALRM, interrupt)
running = threading.Event()
receiver = follow(handle)
sender.replicate(b"x")
running.wait(20)
receiver._handle._users.append(-1)  # a call that does not end
stop = receiver._handle._stop
receiver._handle._stop = stop_and_interrupt
try:
    receiver.close()
except KeyboardInterrupt:
    print("interrupted")
receiver._handle._users.clear()
receiver._handle._notify()
"""
    assert run(program) == "interrupted\n"


CTRL_C = f"""{PAIR}
import signal

def handle(entry):
    running.set()
    go_on.wait()

def interrupted(call):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    begin = time.monotonic()
    try:
        call()
    except KeyboardInterrupt:
        # At once: what a later handler writes does not wait in this buffer.
        print("interrupted" if time.monotonic() - begin < 10 else "late", flush=True)

signal.signal(signal.SIGALRM, signal.default_int_handler)
running, go_on = threading.Event(), threading.Event()
receiver = follow(handle)
sender.replicate(b"x")
running.wait(20)
"""


@pytest.mark.parametrize("call", ["close()", "stop()", "pause()", "__exit__()"])
def test_p5_ctrl_c_is_heard_while_a_handler_hangs(call):
    """Then closing goes on without its caller: when the handler returns, all is as if nobody had been impatient."""
    program = f"""{CTRL_C}
interrupted(lambda: receiver.{call})
go_on.set()
receiver.close()
print(receiver._handle._closed)
"""
    assert run(program) == "interrupted\nTrue\n"


def test_p5_ctrl_c_is_heard_while_a_handle_is_waited_for_at_the_end():
    """The handler never returns. One Ctrl-C leaves `with`, one more leaves the end of the interpreter."""
    program = f"""{CTRL_C}
def leave():
    with receiver:
        pass

interrupted(leave)
sender.close()
signal.signal(signal.SIGALRM, lambda *_: os.write(1, b"at the end\\n") and signal.default_int_handler(2, None))
signal.setitimer(signal.ITIMER_REAL, 0.1)
sys.unraisablehook = lambda what: None
"""
    assert run(program) == "interrupted\nat the end\n"


def test_p9_faulthandler_tells_of_a_crash_in_a_callback():
    program = f"""{PAIR}
import ctypes, faulthandler, resource

def crash_site(entry):
    ctypes.string_at(8)

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
faulthandler.enable(file=sys.stdout)
receiver = follow(crash_site)
receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
"""
    printed = run(program, status=-signal.SIGSEGV)
    assert "Segmentation fault" in printed and "in crash_site" in printed


def test_fork_gives_a_clear_error():
    program = f"""{PAIR}
receiver = follow(lambda entry: None)
receiver.wait_sequence(sender.replicate(b"x"), timeout=20)

def work(call):
    try:
        while True:
            call()
    except r.ReplicationError:
        pass

for call in (lambda: receiver.wait_sequence(sender.replicate(b"x"), timeout=20), lambda: receiver.wait_sequence(10**9)):
    threading.Thread(target=work, args=(call,), daemon=True).start()
for _ in range(8):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            calls = [sender.stats, lambda: sender.replicate(b"x"), lambda: sender.reader_count, receiver.token,
                     lambda: receiver.connected, lambda: receiver.wait_sequence(1), sender.stop]
            told = []
            for call in calls:
                try:
                    call()
                except r.errors.ForkedError as error:
                    told.append(error.status == r.Status.FORKED and "fork" in str(error))
            receiver.close()
            sender.close()
            del receiver, sender
            gc.collect()
            with r.Sender() as own:
                own.replicate(b"y")
            status = 0 if told == [True] * len(calls) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
print("parent goes on")
"""
    assert run(program) == "parent goes on\n"


def test_fork_while_the_handler_is_called_without_a_pause():
    program = f"""{PAIR}
receiver = follow(lambda entry: None)

def work():
    try:
        while True:
            sender.replicate(b"x" * 1000)
    except r.ReplicationError:
        pass

threading.Thread(target=work, daemon=True).start()
receiver.wait_sequence(100, timeout=20)
for _ in range(200):
    child = os.fork()
    if child == 0:
        try:
            sender.stats()
        except r.errors.ForkedError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
print("end")
"""
    assert run(program) == "end\n"


MULTI = """
import multiprocessing, sys
import libreplication as r

def child(address, queue):
    try:
        got = []
        with r.Receiver("child", address, got.append) as receiver:
            receiver.wait_sequence(2, timeout=20)
        queue.put([entry.data for entry in got])
        queue.put(got[0])
    except BaseException as error:
        queue.put(repr(error))

def use(queue):
    try:
        sender.replicate(b"x")
    except r.ReplicationError as error:
        queue.put((error.name, str(error)))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    with r.Sender() as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        sender.replicate_batch([b"one", b"two"], timestamp_us=5)
        process = context.Process(target=child, args=(address, queue))
        process.start()
        print(queue.get(timeout=30))
        print(queue.get(timeout=30))
        process.join(30)
        print(process.exitcode)
        if sys.argv[1] == "fork":
            process = context.Process(target=use, args=(queue,))
            process.start()
            print(queue.get(timeout=30)[0])
            process.join(30)
        else:
            try:
                context.Process(target=child, args=(sender, queue)).start()
            except TypeError as error:
                print(error)
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(method, tmp_path):
    """Each process makes its own handles. Entries and errors travel, handles do not."""
    program = tmp_path / "program.py"
    program.write_text(MULTI)
    done = subprocess.run([sys.executable, program, method], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["[b'one', b'two']", "Entry(sequence=1, timestamp_us=5, payload=b'one')", "0"]
    if method == "fork":
        assert lines[3] == "FORKED"
    else:
        assert "cannot be pickled" in lines[3] and "make it in the process that uses it" in lines[3]


def test_errors_can_be_pickled():
    import pickle

    error = errors.GatedError("too few")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.GatedError and (again.status, str(again)) == (error.status, str(error))


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_other_versions_of_python(version, tmp_path):
    """The quickstart, with whatever other Pythons are installed here."""
    found = sorted(path for path in map(str, _interpreters()) if os.path.basename(path) == f"python{version}")
    if not found:
        pytest.skip(f"no Python {version} here")
    program = f"""{PAIR}
got = []
with follow(got.append) as receiver:
    receiver.wait_sequence(sender.replicate_batch([b"one", b"two"]) + 1, timeout=20)
print([entry.data for entry in got], r.decode_records(b"\\x91\\x81\\xa1a\\x01"))
left = follow(lambda entry: left.close())
sender.replicate(b"x")
"""
    done = subprocess.run([found[0], "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "[b'one', b'two'] [{'a': 1}]\n"), done.stderr


def _interpreters():
    from pathlib import Path

    places = [Path(place) for place in os.environ.get("PATH", "").split(":")]
    places += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for place in places:
        if place.is_dir() and place.name != "shims":
            yield from place.glob("python3.[0-9]*")
