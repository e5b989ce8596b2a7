"""Who waits for whom in a circle, seen from two clients of one server."""

from __future__ import annotations

import asyncio
import pathlib
import re
from concurrent.futures import ThreadPoolExecutor

import leasehold
import pytest
from rig import LONG, until

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.fixture
def names(name: str) -> list[str]:
    return [f"{name}/a", f"{name}/b"]


def test_two_clients_that_wait_for_each_other_are_a_circle(
    redis: str, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = names
    with (
        ThreadPoolExecutor() as pool,
        leasehold.connect(redis, label="one", ttl=LONG) as one,
        leasehold.connect(redis, label="other", ttl=LONG) as other,
    ):
        held = one.lock(a).acquire()
        other_held = other.lock(b).acquire()
        waiting = pool.submit(one.lock(b).acquire)
        other_waiting = pool.submit(other.lock(a).acquire)
        # They are one process, which one of the two waits alone makes a circle of.
        circle = until(lambda: [it for it in other.deadlocks() if len(it.waits) == 2])[0]
        assert isinstance(circle, leasehold.Deadlock)
        assert all(isinstance(wait, leasehold.Wait) for wait in circle.waits)
        told = [(lock, waiter.split()[1], holder.split()[1]) for lock, waiter, holder in circle.waits]
        assert told == [(a, "other", "one"), (b, "one", "other")]
        assert asyncio.run(one.deadlocks_async()) == [circle]
        # As the README has it.
        found = re.search(r"\*\*A circle.*?\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)
        assert found and len(found[1].splitlines()) <= 8
        exec(found[1], {"client": one})
        assert f"one waits for {b}, held by" in capsys.readouterr().out
        held.release()
        other_waiting.result(20).release()
        other_held.release()
        waiting.result(20).release()


def test_what_waits_behind_a_lease_of_its_own_client_is_seen_by_that_client_alone(
    redis: str, name: str
) -> None:
    with (
        ThreadPoolExecutor() as pool,
        leasehold.connect(redis, ttl=LONG) as one,
        leasehold.connect(redis) as other,
    ):
        held = one.lock(name).acquire()
        waiting = pool.submit(one.lock(name).acquire)
        until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
        assert one.deadlocks() != [] and other.deadlocks() == []
        held.release()
        waiting.result(20).release()
