"""Pairs of acquire and release by tooz: see ../peers.rs."""

import statistics
import sys
import time

from tooz import coordination

coordinator = coordination.get_coordinator(sys.argv[1], b"peer")
coordinator.start()
lock = coordinator.get_lock(b"peer-tooz")
for line in sys.stdin:
    times, before = [], time.perf_counter()
    end = before + float(line) / 1000
    while before < end:
        if not lock.acquire(blocking=False):
            sys.exit("a free lock was not granted")
        lock.release()
        after = time.perf_counter()
        times.append(after - before)
        before = after
    print(f"{statistics.median(times) * 1e6:.1f}", flush=True)
