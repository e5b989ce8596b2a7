"""``python -m leasehold`` is the command ``leasehold``."""

import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path


def main() -> None:
    for program in _places():
        if program.is_file():
            _restore_signals()
            os.execv(program, [os.fspath(program), *sys.argv[1:]])
    sys.exit("leasehold: its program is not installed; install the package again")


def _restore_signals() -> None:
    """As `subprocess` does it before its exec: Python has these ignored from its start, and
    what is ignored stays so. Whether they were before cannot be known any more."""
    for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _places() -> Iterator[Path]:
    for file in files("leasehold") or ():
        if file.name == "leasehold" and file.parent.name == "bin":
            yield Path(os.fspath(file.locate()))
    # By `pip install --target` it lies elsewhere than is recorded.
    yield Path(__file__).parents[1] / "bin" / "leasehold"


if __name__ == "__main__":
    main()
