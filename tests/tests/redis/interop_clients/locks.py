"""The locks of redis-py, one command per line: see interop.rs."""

import sys

import redis

server = redis.Redis(port=int(sys.argv[1]))
locks = {}


def say(word):
    print(word, flush=True)


for line in sys.stdin:
    command, name, *rest = line.split()
    if command in ("try", "wait"):
        lock = locks[name] = server.lock(name, timeout=int(rest[0]) / 1000, sleep=0.02)
        if command == "wait":
            say("waiting")
        granted = lock.acquire(blocking=command == "wait", blocking_timeout=10)
        say("granted" if granted else "busy")
    elif command == "release":
        try:
            locks[name].release()
            say("released")
        except redis.exceptions.LockNotOwnedError:
            say("not owned")
