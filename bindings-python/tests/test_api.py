"""The package has what tests/api.toml says that every language has, and no more."""

import inspect
import pathlib
import re
import tomllib

import pytest

import leasehold
from leasehold import (
    Client,
    Election,
    Lease,
    LeaseholdError,
    Leases,
    Lock,
    Locks,
    Once,
    Term,
)

FILE = pathlib.Path(__file__).parents[2] / "tests" / "api.toml"
EVENTS = pathlib.Path(leasehold.__file__).with_name("_events.py")
API = tomllib.loads(FILE.read_text())

# What an operation is called here, where that is another name.
NAMES = {("lock", "run"): ["__enter__", "__aenter__"], ("lease", "loss"): []}
# Several locks are a lock, and several leases a lease.
API["locks"] = API["lock"]
# A term is a lease.
API["term"] |= API["lease"]
NAMES["locks", "run"] = NAMES["lock", "run"]
NAMES["term", "loss"] = NAMES["lease", "loss"]
# Asks nobody, so there is no second one for asyncio.
LOCAL = {"lock", "locks", "once", "election", "backend", "caveats", "events", "campaign", "observe", "number"}
LOCAL |= set(API["lease"]) - {"renew", "release", "into_ticket"}
# What only Python has, with its reason.
OWN = {
    "client": {"connect", "connect_async", "locked"},  # connects late; decorators
    "lock": {"name"},
    "lease": set(),
    "locks": {"name", "names"},
    "once": {"name"},
    "election": {"name"},
    "term": set(),
}
CLASSES = {
    "client": Client,
    "lock": Lock,
    "lease": Lease,
    "locks": Locks,
    "once": Once,
    "election": Election,
    "term": Term,
}

ERRORS = [
    leasehold.LockTimeout,
    leasehold.LeaseLost,
    leasehold.NotHeld,
    leasehold.Unavailable,
    leasehold.Refused,
    leasehold.InvalidInput,
    leasehold.Unsupported,
    leasehold.ClientClosed,
    leasehold.Cancelled,
    leasehold.InternalError,
]


def expected(kind):
    names = set()
    for operation in API[kind]:
        if (kind, operation) == ("client", "connect"):
            continue  # a function of the module
        known = NAMES.get((kind, operation))
        if known is None:
            known = [operation] if operation in LOCAL else [operation, operation + "_async"]
        names.update(known)
    return names


@pytest.fixture
def client():
    with leasehold.connect("memory:") as client:
        yield client


@pytest.mark.parametrize("kind", CLASSES)
def test_every_operation_is_there_and_no_other(kind, client):
    subject = {
        "client": lambda: client,
        "lock": lambda: client.lock("x"),
        "lease": lambda: client.lock("x").acquire(),
        "locks": lambda: client.locks(["x"]),
        "once": lambda: client.once("x", every=60),
        "election": lambda: client.election("x"),
        "term": lambda: client.election("x").campaign().acquire(),
    }[kind]()
    missing = [name for name in expected(kind) if not hasattr(subject, name)]
    assert not missing
    public = {name for name in dir(subject) if not name.startswith("_")}
    assert public - expected(kind) == OWN[kind]


@pytest.mark.parametrize("kind", CLASSES)
def test_what_waits_has_a_coroutine_beside_it(kind):
    for name in expected(kind):
        if name.endswith("_async") or name == "__aenter__":
            assert inspect.iscoroutinefunction(getattr(CLASSES[kind], name)), name


def test_what_is_held_together_is_a_lease_but_for_what_each_has_of_its_own(client):
    leases = client.locks(["b", "a"]).acquire()
    assert isinstance(leases, Leases) and isinstance(leases, Lease)
    # lost_name is that of the loss.
    assert all(hasattr(leases, name) for name in set(API["leases"]) - {"lost_name"})
    assert not any(hasattr(leases, name) for name in ("fence", "key", "slot"))
    assert inspect.signature(Client.locks).parameters.keys() == {
        *(inspect.signature(Client.lock).parameters.keys() - {"name"}),
        "names",
    }
    leases.release()


@pytest.mark.parametrize("operation", ["connect", "lock", "once", "election"])
def test_parameters_and_defaults(operation):
    function = leasehold.connect if operation == "connect" else getattr(Client, operation)
    listed = API["client"][operation]["parameters"]
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    # What becomes of the block is a matter of this language.
    assert set(parameters) - {"on_lost"} == set(listed)
    for at, (name, parameter) in enumerate(parameters.items()):
        is_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert is_keyword == (at > 0), name
        default = listed.get(name, {}).get("default")
        if isinstance(default, bool):
            assert parameter.default is default
        elif default is not None:
            # The binding holds no value of its own: the core decides.
            assert parameter.default is None, name


def test_the_defaults_are_those_of_the_core(client):
    listed = API["client"]["connect"]["parameters"]
    lease = client.lock("x").acquire()
    assert lease.ttl == seconds(listed["ttl"]["default"])
    label = client.status("x").holder.label
    assert label.rpartition(":")[2].isdecimal(), label
    lease.release()


def test_the_limits_are_those_of_the_core(client):
    listed = API["client"]["lock"]["parameters"]
    for option in ("ttl", "max_hold"):
        shortest = seconds(listed[option]["shortest"])
        client.lock("x", **{option: shortest}).acquire().release()
        with pytest.raises(leasehold.InvalidInput):
            client.lock("x", **{option: shortest / 2}).acquire()
    longest = seconds(listed["ttl"]["longest"])
    client.lock("x", ttl=longest).acquire().release()
    with pytest.raises(leasehold.InvalidInput):
        client.lock("x", ttl=longest + 1).acquire()
    permits = listed["permits"]
    for least_or_most, wrong in ((permits["least"], -1), (permits["most"], 1)):
        client.lock("p", permits=least_or_most).acquire().release()
        with pytest.raises(leasehold.InvalidInput, match="from 1 to 1000"):
            client.lock("p", permits=least_or_most + wrong)
    with pytest.raises(leasehold.InvalidInput):
        client.lock("n" * (listed["name"]["longest_bytes"] + 1)).acquire()
    with pytest.raises(leasehold.InvalidInput):
        client.lock("x", label="l" * (listed["label"]["longest_bytes"] + 1)).acquire()


def test_every_error_is_there_and_no_other():
    assert sorted(error.code for error in ERRORS) == sorted(API["errors"])
    assert set(ERRORS) == set(LeaseholdError.__subclasses__())


def test_every_loss_is_there(client):
    lease = client.lock("x").acquire()
    assert lease.lost.reason is None
    client.close()
    assert lease.lost.reason in API["loss"]["reasons"]


def test_every_event_is_there(client):
    events = client.events()
    client.lock("x").acquire().release()
    client.close()
    assert [event.what for event in events] == ["acquired", "released"]
    for what in API["event"]["what"]:
        assert f'"{what}"' in EVENTS.read_text()


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "h": 3600}[unit]
