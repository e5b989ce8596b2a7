"""Leasehold beside other lock clients for Python, in one interleaved run.

    cargo xtask bench python, which does: python compare.py PATH_OF_ETCD

Times are in microseconds; what counts are the ratios, which are to Leasehold.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pottery
import redis
import redis.asyncio
import redis_lock

import leasehold

ROUNDS = 15
PAIRS = 200
TURNS = 150
WORKERS = 8

Pair = Callable[[], Any]
AsyncPair = Callable[[], Awaitable[Any]]


def leasehold_pair(url: str) -> Pair:
    lock = leasehold.connect(url).lock("bench/leasehold")
    return lambda: lock.acquire().release()


def redis_py_pair(port: int) -> Pair:
    lock = redis.Redis(port=port).lock("bench/redis-py", timeout=10)
    return lambda: (lock.acquire(), lock.release())


def python_redis_lock_pair(port: int) -> Pair:
    server = redis.StrictRedis(port=port)

    def pair() -> None:
        lock = redis_lock.Lock(server, "bench-prl", expire=10)
        lock.acquire()
        lock.release()

    return pair


def pottery_pair(port: int) -> Pair:
    server = redis.Redis(port=port)
    lock = pottery.Redlock(key="bench", masters={server}, auto_release_time=10)
    return lambda: (lock.acquire(), lock.release())


def etcd3_pair(port: int) -> Pair:
    import etcd3

    client = etcd3.client(port=port)

    def pair() -> None:
        lock = client.lock("bench", ttl=10)
        lock.acquire()
        lock.release()

    return pair


def median_of(pair: Pair) -> float:
    times = []
    for _ in range(PAIRS):
        began = time.perf_counter()
        pair()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def median_of_async(pair: AsyncPair) -> float:
    times = []
    for _ in range(PAIRS):
        began = time.perf_counter()
        await pair()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def show(title: str, results: dict[str, list[float]]) -> None:
    ours = statistics.median(next(iter(results.values())))
    print(f"\n{title}")
    for name, medians in results.items():
        median = statistics.median(medians)
        print(f"  {name:<24}{median:>9.0f} µs{median / ours:>9.2f}")


def uncontended(title: str, pairs: dict[str, Pair]) -> None:
    results: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(ROUNDS):
        for name, pair in pairs.items():
            results[name].append(median_of(pair))
    show(title, results)


async def uncontended_asyncio(port: int) -> None:
    client = leasehold.connect(f"redis://127.0.0.1:{port}")
    ours = client.lock("bench/leasehold-async")
    server = redis.asyncio.Redis(port=port)
    theirs = server.lock("bench/redis-py-async", timeout=10)

    async def explicit() -> None:
        lease = await ours.acquire_async()
        await lease.release_async()

    async def block() -> None:
        async with ours:
            pass

    async def redis_py() -> None:
        await theirs.acquire()
        await theirs.release()

    pairs: dict[str, AsyncPair] = {
        "leasehold": explicit,
        "leasehold, async with": block,
        "redis-py": redis_py,
    }
    results: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(ROUNDS):
        for name, pair in pairs.items():
            results[name].append(await median_of_async(pair))
    await server.aclose()
    show("asyncio, one Redis, uncontended pair", results)


def wait_in_turn(kind: str, port: int, line: Any, start: Any) -> None:
    """Take the lock again and again; report when it was released and when taken."""
    if kind == "leasehold":
        lock = leasehold.connect(f"redis://127.0.0.1:{port}").lock("bench/turns")
        acquire = lock.acquire
    else:
        server = redis.StrictRedis(port=port)

        def acquire() -> Any:
            one = redis_lock.Lock(server, "bench-turns", expire=10)
            one.acquire()
            return one

    start.wait()
    moments = []
    for _ in range(TURNS):
        held = acquire()
        taken = time.clock_gettime(time.CLOCK_MONOTONIC)
        time.sleep(0.001)
        moments.append((taken, time.clock_gettime(time.CLOCK_MONOTONIC)))
        held.release()
    line.put(moments)


def hand_over(port: int) -> None:
    results: dict[str, list[float]] = {"leasehold": [], "python-redis-lock": []}
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        for kind, medians in results.items():
            line, start = context.Queue(), context.Barrier(WORKERS)
            arguments = (kind, port, line, start)
            workers = [
                context.Process(target=wait_in_turn, args=arguments) for _ in range(WORKERS)
            ]
            for worker in workers:
                worker.start()
            moments = sorted(turn for _ in workers for turn in line.get())
            for worker in workers:
                worker.join()
            # While all of them are there.
            middle = moments[len(moments) // 4 : -len(moments) // 4]
            gaps = [after[0] - before[1] for before, after in zip(middle, middle[1:])]
            medians.append(statistics.median(gaps) * 1e6)
    show(f"hand-over between {WORKERS} processes, one Redis", results)


def footprint(port: int) -> None:
    """Of a fresh interpreter, the least of several."""

    def least(script: str) -> float:
        command = [sys.executable, "-c", script]
        return min(float(subprocess.check_output(command)) for _ in range(10))

    took = "import time; a = time.perf_counter(); import {}; print((time.perf_counter() - a) * 1e3)"
    print("\nimport, and memory")
    for module in ["leasehold", "redis"]:
        print(f"  {module:<24}{least(took.format(module)):>9.1f} ms")
    idle = (
        "import resource, leasehold\n"
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"before = size(); client = leasehold.connect('redis://127.0.0.1:{port}')\n"
        "client.connect(); print(size() - before)"
    )
    print(f"  {'an idle client on Redis':<24}{least(idle):>9.0f} kB")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(*command: str, port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def on_redis() -> None:
    port = free_port()
    with serving("redis-server", "--port", str(port), "--save", "", port=port):
        pairs = {
            "leasehold": leasehold_pair(f"redis://127.0.0.1:{port}"),
            "redis-py, hiredis": redis_py_pair(port),
            "python-redis-lock": python_redis_lock_pair(port),
            "pottery": pottery_pair(port),
        }
        uncontended("threads, one Redis, uncontended pair", pairs)
        asyncio.run(uncontended_asyncio(port))
        hand_over(port)
        footprint(port)


def on_etcd(program: str) -> None:
    port, peers = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
        options = {
            "data-dir": folder,
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        command = [program, "--unsafe-no-fsync", *(f"--{key}={to}" for key, to in options.items())]
        with serving(*command, port=port):
            pairs = {
                "leasehold": leasehold_pair(f"etcd://127.0.0.1:{port}"),
                "etcd3": etcd3_pair(port),
            }
            uncontended("threads, one etcd, uncontended pair", pairs)


if __name__ == "__main__":
    on_redis()
    on_etcd(sys.argv[1])
