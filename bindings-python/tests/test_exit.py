"""The end of the interpreter."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import leasehold
import pytest
from rig import LONG, Redis, assert_free, run, start, until

PYTHONS = [sys.executable, *filter(None, os.environ.get("LEASEHOLD_PYTHONS", "").split(os.pathsep))]

HEAD = """
import asyncio, sys, threading, time, uuid
import leasehold
client = leasehold.connect(sys.argv[1])
name = str(uuid.uuid4())
def daemons(work, count=4):
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
"""

# What a program does last.
ENDINGS = {
    "right after its last await": """
async def main():
    lease = await client.lock(name).acquire_async()
    await lease.release_async()
asyncio.run(main())
""",
    "with an await in many tasks just over": """
async def one(i):
    async with client.lock(f"{name}/{i % 5}", ttl=60):
        pass
async def main():
    await asyncio.gather(*(one(i) for i in range(20)))
asyncio.run(main())
""",
    "with leases held": """
leases = [client.lock(f"{name}/{i}", ttl=60).acquire() for i in range(5)]
""",
    "with a lease held by a task": """
async def main():
    global lease
    lease = await client.lock(name, ttl=60).acquire_async()
asyncio.run(main())
""",
    "with threads blocked in acquire": """
lease = client.lock(name, ttl=60).acquire()
daemons(lambda: client.lock(name).acquire())
time.sleep(0.02)
""",
    "with threads that read events": """
lease = client.lock(name, ttl=60).acquire()
daemons(lambda: list(client.events()))
""",
    "with threads that wait for a loss": """
lease = client.lock(name, ttl=60).acquire()
daemons(lambda: lease.lost.wait())
""",
    "with threads that never rest": """
def work():
    while True:
        with client.lock(f"{name}/{threading.get_ident()}"):
            pass
daemons(work)
time.sleep(0.02)
""",
    "with threads that never leave their exit stacks": """
from contextlib import ExitStack
def work():
    while True:
        with ExitStack() as stack:
            stack.enter_context(client.lock(f"{name}/{threading.get_ident()}"))
daemons(work)
time.sleep(0.02)
""",
    "with threads that meet errors all the time": """
lease = client.lock(name, ttl=60).acquire()
def work():
    while True:
        try:
            client.lock(name).acquire(timeout=0.0001)
        except leasehold.LockTimeout:
            pass
daemons(work)
time.sleep(0.02)
""",
    "with an event loop in a thread": """
async def work():
    while True:
        async with client.lock(name, ttl=60):
            await asyncio.sleep(0)
daemons(lambda: asyncio.run(work()), 2)
time.sleep(0.02)
""",
    "with a pending task": """
lease = client.lock(name, ttl=60).acquire()
async def main():
    asyncio.ensure_future(client.lock(name).acquire_async())
    asyncio.ensure_future(client.lock(name).acquire_async())
    await asyncio.sleep(0.005)
asyncio.run(main())
""",
    "with a pending task of a loop that was only closed": """
import logging; logging.disable()
lease = client.lock(name, ttl=60).acquire()
loop = asyncio.new_event_loop()
task = loop.create_task(client.lock(name).acquire_async())
loop.run_until_complete(asyncio.sleep(0.005))
loop.close()
""",
    "with a client that nobody closed or used": "",
    "with exit handlers and finalizers that use it": """
import atexit
lease, second = client.lock(name, ttl=60).acquire(), client.lock(name + "2", ttl=60).acquire()
class Worker:
    def __del__(self, release=lease.release, lost=leasehold.LeaseLost):
        try:
            release()
        except lost:
            pass
worker = Worker()
worker.itself = worker
atexit.register(second.release)
""",
}


@pytest.mark.parametrize("python", PYTHONS)
def test_a_program_can_end_at_any_moment(python: str, redis: str, tmp_path: Path) -> None:
    urls = [redis, f"sqlite:{tmp_path}/locks.db", "memory:"]
    programs = [
        (HEAD + ending, url) for ending in ENDINGS.values() for url in urls for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as pairs:
        list(pairs.map(lambda program: run(*program, python=python), programs))


@pytest.mark.parametrize(
    "ending", ["with threads that never rest", "with threads that never leave their exit stacks"]
)
def test_threads_that_come_and_go_survive_the_end(ending: str) -> None:
    # One in twenty did not, with so many at once.
    with ThreadPoolExecutor(8) as many:
        list(many.map(lambda _: run(HEAD + ENDINGS[ending], "memory:"), range(80)))


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_leases_that_are_held_at_the_end_are_free_at_once(
    kind: str, redis: str, tmp_path: Path, name: str
) -> None:
    url = redis if kind == "redis" else f"sqlite:{tmp_path}/locks.db"
    source = """
        import sys, leasehold
        client = leasehold.connect(sys.argv[1])
        leases = [client.lock(f"{sys.argv[2]}/{i}", ttl=60).acquire() for i in range(20)]
        """
    run(source, url, name)
    with leasehold.connect(url) as client:
        for i in range(20):
            assert client.lock(f"{name}/{i}").try_acquire(), "given back before the process ended"


def test_the_end_waits_no_longer_than_a_second_for_a_silent_server(
    server: Redis, name: str
) -> None:
    source = """
        import sys, leasehold
        client = leasehold.connect(sys.argv[1])
        # The server knows what it is asked at the end.
        client.lock(sys.argv[2]).acquire().release()
        lease = client.lock(sys.argv[2], ttl=60).acquire()
        print("held", flush=True)
        sys.stdin.readline()
        """
    process = start(source, server.url, name)
    assert process.stdout and process.stdout.readline() == "held\n"
    server.pause()
    began = time.monotonic()
    _, err = process.communicate("\n", timeout=20)
    took = time.monotonic() - began
    server.resume()
    assert (process.returncode, err) == (0, "")
    assert 0.9 < took < 3, "bounded, but not given up at once"
    # What it sent before it gave up the server does when it goes on.
    with leasehold.connect(server.url) as client:
        assert_free(client, name)


def test_the_exit_code_and_the_error_of_the_program_stay(redis: str, name: str) -> None:
    for end, code, word in [("sys.exit(3)", 3, ""), ("raise ValueError('mine')", 1, "mine")]:
        source = f"""
            import sys, leasehold
            lease = leasehold.connect(sys.argv[1]).lock(sys.argv[2], ttl=60).acquire()
            {end}
            """
        process = start(source, redis, name)
        _, err = process.communicate(timeout=20)
        assert process.returncode == code and word in err and "leasehold" not in err.lower(), err


def test_a_thread_that_watches_for_a_loss_does_not_take_the_end_for_one(
    redis: str, name: str
) -> None:
    source = """
        import os, sys, threading, leasehold
        lease = leasehold.connect(sys.argv[1]).lock(sys.argv[2], ttl=60).acquire()
        def guard():
            if lease.lost.wait():
                os._exit(79)
        threading.Thread(target=guard, daemon=True).start()
        """
    for _ in range(5):
        run(source, redis, name)


def test_a_lease_is_given_back_at_the_end_when_only_the_lease_is_left(
    redis: str, one: leasehold.Client, name: str
) -> None:
    source = """
        import sys, leasehold
        lease = leasehold.connect(sys.argv[1]).lock(sys.argv[2], ttl=60).acquire()
        """
    for _ in range(5):
        run(source, redis, name)
        assert_free(one, name)


def test_an_exit_handler_that_runs_after_ours_does_not_hang(
    redis: str, one: leasehold.Client, name: str
) -> None:
    source = """
        import atexit, sys
        def late():
            assert not lease.is_valid
            try:
                lease.release()
            except leasehold.LeaseLost:
                print("lost")
        atexit.register(late)
        import leasehold
        client = leasehold.connect(sys.argv[1])
        lease = client.lock(sys.argv[2], ttl=60).acquire()
        """
    assert run(source, redis, name) == "lost\n"
    assert_free(one, name)


def test_a_program_killed_outright_frees_its_file_lock(tmp_path: Path, name: str) -> None:
    url = f"sqlite:{tmp_path}/locks.db"
    source = """
        import sys, leasehold
        lease = leasehold.connect(sys.argv[1]).lock(sys.argv[2], ttl=60).acquire()
        print("held", flush=True)
        sys.stdin.readline()
        """
    process = start(source, url, name)
    assert process.stdout and process.stdout.readline() == "held\n"
    with leasehold.connect(url) as client:
        assert client.lock(name).try_acquire() is None
        process.kill()
        process.communicate()
        until(lambda: client.lock(name, ttl=LONG).try_acquire(), 10)
