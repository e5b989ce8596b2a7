"""The decorator."""

from __future__ import annotations

import asyncio
import inspect

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
