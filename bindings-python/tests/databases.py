"""A PostgreSQL and a MariaDB of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from rig import T, until

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def program(name: str) -> str:
    """Debian keeps servers off the PATH."""
    beside = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:], Path("/usr/sbin")]
    found = shutil.which(name, path=os.pathsep.join(map(str, beside))) or shutil.which(name)
    assert found, f"{name} is not here; `cargo xtask test` installs it, as root"
    return found


class Database:
    """It ends, and what it stored is gone, when it is closed."""

    # No server of these runs as root.
    user: str

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.make()
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port: int = probe.getsockname()[1]
            self.process = self.run(subprocess.Popen, self.command())
            # Somebody else may have taken the port meanwhile.
            if until(lambda: self.answers() or self.process.poll() is not None):
                if self.process.poll() is None:
                    return
        raise AssertionError(f"{type(self).__name__} did not start")

    @property
    def url(self) -> str:
        raise NotImplementedError

    def make(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def ask(self, sql: str) -> str:
        raise NotImplementedError

    def answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except subprocess.CalledProcessError:
            return False

    def run(self, start: Callable[..., T], command: list[str]) -> T:
        ids = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self.user)
            ids = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            for path in [self.place, *self.place.rglob("*")]:
                os.chown(path, entry.pw_uid, entry.pw_gid)
        return start(command, cwd=self.place, **ids, **QUIET)

    def say(self, command: list[str]) -> str:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.place)


class Postgres(Database):
    user = "postgres"

    def make(self) -> None:
        initdb = [program("initdb"), "-D", str(self.place / "data"), "-U", "rig", "-A", "trust"]
        self.run(subprocess.check_call, [*initdb, "-E", "UTF8", "--locale=C", "--no-sync"])

    @property
    def url(self) -> str:
        return f"postgres://rig@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def command(self) -> list[str]:
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "fsync": "off"}
        options["unix_socket_directories"] = str(self.place)
        command = [program("postgres"), "-D", str(self.place / "data")]
        return [*command, *(part for name, value in options.items() for part in ("-c", f"{name}={value}"))]

    def ask(self, sql: str) -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "rig", "-d", "postgres"]
        return self.say([program("psql"), "-XAtq", *where, "-c", sql])


class Mariadb(Database):
    user = "mysql"

    def make(self) -> None:
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={self.place}/data"]
        self.run(subprocess.check_call, [*install, "--auth-root-authentication-method=normal", "--skip-test-db"])
        (self.place / "first.sql").write_text(
            "CREATE USER rig@'%';\nGRANT ALL ON *.* TO rig@'%';\n"
            "DROP USER IF EXISTS ''@'localhost';\nCREATE DATABASE jobs;\n"
        )

    @property
    def url(self) -> str:
        return f"mysql://rig@127.0.0.1:{self.port}/jobs?sslmode=disable"

    def command(self) -> list[str]:
        options = {"datadir": self.place / "data", "socket": self.place / "socket"}
        options |= {"init-file": self.place / "first.sql", "port": self.port, "bind-address": "127.0.0.1"}
        command = [program("mariadbd"), "--no-defaults", "--skip-name-resolve"]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def ask(self, sql: str) -> str:
        where = ["-u", "rig", "-S", str(self.place / "socket"), "-D", "jobs"]
        return self.say([program("mariadb"), "--no-defaults", "-NB", *where, "-e", sql])
