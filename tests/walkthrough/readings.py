"""A vibration sensor on loopback: 1,024 readings a second, a quarter of a second in each message."""

from __future__ import annotations

import json
import time

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

TOPIC = "hall-1/press/vibration"
RATE_HZ = 1024
IN_A_MESSAGE = 256
PEAK = 3.0  # m/s²; a trial feeds -2 to 2


def publish(port: int) -> None:
    """Publish until Ctrl-C, as `{"ts": ms of the last reading, "a": [m/s², …]}`; connects again by itself."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect_async("127.0.0.1", port)
    client.reconnect_delay_set(1, 1)
    client.loop_start()
    rng = np.random.default_rng(1)
    step = IN_A_MESSAGE / RATE_HZ
    began = time.time()
    count = 0
    try:
        while True:
            count += 1
            time.sleep(max(0.0, began + count * step - time.time()))
            at = (np.arange(IN_A_MESSAGE) + (count - 1) * IN_A_MESSAGE) / RATE_HZ
            values = PEAK * np.sin(2 * np.pi * 50 * at) + rng.normal(0, 0.2, IN_A_MESSAGE)
            message = {"ts": round((began + count * step) * 1000), "a": [round(float(value), 3) for value in values]}
            client.publish(TOPIC, json.dumps(message))
    except KeyboardInterrupt:
        client.disconnect()
