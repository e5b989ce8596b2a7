"""The locks of kazoo, one command per line: see interop.rs."""

import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import LockTimeout

hosts, timeout = sys.argv[1], float(sys.argv[2])
client = KazooClient(hosts=hosts, timeout=timeout)
# What a user of kazoo is told to do about locks: to watch the connection.
connected = threading.Event()
client.add_listener(
    lambda state: connected.set() if state == KazooState.CONNECTED else connected.clear()
)
client.start(timeout=30)
locks = {}


def say(word):
    print(word, flush=True)


for line in sys.stdin:
    command, path = line.split()
    if command in ("try", "wait"):
        # Other people's nodes count for it only if it is told what they are called.
        lock = locks[path] = client.Lock(path, "kazoo", extra_lock_patterns=["-lock-"])
        if command == "wait":
            say("waiting")
        waits = {"timeout": 30} if command == "wait" else {"blocking": False}
        try:
            granted = lock.acquire(**waits)
        except LockTimeout:
            granted = False
        say("granted" if granted else "busy")
    elif command == "release":
        say("released" if locks[path].release() else "not owned")
    elif command == "holds":
        say("yes" if connected.is_set() and locks[path].is_acquired else "no")
