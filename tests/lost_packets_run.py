"""What `test_lost_packets` runs on a wire that loses packets: a broker, and a link that hears what it says.

python -m tests.lost_packets_run MESSAGES
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from tests.broker import Mosquitto
from tests.waiting import until


def main(count: int) -> None:
    """Send so many messages over the wire and back; print what came."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder)).start()
        heard: list[int] = []

        def take(block: Block, connection: int) -> None:
            heard.extend(int(payload or b"-1") for payload in block.payloads)
            link.ack(block.mids, connection)

        settings = Broker(url=f"mqtt://127.0.0.1:{broker.port}", version="5")
        link = Link("main", settings, "board", SystemClock(), random.Random(7), on_block=take, longest_wait_s=5.0)
        link.subscribe("t", 1)
        begun = time.monotonic()
        link.start()
        until(lambda: link.state.state == "connected", "connected", lambda: link.state)
        for i in range(count):
            link.publish(Message("t", b"%d" % i))
        until(lambda: len(set(heard)) == count, "all back", lambda: (len(heard), link.state))
        seconds = time.monotonic() - begun
        link.stop()
        broker.kill()
    print(json.dumps({"heard": heard, "dropped": link.dropped, "connections": link.connection, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
