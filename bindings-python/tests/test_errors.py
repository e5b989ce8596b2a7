"""The exceptions, and what bad input is told."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import leasehold
import pytest
from rig import LONG, Redis, run

CLASSES: dict[str, tuple[type[leasehold.LeaseholdError], type[Exception]]] = {
    "timeout": (leasehold.LockTimeout, TimeoutError),
    "lost": (leasehold.LeaseLost, Exception),
    "not_held": (leasehold.NotHeld, Exception),
    "unavailable": (leasehold.Unavailable, ConnectionError),
    "refused": (leasehold.Refused, Exception),
    "invalid": (leasehold.InvalidInput, ValueError),
    "unsupported": (leasehold.Unsupported, Exception),
    "closed": (leasehold.ClientClosed, Exception),
    "cancelled": (leasehold.Cancelled, Exception),
    "internal": (leasehold.InternalError, Exception),
}


@pytest.mark.parametrize("code", CLASSES)
def test_an_exception_is_what_its_name_says_and_survives_a_copy(code: str) -> None:
    kind, base = CLASSES[code]
    assert issubclass(kind, base) and issubclass(kind, leasehold.LeaseholdError)
    error = kind("a message", "unknown", "a/lock")
    copies = [pickle.loads(pickle.dumps(error, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for one in [error, copy.copy(error), *copies]:
        assert type(one) is kind and str(one) == "a message" and one.args == ("a message",)
        assert (one.code, one.outcome, one.lock) == (code, "unknown", "a/lock")


def test_every_class_is_known() -> None:
    assert {kind for kind, _ in CLASSES.values()} == set(leasehold.LeaseholdError.__subclasses__())


def _fail(name: str) -> None:
    with leasehold.connect("memory:") as client, client.lock(name):
        client.lock(name).acquire(timeout=0.01)


def test_an_exception_of_another_process_arrives_whole(name: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(leasehold.LockTimeout, match=name) as caught:
            pool.apply(_fail, (name,))
    assert (caught.value.code, caught.value.outcome) == ("timeout", "not_held")
    assert caught.value.lock == name


BAD: list[tuple[dict[str, Any], str]] = [
    ({"ttl": 0}, "0ns"),
    ({"ttl": 0.001}, "1ms"),
    ({"ttl": -1}, "-1"),
    ({"ttl": 1e9}, "1000000000s"),
    ({"ttl": float("nan")}, "NaN"),
    ({"ttl": float("inf")}, "inf"),
    ({"ttl": "10"}, "'10'"),
    ({"ttl": True}, "True"),
    ({"ttl": timedelta(days=2)}, "172800s"),
    ({"wait": -0.5}, "-0.5"),
    ({"wait": [1]}, r"\[1\]"),
    ({"max_hold": 0.01}, "10ms"),
    ({"max_hold": timedelta(seconds=-1)}, "-1"),
    ({"label": "a\nb"}, r"a\\nb"),
    ({"label": "x" * 300}, "xxx"),
]


@pytest.mark.parametrize("options, said", BAD)
def test_a_bad_option_is_named_with_its_value(options: dict[str, Any], said: str) -> None:
    with leasehold.connect("memory:") as client:
        with pytest.raises(leasehold.InvalidInput, match=said) as caught:
            client.lock("n", **options)
        assert next(iter(options)) in str(caught.value)
        assert (caught.value.code, caught.value.outcome) == ("invalid", "not_held")
    with pytest.raises(leasehold.InvalidInput, match=said):
        leasehold.connect("memory:", **options)


def test_a_bad_name_timeout_and_policy_are_named() -> None:
    with leasehold.connect("memory:") as client:
        for name in ("", "a\0b", "x" * 1025, "\udcff"):
            for make in (client.lock, client.locked("{name}")(lambda name: 0), client.status):
                with pytest.raises(leasehold.InvalidInput, match="name"):
                    make(name)
        for wrong in (None, b"n", 7):
            with pytest.raises(TypeError):
                client.lock(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            client.lock("n", label=7)  # type: ignore[arg-type]
        for flag in ("auto_renew", "shared"):
            for no_flag in ("yes", 1, None):
                said = f"{flag} is True or False, not {no_flag!r}"
                with pytest.raises(TypeError, match=said):
                    client.lock("n", **{flag: no_flag})
        for timeout, said in ((-1, "-1"), (float("nan"), "NaN"), ("1", "'1'")):
            with pytest.raises(leasehold.InvalidInput, match=said):
                client.lock("n").acquire(timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(leasehold.InvalidInput, match="'explode'"):
            client.lock("n", on_lost="explode")
        with pytest.raises(TypeError):
            client.lock("n", colour="red")  # type: ignore[call-arg]
        for odd in ("💥" * 256, " ", "a b/c"):
            with client.lock(odd) as lease:
                assert lease.name == odd


def test_text_that_utf_8_cannot_carry_is_named_with_the_cure_and_a_url_is_not_shown() -> None:
    with leasehold.connect("memory:") as client:
        for make in (
            lambda: client.lock("caf\udce9"),
            lambda: client.status("caf\udce9"),
            lambda: client.break_lock("caf\udce9"),
            lambda: client.lock("n", label="caf\udce9"),
            lambda: client.locked("caf\udce9{x}")(lambda x: 0)(1),
            lambda: leasehold.connect("memory:", label="caf\udce9"),
        ):
            with pytest.raises(leasehold.InvalidInput) as caught:
                make()
            said = str(caught.value)
            assert r"'caf\udce9" in said and "UTF-8" in said and "hex()" in said, said
            assert (caught.value.code, caught.value.outcome) == ("invalid", "not_held")
    for url in ("redis://:secret\udce9@127.0.0.1:1", "sqlite:/tmp/secret\udce9"):
        with pytest.raises(leasehold.InvalidInput) as caught:
            leasehold.connect(url)
        said = str(caught.value)
        assert "secret" not in said and "UTF-8" in said and "%XX" in said, said
    for wrong in (None, 7, b"memory:"):
        with pytest.raises(TypeError, match="url"):
            leasehold.connect(wrong)  # type: ignore[arg-type]


def test_where_no_descriptor_is_to_be_had_that_is_unavailable_and_goes_on_when_there_is(
    tmp_path: Path,
) -> None:
    out = run(
        """
        import asyncio, os, resource, sys
        import leasehold

        urls = ["memory:", f"sqlite:{sys.argv[1]}/locks.db", "redis://127.0.0.1:1"]

        def blocking(url):
            with leasehold.connect(url):
                pass

        async def waiting(url):
            async with leasehold.connect(url) as client, client.lock("n"):
                pass

        loops = [asyncio.new_event_loop() for _ in range(20)]
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, 4096))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass

        def tried(way):
            try:
                way()
            except leasehold.Unavailable:
                pass
            except BaseException as error:
                print("free:", free, repr(error))

        for free in range(20):
            for url in urls:
                tried(lambda: blocking(url))
                tried(lambda: loops[free].run_until_complete(waiting(url)))
            os.close(taken.pop())
        for descriptor in taken:
            os.close(descriptor)
        blocking("memory:")
        asyncio.run(waiting("memory:"))
        print("free")
        """,
        str(tmp_path),
    )
    assert out == "free\n"


@pytest.mark.parametrize(
    "url", ["carrier:pigeon", "", "memory:x", "redis://h:99999", "sqlite:?a=b"]
)
def test_a_bad_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(leasehold.InvalidInput):
        leasehold.connect(url)


def test_a_wait_in_an_event_loop_is_refused_with_the_cure(client: leasehold.Client) -> None:
    async def main() -> None:
        with pytest.raises(leasehold.InvalidInput, match="async with.*acquire_async"):
            client.lock("n").acquire()
        with pytest.raises(leasehold.InvalidInput):
            with client.lock("n"):
                pass
        assert await asyncio.get_running_loop().run_in_executor(None, client.lock("n").acquire)

    asyncio.run(main())


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        client = leasehold.connect(f"redis://:secret@{address}")
        with pytest.raises(leasehold.Unavailable, match=address) as caught:
            client.connect()
        assert isinstance(caught.value, ConnectionError) and caught.value.code == "unavailable"
        with pytest.raises(leasehold.Unavailable, match=address) as caught:
            asyncio.run(client.lock("n").try_acquire_async())
        assert "secret" not in str(caught.value) + repr(client)


def test_an_answer_of_any_length_is_an_answer(client: leasehold.Client, name: str) -> None:
    with client.lock(name, label="me") as lease:
        status = client.status(name)
        assert status and status.name == name and status.fence == lease.fence
        assert status.holder and "me" in status.holder.label and status.holder.free_in > 0
        assert [one for one in client.list() if one.name == name]
        assert asyncio.run(client.status_async(name))
    assert client.status(name) is None or client.status(name).holder is None  # type: ignore[union-attr]
    assert client.break_lock(name) is False


def causes(error: BaseException) -> list[type[BaseException]]:
    cause = error.__cause__
    return [] if cause is None else [type(cause), *causes(cause)]


def test_an_error_has_the_servers_as_its_cause(server: Redis, name: str) -> None:
    with leasehold.connect(server.url) as client:
        lease = client.lock(name, ttl=2).acquire()
        server.kill()
        with pytest.raises(leasehold.Unavailable) as caught:
            lease.release()
        assert isinstance(caught.value.__cause__, leasehold.Unavailable)
        with pytest.raises(leasehold.Unavailable) as caught:
            leasehold.connect(server.url).connect()
        assert ConnectionRefusedError in causes(caught.value), causes(caught.value)


def test_all_who_wait_for_one_connection_hear_its_cause(server: Redis, name: str) -> None:
    server.kill()
    client = leasehold.connect(server.url)

    async def main() -> None:
        calls = (client.lock(name).try_acquire_async() for _ in range(3))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, leasehold.Unavailable) for error in errors), errors
        assert all(ConnectionRefusedError in causes(error) for error in errors), errors

    asyncio.run(main())


def test_what_a_block_raises_has_a_note_when_the_lease_was_lost(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    def notes(error: BaseException) -> list[str]:
        return list(getattr(error, "__notes__", ()))

    def lose() -> None:
        other.break_lock(name)
        raise ZeroDivisionError

    async def lose_async() -> None:
        async with one.lock(name, ttl=LONG, on_lost="flag"):
            await other.break_lock_async(name)
            raise ZeroDivisionError

    lock = one.lock(name, ttl=LONG)
    for block in (lambda: lock, lock.acquire):
        with pytest.raises(ZeroDivisionError) as caught:
            with block():
                lose()
        (said,) = notes(caught.value)
        assert name in said and "lost" in said
    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(lose_async())
    assert name in notes(caught.value)[0]
    # Nothing is added where nothing was lost.
    with pytest.raises(ZeroDivisionError) as caught:
        with one.lock(name, ttl=LONG):
            raise ZeroDivisionError
    assert notes(caught.value) == []


def test_a_lost_lease_has_what_kept_it_from_being_renewed_as_its_cause(
    server: Redis, name: str
) -> None:
    with leasehold.connect(server.url) as client:
        lease = client.lock(name, ttl=1).acquire()
        server.kill()
        assert lease.lost.wait(10)
        with pytest.raises(leasehold.LeaseLost) as caught:
            lease.check()
        assert isinstance(caught.value.__cause__, leasehold.Unavailable)
