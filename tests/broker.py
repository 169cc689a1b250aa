"""A real Mosquitto on a free port of loopback: open, with passwords and rules, websockets, TLS, or certificates of clients."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, until

_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])  # Debian keeps daemons off a user's PATH


@dataclass(frozen=True)
class Tls:
    """Certificate files of a server on 127.0.0.1 or of a client, signed by `ca`, whose key lies beside it."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Tls:
        """Make an authority and a server's certificate in `folder`; skip without the openssl command."""
        if not shutil.which("openssl"):
            pytest.skip("needs the openssl command to make certificates: apt install openssl")
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"]
        server = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=127.0.0.1"]
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        for command in ([*make, *authority], [*make, *server, *names]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")

    def issue(self, name: str) -> Tls:
        """Make a client's certificate with this common name, from the same authority."""
        cert, key = (self.ca.with_name(f"client-{name}.{kind}") for kind in ("pem", "key"))
        command: list[str | Path] = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        command += ["-CA", self.ca, "-CAkey", self.ca.with_suffix(".key"), "-keyout", key, "-out", cert, "-subj", f"/CN={name}"]
        subprocess.run([*command, "-addext", "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)
        return Tls(self.ca, cert, key)


class Mosquitto:
    """One broker. Its port stays the same over `stop` and `start`; with `persistent` its sessions do too."""

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        acl: str = "",
        websockets: bool = False,
        tls: Tls | None = None,
        mutual: bool = False,
        persistent: bool = False,
        extra: str = "",
    ) -> None:
        """Write its files into `folder`, which is made; start it with `start`.

        With `mutual` a client shows a certificate of the authority of `tls`; its common name is the user.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {free_port()} 127.0.0.1" if websockets else "",  # some versions do not start with websockets alone
            f"listener {self.port} 127.0.0.1",
            "protocol websockets" if websockets else "",
            *([f"cafile {tls.ca}", f"certfile {tls.cert}", f"keyfile {tls.key}"] if tls else []),
            *(["require_certificate true", "use_identity_as_username true"] if mutual else []),
            f"user {getpass.getuser()}",  # else it gives root away, and may not read the folder of a test
            f"allow_anonymous {'false' if users or mutual else 'true'}",
            f"password_file {self._passwords(users)}" if users else "",
            f"acl_file {self._write('acl', acl)}" if acl else "",
            *([f"persistence true\npersistence_location {folder}/"] if persistent else []),
            "max_queued_messages 1000000",  # 1000, its default, drops what a test publishes at once; at 0, 2.0.11 cuts who may not write
            "set_tcp_nodelay true",
            extra,
        ]
        self._config = self._write("mosquitto.conf", "\n".join(filter(None, lines)) + "\n")

    @property
    def log(self) -> str:
        """Give what the broker said so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> Mosquitto:
        """Start it and wait until it listens."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([_program("mosquitto"), "-c", str(self._config)], stdout=log, stderr=log)
        until(self._listens, "the broker listens", lambda: self.log)
        return self

    def stop(self) -> None:
        """End it cleanly; a persistent one writes its sessions."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(lambda process: process.kill())

    def signal(self, number: int) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(PATIENCE_S)
        self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _passwords(self, users: dict[str, str]) -> Path:
        path = self._write("passwords", "".join(f"{user}:{password}\n" for user, password in users.items()))
        subprocess.run([_program("mosquitto_passwd"), "-U", str(path)], check=True, capture_output=True)
        return path

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path


def _own_ports() -> range:
    """Give the ports that no other worker of this run takes: one that was chosen is not bound at once, or is while its broker is away."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    return range(10_000 + int(worker.removeprefix("gw")), 32_000, int(workers))


_PORTS = cycle(random.sample(_own_ports(), len(_own_ports())))


def free_port() -> int:
    """Give a port of loopback that nobody listens on, and that was not given before.

    It is none of those that the kernel gives to outgoing connections: a broker that is away keeps its port, and
    who looks for it again and again would sooner or later take that very port, and meet himself.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def _program(name: str) -> str:
    found = shutil.which(name, path=_PLACES)
    if found is None:
        pytest.skip(f"needs a real broker, and there is no {name} here: apt install mosquitto")
    return found
