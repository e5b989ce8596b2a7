"""Servers, scripts and patience for the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import leasehold

T = TypeVar("T")

# A loaded machine is slow; what hangs does so for longer than this.
PATIENCE = 20.0
# Of a lease that a test wants to see given back, not expired.
LONG = 60.0


def until(condition: Callable[[], T], within: float = PATIENCE) -> T:
    """Ask until the answer is true, and answer that."""
    end = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def assert_free(client: leasehold.Client, name: str, within: float = 5.0) -> None:
    """Somebody else has it soon, long before the ttl of whoever held it."""
    lease = client.lock(name, ttl=LONG).acquire(timeout=within)
    lease.release()


class Redis:
    """A server of the test's own, with nothing in it."""

    def __init__(self) -> None:
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port: int = probe.getsockname()[1]
            self.start()
            # Somebody else may have taken the port meanwhile.
            if until(lambda: self._answers() or self.process.poll() is not None):
                if self.process.poll() is None:
                    break
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, again after it was killed."""
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
            + ["--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )

    def ask(self, *command: str) -> str:
        """What it answers to a command."""
        arguments = ["redis-cli", "-p", str(self.port), *command]
        return subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start(
    source: str, *arguments: str, python: str = sys.executable, **options: object
) -> subprocess.Popen[str]:
    """A Python program, as a process of its own with pipes."""
    environment = dict(os.environ, PYTHONPATH=str(Path(leasehold.__file__).parents[1]))
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [python, "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def run(source: str, *arguments: str, python: str = sys.executable) -> str:
    """What a program writes that ends well and says nothing on stderr."""
    process = start(source, *arguments, python=python)
    try:
        out, err = process.communicate(timeout=PATIENCE * 2)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"hangs: {out}{err}\n{source}") from None
    assert (process.returncode, err) == (0, ""), f"{process.returncode}: {out}{err}\n{source}"
    return out
