"""The configuration that the demo of texts runs."""

from __future__ import annotations

from pathlib import Path

from edged.demo.settings import DEVICE, FLEET, quoted

PIPELINE = "orders"
QUESTIONS = "demo/questions"
ANSWERS = "demo/answers"
WAIT_S = 20


def topic_of(number: int) -> str:
    """Give the topic that an order is sent to."""
    return f"demo/orders/{number}"


def orders_text(release: Path) -> str:
    """Give the configuration: one pipeline for texts on an embedded broker, which asks what it is not sure of."""
    return f"""\
# Made by `edged demo text`. To use it with your own broker and texts, change `url`, and `topic` if
# your texts come elsewhere. A message is one text. `edged check --config THIS-FILE` checks it.

[device]
fleet = "{FLEET}"
id = "{DEVICE}"

[mqtt.main]
url = "embedded"

[[pipelines]]
name = "{PIPELINE}"
model_dir = {quoted(release)}
source = {{ type = "mqtt", topic = "demo/orders/{{order}}" }}
decoder = {{ type = "text" }}
deadline_ms = 30_000  # the person is slower than any model; a shorter one has edged take words alone where a model is late
# What the model is not sure of is asked here. An answer is {{"id": "…", "label": "Bucket", "by": "Ann"}}.
escalate = {{ topic = "{QUESTIONS}", answers = "{ANSWERS}", wait_s = {WAIT_S} }}
# Results go to edged/1/{FLEET}/{DEVICE}/out/{PIPELINE}: that is the default of `outputs`.
"""
