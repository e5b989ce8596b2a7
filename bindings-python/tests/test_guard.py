"""The recipes of docs/database-guard.md, word for word, on a real PostgreSQL and MariaDB."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import leasehold
import pytest
from databases import Database, Mariadb, Postgres
from rig import LONG, PATIENCE, until

GUIDE = Path(__file__).parents[2] / "docs" / "database-guard.md"
RECIPES = dict(re.findall(r"## Python, (.+)\n\n```python\n([\s\S]+?)```", GUIDE.read_text()))
TTL = 1.0

# What there is before a recipe, and how it is called.
DJANGO = """
import django
from django.conf import settings
settings.configure(DATABASES={{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "rig",
    "HOST": "127.0.0.1", "PORT": {port}}}}})
django.setup()
from django.db import models
class Account(models.Model):
    id = models.IntegerField(primary_key=True)
    balance = models.IntegerField()
    class Meta:
        app_label, db_table = "rig", "accounts"
"""
SQLALCHEMY = """
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
class Base(DeclarativeBase):
    pass
class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]
engine = create_engine("{driver}://rig@127.0.0.1:{port}/{database}")
"""
PSYCOPG = """
import psycopg
connection = psycopg.connect(host="127.0.0.1", port={port}, user="rig", dbname="postgres")
"""
PYMYSQL = """
import pymysql
connection = pymysql.connect(host="127.0.0.1", port={port}, user="rig", database="jobs")
"""
WAYS = {
    "psycopg": ("psycopg", Postgres, PSYCOPG, "charge(connection, held)"),
    "sqlalchemy": ("SQLAlchemy", Postgres, SQLALCHEMY, "charge(engine, held)"),
    "django": ("Django", Postgres, DJANGO, "charge(held)"),
    "pymysql": ("PyMySQL", Mariadb, PYMYSQL, "charge(connection, held)"),
    "sqlalchemy-mariadb": ("SQLAlchemy", Mariadb, SQLALCHEMY, "charge(engine, held)"),
}

PROGRAM = """
import os, signal, sys
import leasehold
{before}
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)

class Late:
    \"\"\"A lease whose guard comes long after it was asked for.\"\"\"
    def __init__(self, lease):
        self.lease = lease
    def guard(self):
        statement = self.lease.guard()
        stop()
        return statement

{recipe}

client = leasehold.connect({url!r})
lease = client.lock("accounts/1", ttl={ttl}).acquire()
held = Late(lease) if {late} else lease
try:
    {call}
except ZeroDivisionError:
    print("rolled back", flush=True)
else:
    print("committed", flush=True)
if {waits}:
    sys.stdin.readline()
try:
    lease.release()
except leasehold.LeaseLost:
    pass
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[type[Database], Database]]:
    servers: dict[type[Database], Database] = {kind: kind() for kind in (Postgres, Mariadb)}
    yield servers
    for server in servers.values():
        server.close()


class Holder:
    """A process that charges an account by a recipe, while it holds the lock."""

    def __init__(
        self, way: str, servers: dict[type[Database], Database], *,
        before: str = "", after: str = "", late: bool = False, ttl: float = TTL, waits: bool = False
    ) -> None:
        title, kind, preparation, call = WAYS[way]
        self.server = servers[kind]
        self.server.ask("DROP TABLE IF EXISTS accounts")
        self.server.ask("CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)")
        self.server.ask("INSERT INTO accounts VALUES (1, 100)")
        driver, database = ("mysql+pymysql", "jobs") if kind is Mariadb else ("postgresql+psycopg", "postgres")
        lines = []
        for line in RECIPES[title].splitlines():
            indent = line[: len(line) - len(line.lstrip())]
            guards = "lease.guard()" in line
            lines += [indent + before] * (guards and bool(before)) + [line] + [indent + after] * (guards and bool(after))
        program = PROGRAM.format(
            before=preparation.format(port=self.server.port, driver=driver, database=database),
            recipe="\n".join(lines), url=self.server.url, ttl=ttl, late=late, waits=waits, call=call,
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", program], text=True, **pipes)

    def balance(self) -> int:
        return int(self.server.ask("SELECT balance FROM accounts"))

    def stopped(self) -> None:
        """Wait until it has stopped itself, and longer than its lease lasts."""
        state = Path(f"/proc/{self.process.pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
        time.sleep(2 * TTL)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def may_release(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def failure(self) -> str:
        """Why it ended."""
        _, said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 1, said
        return said

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def taken(client: leasehold.Client) -> leasehold.Lease | None:
    """The lock, if nobody has it, and nobody keeps it from being taken."""
    try:
        return client.lock("accounts/1", ttl=LONG).try_acquire()
    except leasehold.Unavailable:
        return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["before the guard", "with the guard in hand"])
def test_who_is_stopped_before_the_guard_writes_nothing(
    way: str, place: str, servers: dict[type[Database], Database]
) -> None:
    late = place != "before the guard"
    with Holder(way, servers, before="" if late else "stop()", late=late) as holder:
        holder.stopped()
        with leasehold.connect(holder.server.url) as client:
            lease = until(lambda: taken(client))
            holder.go_on()
            said = holder.failure()
            assert ("must not commit" in said.replace("_", " ")) if late else "LeaseLost" in said
            assert holder.balance() == 100
            lease.release()


@pytest.mark.parametrize("way", WAYS)
def test_who_is_stopped_after_the_guard_commits_before_anybody_else_holds_the_lock(
    way: str, servers: dict[type[Database], Database]
) -> None:
    with Holder(way, servers, after="stop()") as holder:
        holder.stopped()
        with leasehold.connect(holder.server.url) as client:
            assert taken(client) is None
            assert holder.balance() == 100
            holder.go_on()
            assert holder.says() == "committed"
            lease = until(lambda: taken(client))
            assert holder.balance() == 90
            lease.release()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", ["", "1 / 0"])
def test_the_lock_is_free_after_the_release_whether_it_was_committed_or_rolled_back(
    way: str, after: str, servers: dict[type[Database], Database]
) -> None:
    with Holder(way, servers, after=after, ttl=LONG, waits=True) as holder:
        assert holder.says() == ("rolled back" if after else "committed")
        assert holder.balance() == (100 if after else 90)
        with leasehold.connect(holder.server.url) as client:
            assert taken(client) is None
            holder.may_release()
            assert holder.says() == "released"
            lease = taken(client)
            assert lease is not None
            lease.release()


def test_every_recipe_is_run() -> None:
    assert {title for title, *_ in WAYS.values()} == set(RECIPES)


def test_the_readme(servers: dict[type[Database], Database]) -> None:
    import psycopg

    readme = Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*A guard\*\*.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    assert found and len(found[1].splitlines()) <= 8
    server = servers[Postgres]
    server.ask("DROP TABLE IF EXISTS accounts")
    server.ask("CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)")
    server.ask("INSERT INTO accounts VALUES (1, 100)")
    where = {"host": "127.0.0.1", "port": server.port, "user": "rig", "dbname": "postgres"}
    with leasehold.connect(server.url) as client, psycopg.connect(**where) as connection:
        exec(found[1], {"client": client, "connection": connection})
    assert server.ask("SELECT balance FROM accounts") == "90"


def test_leases_that_are_held_together_have_one_guard(servers: dict[type[Database], Database]) -> None:
    server = servers[Postgres]
    with leasehold.connect(server.url) as client, client.locks(["stock", "orders"]) as leases:
        assert server.ask(leases.guard()) == "1"
    with pytest.raises(leasehold.NotHeld):
        leases.guard()


def test_where_no_transaction_could_run_there_is_no_guard() -> None:
    with leasehold.connect("memory:") as client, client.lock("x") as lease:
        with pytest.raises(leasehold.Unsupported, match="send lease.fence"):
            lease.guard()
        assert lease.is_valid
