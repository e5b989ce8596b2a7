"""``python -m leasehold``: the core's command line; its own tests are in cli/tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import leasehold
from rig import LONG, until

ENVIRONMENT = dict(os.environ, PYTHONPATH=str(Path(leasehold.__file__).parents[1]))


def call(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leasehold", *arguments],
        env=dict(ENVIRONMENT, LEASEHOLD_URL=url),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_command_runs_under_the_lock_and_its_exit_code_is_passed_on(
    redis: str, name: str
) -> None:
    ended = call(redis, "run", name, "--", "sh", "-c", "echo $LEASEHOLD_NAME; exit 3")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, f"{name}\n", "")
    for signum in (9, 15):
        assert call(redis, "run", name, "--", "sh", "-c", f"kill -{signum} $$").returncode == (
            128 + signum
        )


def test_the_exit_codes_tell_why_it_did_not_run(
    redis: str, one: leasehold.Client, name: str
) -> None:
    with one.lock(name, ttl=LONG):
        ended = call(redis, "run", name, "--no-wait", "--", "true")
        assert ended.returncode == 75 and ended.stderr.startswith("leasehold: ")
        assert name in call(redis, "ls").stdout
    assert call(redis, "run", name).returncode == 64
    assert call(redis, "run", name, "--", "no-such-command").returncode == 127
    assert call("redis://127.0.0.1:1", "run", name, "--", "true").returncode == 69
    assert call(redis, "--version").stdout.split() == ["leasehold", leasehold.__version__]


def test_ctrl_c_goes_to_the_command(redis: str, one: leasehold.Client, name: str) -> None:
    script = "trap 'echo stopped; exit 7' INT; echo ready; while :; do sleep 0.02; done"
    process = subprocess.Popen(
        [sys.executable, "-m", "leasehold", "run", name, "--", "sh", "-c", script],
        env=dict(ENVIRONMENT, LEASEHOLD_URL=redis),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    status = one.status(name)
    assert status and status.holder
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (7, "stopped\n", "")
    until(lambda: one.lock(name).try_acquire(), 5)


def test_ctrl_c_while_it_waits_ends_it_without_a_trace(
    redis: str, one: leasehold.Client, name: str
) -> None:
    with one.lock(name, ttl=LONG):
        process = subprocess.Popen(
            [sys.executable, "-m", "leasehold", "run", name, "--", "true"],
            env=dict(ENVIRONMENT, LEASEHOLD_URL=redis),
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: one.status(name).waiters)  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, "")
        until(lambda: not one.status(name).waiters, 5)  # type: ignore[union-attr]


def test_the_command_is_the_same_program_and_no_script() -> None:
    program = Path(sys.executable).with_name("leasehold")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == call("memory:", "--version").stdout
    assert not program.read_bytes().startswith(b"#!")
