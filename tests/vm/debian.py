"""A Debian root file system with a kernel, as a tar file that is made once and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from tests.vm.process import Failed, run

SUITE = "bookworm"
PYTHON = "3.11"  # what it brings
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod"),
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd"),
    *("python3", "python3-venv", "mosquitto"),
)
VENV = "/opt/edged"
_OPTIONS = (
    "--mode=root",
    "--variant=minbase",
    "--architectures=amd64",
    f"--include={','.join(PACKAGES)}",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    f'--customize-hook=chroot "$1" python3 -m venv {VENV}',
)
_ANYWHERE = "http://deb.debian.org/debian"
_TIMEOUT_S = 900


def root_file_system(cache: Path) -> Path:
    """Give the tar file, from `cache` or made; others in there, of other packages or options, are removed."""
    key = hashlib.blake2b("\n".join((SUITE, *_OPTIONS)).encode(), digest_size=6).hexdigest()
    kept = cache / f"{SUITE}-{key}.tar"
    if kept.exists():
        return kept
    print("Making a Debian root file system, once: a minute or two.", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as folder:
        made = Path(folder, kept.name)
        _make(made)
        os.replace(made, kept)
    for old in cache.glob(f"{SUITE}-*.tar"):
        if old != kept:
            old.unlink()
    return kept


def unpack(archive: Path, root: Path) -> None:
    """Unpack it into the folder `root`, which is made."""
    root.mkdir()
    run("tar", "--extract", "--numeric-owner", "--file", str(archive), "--directory", str(root), timeout_s=300)


def inside(root: Path, *command: str, timeout_s: float = 120) -> str:
    """Run a program of the root file system in it, with none of our environment; give what it said."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    return run("chroot", str(root), *command, timeout_s=timeout_s, env=env)


def _make(target: Path) -> None:
    # Beside the target, so that nothing is left elsewhere when it is killed.
    env = {**os.environ, "TMPDIR": str(target.parent)}
    run(*_apart(), "mmdebstrap", *_OPTIONS, SUITE, str(target), _mirror(), timeout_s=_TIMEOUT_S, env=env)


def _apart() -> tuple[str, ...]:
    """Give what to put before a command so that its mounts and processes end with it.

    Where that is forbidden, as in many containers, mounts are too, and mmdebstrap does without.
    """
    apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    try:
        run(*apart, "true", timeout_s=10)
    except Failed:
        return ()
    return apart


def _mirror() -> str:
    """Give the mirror that this machine's own packages come from, where it is a Debian of the same suite."""
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Component: main"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    return next((line.split()[1] for line in listed.splitlines() if line.startswith(f"{SUITE} ")), _ANYWHERE)
