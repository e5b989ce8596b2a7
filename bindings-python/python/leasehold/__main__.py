"""The command line: ``leasehold`` and ``python -m leasehold``."""

import signal
import sys

from ._leasehold import main as run


def main() -> None:
    # Ctrl-C is for the command that runs under the lock, not for an interpreter.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run(["leasehold", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
