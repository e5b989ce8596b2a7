"""``python -m leasehold`` is the command ``leasehold``."""

import os
import sys
from importlib.metadata import files


def main() -> None:
    for file in files("leasehold") or ():
        if file.name == "leasehold" and file.parent.name == "bin":
            program = os.fspath(file.locate())
            os.execv(program, [program, *sys.argv[1:]])
    sys.exit("leasehold: its program is not installed; install the package again")


if __name__ == "__main__":
    main()
