"""What a thread costs, and does, while it waits for an answer."""

from __future__ import annotations

from rig import Redis, run

HEAD = """
import os, resource, signal, sys, threading, time
import leasehold
url, server_pid, name = sys.argv[1], int(sys.argv[2]), "waits"
client = leasehold.connect(url, ttl=60, wait=30)

def pair(name=name):
    with client.lock(name):
        pass

def while_the_server_stands_still(work, seconds):
    os.kill(server_pid, signal.SIGSTOP)
    threading.Timer(seconds, os.kill, (server_pid, signal.SIGCONT)).start()
    work()

pair()
"""


def program(redis: Redis, body: str) -> None:
    run(HEAD + body, redis.url, str(redis.process.pid))


def test_threads_that_have_waited_keep_no_descriptors(server: Redis) -> None:
    program(
        server,
        """
over = threading.Event()
def wait_and_stay(which):
    pair(which)
    there.release()
    over.wait()
there = threading.Semaphore(0)
before = len(os.listdir("/proc/self/fd"))
threads = [threading.Thread(target=wait_and_stay, args=(str(which),)) for which in range(100)]
for thread in threads:
    thread.start()
    there.acquire()
after = len(os.listdir("/proc/self/fd"))
over.set()
assert after <= before + 10, f"{before} and then {after}"
""",
    )


def test_a_wait_costs_nothing_where_fewer_descriptors_are_allowed_than_are_open(
    server: Redis,
) -> None:
    program(
        server,
        """
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
before = time.process_time()
while_the_server_stands_still(pair, 2)
used = time.process_time() - before
assert used < 0.5, f"{used} s of 2 s"
""",
    )


def test_a_child_that_a_handler_forks_does_not_go_on_with_a_wait_of_its_parent(
    server: Redis,
) -> None:
    program(
        server,
        """
parent, children = os.getpid(), []
def fork(*_):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
    else:
        children.append(child)
signal.signal(signal.SIGUSR1, fork)
held = client.lock("held").acquire()
for _ in range(5):
    threading.Timer(0.1, os.kill, (parent, signal.SIGUSR1)).start()
    try:
        while_the_server_stands_still(pair, 0.3)
    except leasehold.ClientClosed:
        assert os.getpid() != parent
        pair("of the child")
        os._exit(7)
    assert os.getpid() == parent
    _, status = os.waitpid(children.pop(), 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
held.release()
""",
    )
