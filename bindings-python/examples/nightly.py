"""A script that cron starts on three machines at the same time, and that runs on one.

    LEASEHOLD_URL=redis://redis.internal python nightly.py /mnt/reports
"""

import datetime
import os
import pathlib
import sys

import leasehold

folder = pathlib.Path(sys.argv[1])
report = folder / f"{datetime.date.today()}.txt"

with leasehold.connect(os.environ["LEASEHOLD_URL"], label="nightly") as client:
    lease = client.lock("nightly", max_hold=3600).try_acquire()
    if lease is None:
        print("another machine is at it")
        sys.exit()
    with lease:
        # One that starts late finds the lock free, and the work done.
        if report.exists():
            print("done already")
            sys.exit()
        lines = [f"{number} is a number" for number in range(100_000)]
        # A thread cannot be interrupted: look before what cannot be undone.
        lease.check()
        unfinished = report.with_suffix(f".{lease.fence}")
        unfinished.write_text("\n".join(lines))
        unfinished.rename(report)
        print("made", report)
