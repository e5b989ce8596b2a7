"""Ctrl-C while something waits."""

from __future__ import annotations

import signal
import time

import leasehold
import pytest
from rig import LONG, Redis, assert_free, start, until

HEAD = """
import asyncio, sys, time, leasehold
client = leasehold.connect(sys.argv[1])
lock = client.lock(sys.argv[2], ttl=60)
"""
TAIL = """
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    sys.stdin.readline()
"""
# By who waits: what it does, and whether it stands in the line then.
WAITS = {
    "acquire": ("    lock.acquire()", True),
    "acquire with a timeout": ("    lock.acquire(timeout=50)", True),
    "with": ("    with lock: pass", True),
    "asyncio.run": ("    asyncio.run(lock.acquire_async())", True),
    "lost.wait": (
        "    lease = client.lock(sys.argv[2] + '/own').acquire()\n    lease.lost.wait()",
        False,
    ),
}


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_a_wait_at_once_and_nothing_is_left(
    what: str, one: leasehold.Client, redis: str, name: str
) -> None:
    work, stands_in_line = WAITS[what]
    held = one.lock(name, ttl=LONG).acquire()
    process = start(f"{HEAD}try:\n    print('ready', flush=True)\n{work}\n{TAIL}", redis, name)
    assert process.stdout and process.stdin
    process.stdout.readline()
    if stands_in_line:
        until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
    else:
        until(lambda: one.status(f"{name}/own"))
        time.sleep(0.1)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    raised = float(process.stdout.readline())
    assert raised - sent < 0.3
    # The process lives on, with its client open, and is out of the line.
    until(lambda: not one.status(name).waiters, 2)  # type: ignore[union-attr]
    held.release()
    assert_free(one, name)
    _, err = process.communicate("\n", timeout=20)
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_ends_a_release_that_waits_for_a_silent_server(server: Redis, name: str) -> None:
    body = """
lease = lock.acquire()
print('ready', flush=True)
sys.stdin.readline()
try:
    lease.release()
"""
    process = start(HEAD + body + TAIL, server.url, name)
    assert process.stdout and process.stdin
    process.stdout.readline()
    server.pause()
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    raised = float(process.stdout.readline())
    assert raised - sent < 0.3
    server.resume()
    with leasehold.connect(server.url) as client:
        assert_free(client, name)  # it went on in the background
    process.communicate("\n", timeout=20)


def test_a_handler_that_returns_lets_the_wait_go_on(
    one: leasehold.Client, redis: str, name: str
) -> None:
    body = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("seen", flush=True))
print("ready", flush=True)
lock.acquire()
print("held", flush=True)
"""
    held = one.lock(name, ttl=LONG).acquire()
    process = start(HEAD + body, redis, name)
    assert process.stdout
    process.stdout.readline()
    until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
    for _ in range(3):
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "seen\n"
    held.release()
    assert process.stdout.readline() == "held\n"
    assert process.wait(20) == 0
    process.communicate()


def test_ctrl_c_in_an_interactive_session_leaves_it_usable(
    one: leasehold.Client, redis: str, name: str
) -> None:
    held = one.lock(name, ttl=LONG).acquire()
    process = start("", redis, name, interactive=True)
    assert process.stdin and process.stdout
    process.stdin.write(HEAD + "lock.acquire()\nprint('still here', flush=True)\n")
    process.stdin.flush()
    until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "still here\n"
    until(lambda: not one.status(name).waiters, 2)  # type: ignore[union-attr]
    held.release()
    assert_free(one, name)
    out, err = process.communicate("with lock: print('held')\n\n", timeout=20)
    assert out == "held\n" and "KeyboardInterrupt" in err and process.returncode == 0
