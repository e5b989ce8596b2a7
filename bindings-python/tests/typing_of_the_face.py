"""Checked by mypy, and never run: what a user's type checker makes of the face."""

from datetime import timedelta

import leasehold
from typing_extensions import assert_type


def threads(client: leasehold.Client) -> None:
    lock = client.lock("a", ttl=timedelta(seconds=1), wait=2, on_lost="flag")
    with lock as lease:
        assert_type(lease, leasehold.Lease)
        assert_type(lease.fence, int)
        assert_type(lease.lost.reason, str | None)
    assert_type(lock.try_acquire(), leasehold.Lease | None)
    assert_type(client.list(), list[leasehold.Status])
    client.lock("a", ttl="10")  # type: ignore[arg-type]
    with client.lock("a", permits=4) as counted, client.locks(["b"], shared=True) as leases:
        assert_type(counted.slot, int | None)
        assert_type(leases.slots, dict[str, int])
    client.lock("a", permits="4")  # type: ignore[arg-type]
    waits: list[leasehold.Wait] = [wait for circle in client.deadlocks() for wait in circle.waits]
    print([wait.lock for wait in waits])
    if status := client.status("a"):
        assert_type(status.holders, list[leasehold.Holder])
        assert_type(status.holder, leasehold.Holder | None)


def once(client: leasehold.Client) -> None:
    nightly = client.once("a", every=timedelta(days=1), slot="b")
    done = nightly.run(print, 1)
    if isinstance(done, leasehold.Skipped):
        assert_type(done.why, str)
        assert_type(done.next_in, float)


def elections(client: leasehold.Client) -> None:
    election = client.election("a", value="10.0.0.7:8080", ttl=2)
    with election.campaign() as term:
        assert_type(term, leasehold.Term)
        assert_type(term.number, int)
        term.proclaim("b")
    assert_type(election.lead(lambda term: term.number), int)
    assert_type(election.leader(), leasehold.Leader | None)
    for leader in election.observe():
        assert_type(leader, leasehold.Leader | None)
    client.election("a", value=7)  # type: ignore[arg-type]


async def elections_of_tasks(client: leasehold.Client) -> None:
    async def body(term: leasehold.Term) -> str:
        await term.proclaim_async("b")
        return "done"

    election = client.election("a")
    async with election.campaign() as term:
        assert_type(term, leasehold.Term)
    assert_type(await election.lead_async(body), str)
    async for leader in election.observe():
        assert_type(leader, leasehold.Leader | None)


async def tasks(client: leasehold.Client) -> None:
    async with client.lock("a") as lease:
        assert_type(lease, leasehold.Lease)
        assert_type(await lease.lost, str | None)
    assert_type(await client.lock("a").try_acquire_async(), leasehold.Lease | None)


def decorated(client: leasehold.Client) -> None:
    @client.locked("charge/{invoice}")
    async def charge(invoice: int) -> str:
        return "done"

    @client.locked("report")
    def report() -> int:
        return 1

    assert_type(report(), int)
    charge("x")  # type: ignore[arg-type, unused-coroutine]
