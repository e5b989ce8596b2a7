"""``python -m leasehold`` is the command ``leasehold``."""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path


def main() -> None:
    for program in _places():
        if program.is_file():
            os.execv(program, [os.fspath(program), *sys.argv[1:]])
    sys.exit("leasehold: its program is not installed; install the package again")


def _places() -> Iterator[Path]:
    for file in files("leasehold") or ():
        if file.name == "leasehold" and file.parent.name == "bin":
            yield Path(os.fspath(file.locate()))
    # By `pip install --target` it lies elsewhere than is recorded.
    yield Path(__file__).parents[1] / "bin" / "leasehold"


if __name__ == "__main__":
    main()
