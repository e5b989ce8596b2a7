"""Builds the wheel: by maturin, with the command line as a program of its own.

A script of Python would stay between the program and its signals.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

HERE = Path(__file__).resolve().parents[1]


def build_wheel(*arguments: Any, **options: Any) -> str:
    # maturin takes what lies there into the wheel; pip puts it beside the interpreter.
    scripts = HERE / "leasehold.data" / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    shutil.copy2(_program(), scripts / "leasehold")
    try:
        return str(maturin.build_wheel(*arguments, **options))
    finally:
        shutil.rmtree(HERE / "leasehold.data")


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
