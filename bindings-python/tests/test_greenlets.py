"""gevent and eventlet: greenlets that share a thread, with and without their patches."""

from __future__ import annotations

from pathlib import Path

import leasehold
import pytest
from rig import LONG, assert_free, run, start, until

GEVENT = """
import sys, time
import gevent, gevent.monkey, gevent.event
if sys.argv[3] == "patched":
    gevent.monkey.patch_all()
import leasehold
spawn, sleep, Timeout = gevent.spawn, gevent.sleep, gevent.Timeout
def join(all):
    gevent.joinall(all, raise_error=True)
def kill(one):
    one.kill()
def later(work):
    gevent.get_hub().loop.run_callback(work)
"""
EVENTLET = """
import sys, time, warnings
warnings.simplefilter("ignore")
import eventlet, eventlet.hubs, eventlet.greenthread
if sys.argv[3] == "patched":
    eventlet.monkey_patch()
import leasehold
spawn, sleep, Timeout = eventlet.spawn, eventlet.sleep, eventlet.Timeout
def join(all):
    for one in all:
        one.wait()
def kill(one):
    one.kill()
def later(work):
    eventlet.hubs.get_hub().schedule_call_global(0, work)
"""
HEADS = {"gevent": GEVENT, "eventlet": EVENTLET}
COMMON = """
client = leasehold.connect(sys.argv[1])
name = sys.argv[2]
lock = client.lock(name, ttl=60)
"""


@pytest.fixture(params=[f"{host} {patch}" for host in HEADS for patch in ("patched", "plain")])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def play(host: str, url: str, name: str, body: str) -> str:
    kind, patch = host.split()
    return run(HEADS[kind] + COMMON + body, url, name, patch)


def test_greenlets_take_a_lock_in_turn_and_others_run_meanwhile(
    host: str, redis: str, name: str
) -> None:
    body = """
ticks, inside, fences = [], [], []
def tick():
    while len(fences) < 10:
        ticks.append(1)
        sleep(0.005)
def work():
    with lock as lease:
        inside.append(1)
        sleep(0.02)
        assert inside == [1]
        inside.clear()
        fences.append(lease.fence)
join([spawn(work) for _ in range(10)] + [spawn(tick)])
assert fences == sorted(set(fences)), fences
assert len(ticks) > 10, ticks
print("done")
"""
    assert play(host, redis, name, body) == "done\n"


def test_every_call_lets_others_run(host: str, redis: str, name: str) -> None:
    body = """
seen = []
def hold():
    lease = lock.acquire()
    seen.append("held")
    sleep(0.1)
    lease.renew()
    assert client.status(name).holder and client.list()
    lease.release()
def other():
    while "held" not in seen:
        sleep(0.001)
    assert lock.try_acquire() is None
    try:
        lock.acquire(timeout=0.01)
    except leasehold.LockTimeout:
        seen.append("busy")
    with lock as lease:
        assert lease.lost.wait(0.01) is False
        assert lease.lost.wait(0) is False
        waiter = spawn(lease.lost.wait)
        sleep(0.01)
        assert client.break_lock(name)
        join([waiter])
        assert lease.lost.is_set()
def lose():
    try:
        other()
    except leasehold.LeaseLost:
        seen.append("raised")
def watch():
    seen.extend(event.what for event in client.events())
watcher = spawn(watch)
sleep(0)
join([spawn(hold), spawn(lose)])
client.close()
join([watcher])
print(*sorted(seen))
"""
    out = play(host, redis, name, body)
    assert out == "acquired acquired busy held lost raised released\n"


def test_a_greenlet_that_is_killed_or_timed_out_while_waiting_leaves_nothing(
    host: str, one: leasehold.Client, redis: str, name: str
) -> None:
    body = """
def take():
    with lock:
        raise SystemExit("had it")
def time_out():
    try:
        with Timeout(0.1):
            take()
    except Timeout:
        print("timed out", flush=True)
one, two = spawn(take), spawn(time_out)
sleep(0.05)
kill(one)
join([two])
print("out of the line", flush=True)
sys.stdin.readline()
with lock:
    print("took it")
"""
    held = one.lock(name, ttl=LONG).acquire()
    kind, patch = host.split()
    process = start(HEADS[kind] + COMMON + body, redis, name, patch)
    assert process.stdout
    assert process.stdout.readline() == "timed out\n", process.communicate()
    assert process.stdout.readline() == "out of the line\n"
    until(lambda: not one.status(name).waiters, 2)  # type: ignore[union-attr]
    held.release()
    assert_free(one, name)
    out, err = process.communicate("\n", timeout=20)
    assert (out, err, process.returncode) == ("took it\n", "", 0)


def test_a_timeout_around_the_moment_of_a_grant_leaves_nothing(
    host: str, redis: str, name: str
) -> None:
    body = """
import random
dice = random.Random(7)
counts = [0, 0]
def take(limit):
    try:
        with Timeout(limit):
            lock.acquire().release()
        counts[0] += 1
    except Timeout:
        counts[1] += 1
def main():
    for _ in range(60):
        with lock:
            waiters = [spawn(take, dice.random() * 0.006) for _ in range(3)]
            sleep(dice.random() * 0.004)
        join(waiters)
        lock.acquire(timeout=5).release()
join([spawn(main)])
assert min(counts) > 0, counts
lock.acquire(timeout=5).release()
assert len(client.list()) == 0 or client.status(name) is None or not client.status(name).holder
"""
    play(host, redis, name, body)


def test_a_callback_of_the_hub_is_refused_with_the_cure(host: str, redis: str, name: str) -> None:
    body = """
said = []
def callback():
    try:
        lock.acquire()
    except leasehold.InvalidInput as error:
        said.append(str(error))
later(callback)
while not said:
    sleep(0.01)
print(said[0])
"""
    out = play(host, redis, name, body)
    assert "the hub of" in out and "spawn" in out, out


def test_a_fork_beside_waiting_greenlets_takes_locks_of_its_own(
    host: str, redis: str, name: str
) -> None:
    body = """
import os
def wait():
    with lock:
        order.append("waiter")
order = []
with lock:
    waiter = spawn(wait)
    sleep(0.05)
    child = os.fork()
    if child == 0:
        client.lock(name + "/child").acquire(timeout=10).release()
        ours = []
        def take():
            with client.lock(name + "/child", ttl=60):
                sleep(0.01)
                ours.append(1)
        some = [spawn(take), spawn(take)]
        join(some)
        os._exit(len(ours))
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 2, status
    order.append("parent")
join([waiter])
print(order)
"""
    assert eval(play(host, redis, name, body)) == ["parent", "waiter"]


def test_a_fork_does_not_take_the_word_that_its_parent_waits_for(
    host: str, redis: str, name: str, tmp_path: Path
) -> None:
    body = f"""
import os
over = {str(tmp_path / "over")!r}
def wait():
    lock.acquire(timeout=10).release()
    taken.append(1)
taken = []
for _ in range(10):
    held = lock.acquire()
    waiter = spawn(wait)
    sleep(0.02)
    child = os.fork()
    if child == 0:
        # Its hub has a copy of all that its parent's has.
        while not os.path.exists(over):
            sleep(0.0005)
        os._exit(0)
    sleep(0.01)
    began = time.monotonic()
    held.release()
    join([waiter])
    assert time.monotonic() - began < 0.5, "it was not woken, and asked again"
    open(over, "w").close()
    while not os.waitpid(child, os.WNOHANG)[0]:
        sleep(0.001)
    os.unlink(over)
print(len(taken))
"""
    assert play(host, redis, name, body) == "10\n"


def test_a_greenlet_that_nobody_wakes_any_more_ends_the_program(redis: str, name: str) -> None:
    body = """
sleep(0)  # there is a hub from here on
with lock:
    pass
gevent.wait()  # returns: an idle client is nothing to wait for
print("over")
"""
    assert play("gevent patched", redis, name, body) == "over\n"


def test_threads_of_a_patched_program_wait_as_threads_do(redis: str, name: str) -> None:
    body = """
pool = gevent.get_hub().threadpool
with lock:
    waits = [pool.spawn(lock.acquire) for _ in range(2)]
    sleep(0.05)
first = next(iter(gevent.wait(waits, count=1)))
first.get().release()
gevent.joinall(waits)
[wait.get().release() for wait in waits]
print("done")
"""
    assert play("gevent patched", redis, name, body) == "done\n"
