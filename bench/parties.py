"""The processes of a benchmark: broker, plain script, daemon; and what the kernel says of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
MODEL_DIR = HERE.parent / "edged" / "demo" / "har"
MODEL = MODEL_DIR / "har_float.tflite"
RECORDINGS = HERE.parent / "edged" / "demo" / "recordings"
EDGED = Path(sys.executable).with_name("edged")

CONFIG = """
[device]
id = "bench"
state_dir = "{folder}/state"
[mqtt.main]
url = "mqtt://127.0.0.1:{port}"
[control]
socket = "{folder}/control.sock"
[metrics]
listen = "127.0.0.1:{metrics}"
[[pipelines]]
name = "har"
model_dir = "{model}"
source = {{ type = "mqtt", topic = "bench/{{sensor}}/vib" }}
decoder = {decoder}
queue = {{ full = "block" }}
"""
JSON = '{ type = "json", channels = ["acc.x", "acc.y", "acc.z"], time = "ts" }'
PACKED = '{ type = "packed", layout = "<hhh", channels = ["x", "y", "z"] }'


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def recording() -> list[tuple[float, float, float]]:
    """Give real readings of a walk, in mg."""
    path = sorted(RECORDINGS.glob("walking*"))[0]
    return [tuple(float(cell) for cell in line.split(",")) for line in path.read_text().splitlines() if line.strip()]  # type: ignore[misc]


@contextlib.contextmanager
def broker() -> Iterator[int]:
    """Run Mosquitto on a free port."""
    found = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if not found:
        sys.exit("the benchmarks need Mosquitto: apt-get install mosquitto")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n")
        process = subprocess.Popen([found, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            _wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def plain(port: int) -> Iterator[int]:
    """Run the plain script; give its process id once it has subscribed."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "plain.py"), str(port), str(MODEL)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def edged(port: int, decoder: str = JSON) -> Iterator[int]:
    """Run the daemon with everything on; give its process id once it is connected."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "edged.toml"
        config.write_text(CONFIG.format(folder=folder, port=port, metrics=free_port(), model=MODEL_DIR, decoder=decoder))
        process = subprocess.Popen([str(EDGED), "run", "--config", str(config)], stderr=subprocess.DEVNULL)
        try:
            while subprocess.run([str(EDGED), "status", "--config", str(config)], capture_output=True).returncode:
                if process.poll() is not None:
                    sys.exit("the daemon ended")
            time.sleep(1.0)
            os.environ["EDGED_CONFIG"] = str(config)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def cpu_s(pid: int) -> float:
    """Give the processor time a process has used, all threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(pid: int) -> float:
    """Give a process's proportional share of memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor() -> str:
    """Name the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def _wait_for_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    sys.exit(f"nothing listens at 127.0.0.1:{port}")
