"""Pairs of acquire and release by pottery: see ../peers.rs."""

import statistics
import sys
import time

from pottery import Redlock
from redis import Redis

masters = {Redis(port=int(port)) for port in sys.argv[2:]}
lock = Redlock(key="peer-pottery", masters=masters, auto_release_time=10)
for line in sys.stdin:
    times, before = [], time.perf_counter()
    end = before + float(line) / 1000
    while before < end:
        if not lock.acquire():
            sys.exit("a free lock was not granted")
        lock.release()
        after = time.perf_counter()
        times.append(after - before)
        before = after
    print(f"{statistics.median(times) * 1e6:.1f}", flush=True)
