"""The examples, run as their first lines say."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rig import until

EXAMPLES = Path(__file__).parent.parent / "examples"
README = EXAMPLES.parent.parent / "README.md"


def test_the_readme_runs_on_the_embedded_backend_and_on_redis(
    redis: str, tmp_path: Path
) -> None:
    code = README.read_text().split("```python\n")[1].split("```")[0]
    embedded = "sqlite:/tmp/leasehold-readme.db"
    assert embedded in code
    for url in [f"sqlite:{tmp_path}/locks.db", redis]:
        program = [sys.executable, "-c", code.replace(embedded, url)]
        said = subprocess.check_output(program, text=True)
        assert said.startswith("charging with fence 1") and said.count("\n") == 1


@pytest.fixture
def server(redis: str, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uvicorn = [sys.executable, "-m", "uvicorn", "charge_once:app", "--workers", "2"]
    environment = os.environ | {"LEASEHOLD_URL": redis, "LEDGER": f"{tmp_path}/ledger.db"}
    process = subprocess.Popen(
        [*uvicorn, "--port", str(port)],
        cwd=EXAMPLES,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: is_up(f"http://127.0.0.1:{port}/docs"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(20) == 0


def is_up(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_an_endpoint_in_two_workers_charges_every_invoice_once(
    server: str, tmp_path: Path
) -> None:
    async def ask(invoice: int) -> bool:
        # A connection of its own, so that both workers are asked.
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.post(f"{server}/invoices/{invoice}/charge")
            answer.raise_for_status()
            return bool(answer.json()["charged"])

    async def ask_all() -> list[bool]:
        return await asyncio.gather(*(ask(number % 5) for number in range(60)))

    assert sum(asyncio.run(ask_all())) == 5
    ledger = sqlite3.connect(tmp_path / "ledger.db")
    charges = ledger.execute("SELECT invoice FROM charges ORDER BY invoice").fetchall()
    assert charges == [(invoice,) for invoice in range(5)]


def test_a_script_that_three_machines_start_at_once_runs_on_one(
    redis: str, tmp_path: Path
) -> None:
    script = [sys.executable, EXAMPLES / "nightly.py", tmp_path]
    environment = os.environ | {"LEASEHOLD_URL": redis}
    machines = [
        subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [machine.communicate(timeout=60)[0].split()[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0, 0]
    assert said.count("made") == 1
    assert set(said) <= {"made", "another", "done"}
    assert len(list(tmp_path.glob("*.txt"))) == 1


def test_a_database_refuses_the_write_of_a_holder_that_is_late(tmp_path: Path) -> None:
    sys.path.insert(0, str(EXAMPLES))
    import guarded_write as example
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{tmp_path}/accounts.db")
    example.Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(example.Account(id=1, balance=100))
    with Session(engine) as session, session.begin():
        stale = example.read(session, 1, fence=10)
    with Session(engine) as session, session.begin():
        example.write(session, 1, example.read(session, 1, fence=11) + 5, fence=11)
    with Session(engine) as session, pytest.raises(example.TooLate):
        example.write(session, 1, stale + 7, fence=10)
    with Session(engine) as session:
        account = session.get(example.Account, 1)
        assert account is not None and account.balance == 105


def test_the_guarded_write_runs_as_a_program(redis: str, tmp_path: Path) -> None:
    program = [sys.executable, EXAMPLES / "guarded_write.py", redis]
    for balance in [5, 10]:
        said = subprocess.check_output([*program, f"sqlite:///{tmp_path}/a.db"], text=True)
        assert said.strip() == f"balance {balance}"
