"""Forks: what the parent has is not the child's."""

from __future__ import annotations

from pathlib import Path

import leasehold
import pytest
from rig import assert_free, run

HEAD = """
import asyncio, multiprocessing, os, sys, threading, time
import leasehold
url, name = sys.argv[1:3]
client = leasehold.connect(url)

def in_child(work):
    # As a pre-forking server does it; the answer is the child's exit code.
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + 8
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, 9); os.waitpid(child, 0)
            raise SystemExit("the child hangs")
        time.sleep(0.002)

def works(client, name):
    with client.lock(name, ttl=60, wait=5) as lease:
        assert lease.is_valid
    async def main():
        async with client.lock(name, ttl=60, wait=5) as lease:
            assert lease.is_valid
    asyncio.run(main())
"""

BODIES = {
    "a_client_made_and_used_before_the_fork_works_in_both": """
works(client, name)
for _ in range(5):
    assert in_child(lambda: works(client, name)) == 0
    works(client, name)
""",
    "a_client_made_but_not_used_before_the_fork_works_in_both": """
for _ in range(5):
    assert in_child(lambda: works(client, name)) == 0
works(client, name)
""",
    "a_lease_is_inert_in_the_child_and_goes_on_in_the_parent": """
lease = client.lock(name, ttl=60).acquire()
def child():
    assert not lease.is_valid and lease.remaining == 0 and not lease.lost.is_set()
    for act in (lease.check, lease.renew, lease.release):
        try:
            act()
        except leasehold.ClientClosed as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("a lease of the parent's was of use")
    assert client.lock(name).try_acquire() is None
    works(client, name + "/own")
    globals().pop("lease")
    client.close()
assert in_child(child) == 0
assert lease.is_valid
lease.check()
lease.renew()
assert client.lock(name).try_acquire() is None
lease.release()
assert client.lock(name).try_acquire()
""",
    "a_child_that_ends_in_any_way_releases_nothing_of_the_parents": """
lease = client.lock(name, ttl=60).acquire()
def leave():
    sys.exit(0)
for _ in range(3):
    child = os.fork()
    if child == 0:
        sys.exit(0)  # with exit handlers and finalizers
    assert os.waitpid(child, 0)[1] == 0
assert in_child(lambda: client.close()) == 0
assert in_child(lambda: None) == 0
lease.check()
assert client.lock(name).try_acquire() is None
lease.release()
""",
    "a_block_that_both_leave_is_released_by_the_parent_only": """
try:
    with client.lock(name, ttl=60) as lease:
        child = os.fork()
    assert child
    assert os.waitpid(child, 0)[1] == 0
    assert client.lock(name).try_acquire()
except leasehold.ClientClosed:
    os._exit(0 if child == 0 else 1)
""",
    "a_fork_from_a_thread_works_in_both": """
works(client, name)
codes = []
def thread():
    with client.lock(name + "/own", ttl=60):
        codes.append(in_child(lambda: works(client, name)))
other = threading.Thread(target=lambda: client.lock(name + "/own").acquire())
first = threading.Thread(target=thread)
first.start(); other.start(); first.join(); other.join()
assert codes == [0]
works(client, name)
""",
    "a_fork_inside_of_a_running_loop_works_with_a_new_one": """
async def main():
    lease = await client.lock(name, ttl=60).acquire_async()
    waiter = asyncio.ensure_future(client.lock(name, ttl=60).acquire_async())
    await asyncio.sleep(0.01)
    def child():
        asyncio._set_running_loop(None)
        works(client, name + "/own")
        assert not lease.is_valid
    assert in_child(child) == 0
    await lease.release_async()
    await (await asyncio.wait_for(waiter, 5)).release_async()
asyncio.run(main())
works(client, name)
""",
    "a_fork_of_a_fork_works": """
works(client, name)
def child():
    works(client, name)
    lease = client.lock(name + "/child", ttl=60).acquire()
    assert in_child(lambda: works(client, name)) == 0
    lease.release()
assert in_child(child) == 0
works(client, name)
""",
    "a_fork_while_threads_and_a_loop_are_at_work_neither_hangs_nor_loses_a_lease": """
stop, done = False, []
def busy(i):
    while not stop:
        with client.lock(f"{name}/{i}"):
            pass
    done.append(i)
async def busy_loop(i):
    while not stop:
        async with client.lock(f"{name}/{i}"):
            pass
    done.append(i)
threads = [threading.Thread(target=busy, args=(i,), daemon=True) for i in range(3)]
threads.append(threading.Thread(target=lambda: asyncio.run(busy_loop(3)), daemon=True))
kept = client.lock(name + "/kept", ttl=1).acquire()
for thread in threads: thread.start()
codes, end = [], time.monotonic() + 3
while len(codes) < 20 or time.monotonic() < end:
    codes.append(in_child(lambda: works(client, name)))
    kept.check()
stop = True
for thread in threads: thread.join()
assert set(codes) == {0}, codes
assert sorted(done) == [0, 1, 2, 3], done
kept.release()
""",
}


QUIET = "import warnings; warnings.simplefilter('ignore')\n"

# In these the child uses nothing that the parent has used.
ON_A_FILE = [
    "a_client_made_but_not_used_before_the_fork_works_in_both",
    "a_child_that_ends_in_any_way_releases_nothing_of_the_parents",
    "a_block_that_both_leave_is_released_by_the_parent_only",
]


@pytest.mark.parametrize("what", BODIES)
def test_forks_of_a_client_of_a_server(what: str, redis: str, name: str) -> None:
    run(QUIET + HEAD + BODIES[what], redis, name)
    with leasehold.connect(redis) as client:
        assert_free(client, name)


@pytest.mark.parametrize("what", ON_A_FILE)
def test_forks_of_a_client_of_a_file(what: str, tmp_path: Path, name: str) -> None:
    url = f"sqlite:{tmp_path}/locks.db"
    run(QUIET + HEAD + BODIES[what], url, name)
    with leasehold.connect(url) as client:
        assert_free(client, name)


# What SQLite knows of the locks of its process is copied, and the locks are not.
def test_a_file_that_was_in_use_before_a_fork_is_refused_in_the_child(
    tmp_path: Path, name: str
) -> None:
    body = """
def refused(client):
    try:
        client.lock(name).try_acquire()
    except leasehold.Refused as error:
        assert "forked" in str(error) and "spawn" in str(error), error
    else:
        raise AssertionError("a lock that holds nobody off")
def busy():
    while client.lock(name).try_acquire():
        pass
works(client, name)
threading.Thread(target=busy, daemon=True).start()
for _ in range(20):
    assert in_child(lambda: refused(client)) == 0
    assert in_child(lambda: refused(leasehold.connect(url + ".other"))) == 0
"""
    run(QUIET + HEAD + body, f"sqlite:{tmp_path}/locks.db", name)


def test_a_file_that_is_not_in_use_any_more_can_be_used_in_a_child(
    tmp_path: Path, name: str
) -> None:
    body = """
works(client, name)
client.close()
del client
def child():
    try:
        works(leasehold.connect(url), name)
    except leasehold.Refused:
        os._exit(7)
end = time.monotonic() + 8
# It ends in the background.
while (code := in_child(child)) == 7:
    assert time.monotonic() < end
assert code == 0
"""
    run(QUIET + HEAD + body, f"sqlite:{tmp_path}/locks.db", name)


def test_a_client_in_memory_says_that_it_cannot_follow(name: str) -> None:
    body = """
client.connect()
def child():
    try:
        client.lock(name).acquire()
    except leasehold.ClientClosed as error:
        assert "fork" in str(error) and "connect again" in str(error), error
    else:
        raise AssertionError("a lock in another process's memory")
assert in_child(child) == 0
"""
    run(QUIET + HEAD + body, "memory:", name)
