"""Builds the wheel: by maturin, with the command line as a program of its own.

A script of Python would stay between the program and its signals.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401
    get_requires_for_build_editable,
    get_requires_for_build_wheel,
)

HERE = Path(__file__).resolve().parents[1]


def build_wheel(*arguments: Any, **options: Any) -> str:
    with _data() as scripts:
        shutil.copy2(_program(), scripts / "leasehold")
        return str(maturin.build_wheel(*arguments, **options))


def build_editable(*arguments: Any, **options: Any) -> str:
    with _data() as scripts:
        shutil.copy2(_program(), scripts / "leasehold")
        return str(maturin.build_editable(*arguments, **options))


def prepare_metadata_for_build_wheel(*arguments: Any, **options: Any) -> str:
    with _data():
        return str(maturin.prepare_metadata_for_build_wheel(*arguments, **options))


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_sdist(*_arguments: Any, **_options: Any) -> str:
    raise NotImplementedError("it is built inside its repository, of which it is a part")


@contextmanager
def _data() -> Iterator[Path]:
    """What maturin takes into the wheel, and pip puts beside the interpreter."""
    data = HERE / "leasehold.data"
    scripts = data / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    try:
        yield scripts
    finally:
        shutil.rmtree(data)


def _program() -> Path:
    build = ["cargo", "build", "--release", "--quiet", "-p", "leasehold-cli"]
    asked = subprocess.run(
        [*build, "--message-format", "json"], cwd=HERE, check=True, stdout=subprocess.PIPE
    )
    for line in asked.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            return Path(message["executable"])
    raise RuntimeError("cargo built no program")
