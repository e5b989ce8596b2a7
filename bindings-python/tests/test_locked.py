"""The decorator."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import leasehold
import pytest


def held(client: leasehold.Client) -> list[str]:
    return [status.name for status in client.list() if status.holder]


@pytest.fixture
def memory() -> leasehold.Client:
    return leasehold.connect("memory:")


def test_a_function_holds_the_lock_of_its_arguments(memory: leasehold.Client) -> None:
    @memory.locked("invoices/{number}/{kind}", ttl=5)
    def pay(number: int, *, kind: str = "paper") -> list[str]:
        """Pays."""
        return held(memory)

    assert pay(42) == ["invoices/42/paper"]
    assert pay(number=7, kind="mail") == ["invoices/7/mail"]
    assert held(memory) == []
    assert (pay.__name__, pay.__doc__) == ("pay", "Pays.")
    assert list(inspect.signature(pay).parameters) == ["number", "kind"]
    with pytest.raises(TypeError):
        pay()


def test_a_coroutine_function_does_so_too(memory: leasehold.Client) -> None:
    @memory.locked("jobs/{job}")
    async def work(job: str) -> list[str]:
        await asyncio.sleep(0)
        return held(memory)

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work("a b")) == ["jobs/a b"]
    assert held(memory) == []


def test_a_method_can_name_what_it_belongs_to(memory: leasehold.Client) -> None:
    class Account:
        def __init__(self, key: str) -> None:
            self.key = key

        @memory.locked("accounts/{self.key}/{names[0]}")
        def close(self, names: list[str]) -> list[str]:
            return held(memory)

    assert Account("x").close(["first"]) == ["accounts/x/first"]


def test_an_error_goes_through_and_the_lock_is_free(memory: leasehold.Client) -> None:
    @memory.locked("n")
    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()


def test_the_options_are_those_of_a_lock(memory: leasehold.Client) -> None:
    @memory.locked("n", wait=0.05)
    def again(depth: int) -> None:
        again(depth + 1)

    with pytest.raises(leasehold.LockTimeout):
        again(0)
    with pytest.raises(TypeError):
        memory.locked("n", colour="red")
    with pytest.raises(leasehold.InvalidInput):
        memory.locked("n", on_lost="explode")


@pytest.mark.parametrize("template", ["{unknown}", "{0}", "{}", "{", "}", "{number:{width}}"])
def test_a_template_that_cannot_work_is_refused_when_it_is_written(
    template: str, memory: leasehold.Client
) -> None:
    with pytest.raises(leasehold.InvalidInput) as caught:

        @memory.locked(template)
        def pay(number: int) -> None: ...

    assert template in str(caught.value)


def test_a_generator_is_refused_because_it_runs_after_it_returned(
    memory: leasehold.Client,
) -> None:
    with pytest.raises(leasehold.InvalidInput, match="generator"):

        @memory.locked("n")
        def items() -> object:
            yield 1

    with pytest.raises(leasehold.InvalidInput, match="generator"):

        @memory.locked("n")
        async def more() -> object:
            yield 1


class Job:
    """Called, it is a coroutine function."""

    def __init__(self, client: leasehold.Client) -> None:
        self.client = client

    async def __call__(self) -> list[str]:
        await asyncio.sleep(0)
        return held(self.client)


def test_an_object_that_is_called_as_a_coroutine_function_holds_it_to_the_end(
    memory: leasehold.Client,
) -> None:
    job = Job(memory)
    for function in (job, partial(job), job.__call__):
        assert asyncio.run(memory.locked("n")(function)()) == ["n"]
    assert asyncio.run(memory.once("o", every=1)(job)()).value == ["o"]


async def coroutine() -> None:
    raise AssertionError("not run")


def generator() -> Iterator[int]:
    yield 1


async def generator_async() -> AsyncIterator[int]:
    yield 1


class Later:
    """What is to be awaited, and is no coroutine."""

    def __await__(self) -> Iterator[None]:
        yield


UNDONE: list[tuple[Callable[[], Any], str]] = [
    (lambda: coroutine(), "coroutine, which has not run yet; {cure}$"),
    (lambda: Later(), "Later, which may not be done yet; {cure}$"),
    (lambda: generator(), "generator, which has not run yet; iterate over it in the function$"),
    (lambda: generator_async(), "async_generator, which has not run yet; iterate over it"),
    (lambda: map(print, [1]), "map, which has not run yet; iterate over it in the function$"),
    (lambda: filter(print, [1]), "filter, which has not run yet; iterate over it"),
    (concurrent.futures.Future, r"Future, which may not be done yet; return its result\(\)$"),
]


@pytest.mark.parametrize(("function", "message"), UNDONE)
def test_what_returns_before_its_work_is_done_is_refused(
    function: Callable[[], Any], message: str, memory: leasehold.Client
) -> None:
    ways: list[tuple[Callable[[], Any], str]] = [
        (memory.locked("n")(lambda: function()), "decorate an `async def`"),
        (lambda: memory.once("o", every=1).run(function), r"use `await once.run_async\(function\)`"),
        (
            lambda: memory.election("e").lead(lambda _: function()),
            r"use `await election.lead_async\(body\)`",
        ),
    ]
    for way, cure in ways:
        with pytest.raises(leasehold.InvalidInput, match=message.format(cure=cure)):
            way()
        assert held(memory) == []


@pytest.mark.parametrize(("function", "message"), UNDONE)
def test_so_is_what_a_coroutine_returns_that_way(
    function: Callable[[], Any], message: str, memory: leasehold.Client
) -> None:
    async def work() -> Any:
        return function()

    async def lead(_: leasehold.Term) -> Any:
        return function()

    async def main() -> None:
        ways: list[Callable[[], Any]] = [
            memory.locked("n")(work),
            lambda: memory.once("o", every=1).run_async(work),
            lambda: memory.election("e").lead_async(lead),
        ]
        for way in ways:
            expected = message.format(cure="await it in the function")
            with pytest.raises(leasehold.InvalidInput, match=expected):
                await way()
            assert await memory.list_async() == []

    asyncio.run(main())


def test_a_task_that_is_returned_is_awaited_under_the_lock(memory: leasehold.Client) -> None:
    async def main() -> None:
        async def names() -> list[str]:
            return [status.name for status in await memory.list_async()]

        def start(*_: object) -> asyncio.Task[list[str]]:
            return asyncio.create_task(names())

        assert await memory.once("o", every=1).run_async(start) == leasehold.Ran(["o"])
        memory.break_lock("o")
        assert await memory.election("e").lead_async(start) == ["e"]

        async def nested() -> asyncio.Task[list[str]]:
            return start()

        with pytest.raises(leasehold.InvalidInput, match="Task, which may not be done yet; await"):
            await memory.locked("n")(nested)()

    asyncio.run(main())


def test_what_has_no_name_is_refused_in_plain_words(memory: leasehold.Client) -> None:
    for decorate in (memory.locked("n"), memory.once("o", every=1)):
        for function in (partial(generator), partial(partial(generator_async))):
            with pytest.raises(leasehold.InvalidInput, match="^generator.* is a generator"):
                decorate(function)
    with pytest.raises(leasehold.InvalidInput, match=r"no parameter of .*Job object"):
        memory.locked("{x}")(Job(memory))
