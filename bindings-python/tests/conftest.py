from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import leasehold
import pytest
from rig import Redis

# Who starts this in the background has it ignore Ctrl-C, and so would the programs of
# the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.kill()


@pytest.fixture
def redis(shared_server: Redis) -> str:
    """The URL of a server that nobody hurts."""
    return shared_server.url


@pytest.fixture
def server() -> Iterator[Redis]:
    """A server to be hurt."""
    server = Redis()
    yield server
    server.kill()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[leasehold.Client]:
    """A client of each kind of backend."""
    url = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path}/locks.db"}.get(request.param)
    with leasehold.connect(url or request.getfixturevalue("redis")) as client:
        yield client


@pytest.fixture
def one(redis: str) -> Iterator[leasehold.Client]:
    with leasehold.connect(redis) as client:
        yield client


@pytest.fixture
def other(redis: str) -> Iterator[leasehold.Client]:
    """A second client of the same server."""
    with leasehold.connect(redis) as client:
        yield client


@pytest.fixture
def name() -> str:
    """Of a lock that no other test has."""
    return f"test/{uuid4()}"
