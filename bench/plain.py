"""The plain script that edged is measured against, as an honest tutorial would write it.

One paho client, a callback for each message, `json.loads`, a deque per topic, a numpy array
per window, the interpreter, a publish with QoS 1. No checks, no counters, no reconnect.
"""

import json
import os
import sys
from collections import defaultdict, deque

import numpy as np
import paho.mqtt.client as mqtt

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

SAMPLES, HOP = 260, 130
LABELS = ["stationary", "walking", "running"]

port, model = int(sys.argv[1]), sys.argv[2]
interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
input_index = interpreter.get_input_details()[0]["index"]
output_index = interpreter.get_output_details()[0]["index"]
windows = defaultdict(lambda: deque(maxlen=SAMPLES))
since = defaultdict(int)


def on_connect(client, userdata, flags, reason, properties):
    client.subscribe("bench/+/vib", qos=1)
    print("ready", os.getpid(), flush=True)


def on_message(client, userdata, message):
    reading = json.loads(message.payload)
    acc = reading["acc"]
    window = windows[message.topic]
    window.append((acc["x"], acc["y"], acc["z"]))
    since[message.topic] += 1
    if len(window) == SAMPLES and since[message.topic] >= HOP:
        since[message.topic] = 0
        x = np.array(window, dtype=np.float32)[np.newaxis] * 0.00025
        interpreter.set_tensor(input_index, x)
        interpreter.invoke()
        scores = interpreter.get_tensor(output_index)[0]
        best = int(scores.argmax())
        result = {"topic": message.topic, "ts": reading["ts"], "label": LABELS[best], "score": float(scores[best])}
        client.publish("bench-out/" + message.topic, json.dumps(result), qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "plain")
client.on_connect = on_connect
client.on_message = on_message
client.connect("127.0.0.1", port)
client.loop_forever()
