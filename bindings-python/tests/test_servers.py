"""Celery, gunicorn and uWSGI, as they are started in earnest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import leasehold
import pytest
from rig import LONG, PATIENCE, assert_free, until

BIN = Path(sys.executable).parent
# All that a machine under load needs to import a framework.
STARTING = 60.0

TASKS = """
import os, time
import leasehold
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

url = os.environ["SERVER"]
app = Celery("tasks", broker=url + "/1", backend=url + "/2")
app.conf.broker_connection_retry_on_startup = True
app.conf.task_default_queue = os.environ["QUEUE"]
app.conf.worker_prefetch_multiplier = 1
client = leasehold.connect(url)
lock = client.lock(os.environ["QUEUE"], ttl=60)

@app.task
def work():
    with lock as lease:
        time.sleep(0.02)
        assert lease.is_valid
        return lease.fence

@app.task(soft_time_limit=0.5)
def overdue():
    try:
        with lock:
            time.sleep(30)
    except SoftTimeLimitExceeded:
        return "stopped"
"""

WEB = """
import os, time
import leasehold

client = leasehold.connect(os.environ["SERVER"])
# Used before the workers are forked, if they are; some import this in an event loop.
first = client.lock(os.environ["QUEUE"] + "/first").try_acquire()
if first:
    first.release()
lock = client.lock(os.environ["QUEUE"], ttl=60)

def app(environ, start_response):
    with lock as lease:
        time.sleep(0.02)
        body = str(lease.fence).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    import asyncio
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    async with lock as lease:
        await asyncio.sleep(0.02)
        body = str(lease.fence).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


class Program:
    """A server of the framework's own kind."""

    def __init__(self, place: Path, url: str, name: str, *command: str) -> None:
        (place / "tasks.py").write_text(textwrap.dedent(TASKS))
        (place / "web.py").write_text(textwrap.dedent(WEB))
        path = os.pathsep.join([str(place), str(Path(leasehold.__file__).parents[1])])
        self.environment = dict(os.environ, SERVER=url, QUEUE=name, PYTHONPATH=path)
        self.place, self.log = place, place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=place, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """It ends by the signal that supervisors send."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM does not end it: {self.said()}") from None

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path, redis: str, name: str) -> Iterator[Start]:
    all: list[Program] = []

    def start(*command: str) -> Program:
        all.append(Program(tmp_path, redis, name, *command))
        return all[-1]

    yield start
    for one in all:
        one.kill()


def ask_tasks(program: Program, source: str) -> str:
    """What a program says that sends tasks."""
    asked = subprocess.run(
        [sys.executable, "-c", "import tasks\n" + textwrap.dedent(source)],
        env=program.environment,
        cwd=program.place,
        capture_output=True,
        text=True,
        timeout=STARTING * 2,
    )
    assert asked.returncode == 0, asked.stderr + program.said()
    return asked.stdout


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "eventlet", "solo"])
def test_tasks_of_celery_run_in_turn_and_the_worker_ends(
    pool: str, program: Start, one: leasehold.Client, name: str
) -> None:
    arguments = ["worker", "-P", pool, "-c", "4", "--loglevel=warning"]
    quick = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = program(str(BIN / "python"), "-m", "celery", "-A", "tasks", *arguments, *quick)
    out = ask_tasks(
        worker,
        f"""
        sent = [tasks.work.delay() for _ in range(10)]
        print(*(one.get(timeout={STARTING}) for one in sent))
        """,
    )
    fences = [int(fence) for fence in out.split()]
    assert len(set(fences)) == 10
    if pool == "prefork":
        # The only one that can interrupt a task.
        asked = f"print(*(tasks.overdue.delay().get(timeout={STARTING}) for _ in range(3)))"
        assert ask_tasks(worker, asked).split() == ["stopped"] * 3
        assert_free(one, name)
    # One waits for somebody else when the signal comes.
    held = one.lock(name, ttl=LONG).acquire()
    ask_tasks(worker, "tasks.work.delay()")
    until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    held.release()
    worker.end()
    assert_free(one, name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
        return int(answer.read())


def answers(port: int) -> bool:
    try:
        return fetch(port) > 0
    except OSError:
        return False


def started(start: Callable[[int], Program]) -> tuple[Program, int]:
    """A server that answers, on a port that nobody else has taken before it did."""
    for _ in range(5):
        port = free_port()
        server = start(port)
        ended = server.process.poll
        until(lambda: ended() is not None or answers(port), STARTING)  # noqa: B023
        if ended() is None:
            return server, port
        assert "ddress already in use" in server.said(), server.said()
    raise AssertionError("no port stays free")


def serve_in_turn(start: Callable[[int], Program], one: leasehold.Client, name: str) -> None:
    server, port = started(start)

    def ask(_: int) -> int:
        try:
            return fetch(port)
        except OSError as error:
            raise AssertionError(server.said()) from error

    with ThreadPoolExecutor(10) as threads:
        fences = list(threads.map(ask, range(20)))
    assert len(set(fences)) == 20, server.said()
    server.end()
    assert_free(one, name)


GUNICORN = {
    "sync": ("-k", "sync"),
    "gthread": ("-k", "gthread", "--threads", "4"),
    "gevent": ("-k", "gevent"),
    "asgi": ("-k", "asgi"),
}


@pytest.mark.parametrize("worker", GUNICORN)
@pytest.mark.parametrize("preload", [True, False])
def test_requests_to_gunicorn_are_served_in_turn(
    worker: str, preload: bool, program: Start, one: leasehold.Client, name: str
) -> None:
    arguments = [*GUNICORN[worker], *(["--preload"] if preload else []), "--workers", "2"]
    arguments += ["--no-control-socket", "web:asgi" if worker == "asgi" else "web:app"]
    gunicorn = (str(BIN / "python"), "-m", "gunicorn", "--bind")
    serve_in_turn(lambda port: program(*gunicorn, f"127.0.0.1:{port}", *arguments), one, name)


def test_requests_to_uvicorn_are_served_in_turn(
    program: Start, one: leasehold.Client, name: str
) -> None:
    arguments = ["--workers", "2", "--host", "127.0.0.1", "web:asgi", "--port"]
    uvicorn = (str(BIN / "python"), "-m", "uvicorn", *arguments)
    serve_in_turn(lambda port: program(*uvicorn, str(port)), one, name)


@pytest.mark.parametrize("threads", [(), ("--enable-threads",), ("--threads", "4")])
def test_requests_to_uwsgi_are_served_in_turn(
    threads: tuple[str, ...], program: Start, one: leasehold.Client, name: str
) -> None:
    common = ["--master", "--processes", "2", "--die-on-term", "--need-app", "--module", "web:app"]
    uwsgi = (str(BIN / "uwsgi"), *common, *threads, "--http")
    serve_in_turn(lambda port: program(*uwsgi, f"127.0.0.1:{port}"), one, name)
