"""A model of 12 MiB comes over bad links: how long it takes, and what it costs in bytes.

Single fragments are lost by a proxy between the board and Mosquitto, which also delays, slows down and cuts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.parties import broker
from tests.bad_link import BadLink
from tests.daemon import Daemon
from tests.rollouts import update_in
from tests.sites import DEVICE, MIB, QUICK, Site, large

SIZE_MIB = 12
_PATIENCE_S = 900.0

LINKS: dict[str, Callable[[BadLink], None]] = {
    "good": lambda _: None,
    "1 % of fragments lost": lambda link: link.lose("/blob/dat/", 0.01),
    "5 % of fragments lost": lambda link: link.lose("/blob/dat/", 0.05),
    "10 % of fragments lost": lambda link: link.lose("/blob/dat/", 0.1),
    "30 % of fragments lost": lambda link: link.lose("/blob/dat/", 0.3),
    "round trip 1 s": lambda link: link.set(round_trip_s=1.0),
    "round trip 1 s, 5 % lost": lambda link: (link.set(round_trip_s=1.0), link.lose("/blob/dat/", 0.05))[0],
    "1 MiB/s, 5 s up, 25 s down": lambda link: (link.set(rate=MIB, round_trip_s=0.1), link.alternate(up_s=5, down_s=25))[0],
}


def over(spoil: Callable[[BadLink], None]) -> tuple[float, float]:
    """Give the seconds from the order to the commit, and bytes received by bytes needed."""
    with tempfile.TemporaryDirectory() as name, broker() as port:
        daemons: list[Daemon] = []

        def make(config: str, port: int, **options: str) -> Daemon:
            daemons.append(Daemon(Path(name) / "boards" / "board", config, port, **options))
            return daemons[-1]

        site = Site(Path(name), make, port)
        try:
            path = large(site.folder, 1, SIZE_MIB)
            site.fleet.add(path)
            site.server.start()
            board = site.board().start()
            spoil(site.link)
            began = time.monotonic()
            site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
            while update_in(board.status()).get("state") != "committed":
                if time.monotonic() - began > _PATIENCE_S:
                    return float("inf"), float("nan")
                time.sleep(0.1)
            needed = sum(each.stat().st_size for each in path.iterdir())
            return time.monotonic() - began, board.status()["fleet"]["received"] / needed
        finally:
            for each in daemons:
                each.kill()
            site.close()
