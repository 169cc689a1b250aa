"""What texts cost: the engines `llama` and `linear` beside llama.cpp's own server, which runs in a process of its own.

Real work orders of excavators, six systems, a prompt of some 390 tokens, the small model of the tests. Each round asks all parties in
turn, so that a drift of the machine meets all; the numbers are medians of rounds.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.parties import HERE, MODEL
from bench.text_library import Library
from edged.engines.choose import open_engine
from edged.engines.llama.engine import LlamaEngine
from edged.engines.text import Prompt, TextEngine, TextUse
from tests.smollm import smollm_path

ORDERS = HERE.parent / "tests" / "data" / "excavators" / "orders.csv"
WORDS = HERE.parent / "edged" / "demo" / "orders" / "words" / "words.npz"
EXAMPLES = 15  # in the prompt: some 390 tokens
THREADS = os.cpu_count() or 2  # for all parties, where nothing else runs
WRITTEN = 96  # tokens
PATIENT_MS = 600_000.0
STEP_S = 0.01  # a window each 10 ms, which is its deadline


@dataclass(frozen=True)
class Row:
    """A measurement as `bench.__main__.line` prints it."""

    what: str
    text: str
    value: float
    bar: str
    limit: float | None = None
    above: bool = True


@dataclass(frozen=True)
class Task:
    """Texts, and the prompt for them: as edged's and as the library's own."""

    use: TextUse
    texts: list[str]
    before: str

    def prompts(self, count: int) -> list[str]:
        """Give the first prompts whole, as the library takes them."""
        return [f"{self.before} {text}\nSystem:" for text in self.texts[:count]]


def rows(quick: bool) -> Iterator[Row]:
    """Measure everything; some minutes, or one with `quick`."""
    task = _task(16 if quick else 48)
    yield from _labels(task, 1 if quick else 5)
    yield _vectors(task, 1 if quick else 5)
    yield from _decode(1 if quick else 5)
    yield _linear()
    yield from _beside(3.0 if quick else 10.0)


def _task(count: int) -> Task:
    with ORDERS.open(newline="", encoding="utf-8") as file:
        orders = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    labels = tuple(label for label, _ in Counter(label for _, label in orders).most_common())
    random.Random(1).shuffle(orders)
    examples, rest = orders[:EXAMPLES], orders[EXAMPLES : EXAMPLES + count]
    system = f"You sort work orders of excavators into systems: {', '.join(labels)}."
    # In the turns of its chat template the model names fewer of them right (41 % of 80, and 49 % so), and each text is longer.
    use = TextUse("classify", Prompt("Work order: {text}\nSystem: ", system, tuple(examples)), labels, max_chars=200)
    before = "".join([f"{system}\n\n", *(f"Work order: {text}\nSystem: {label}\n\n" for text, label in examples), "Work order:"])
    return Task(use, [text for text, _ in rest], before)


def _labels(task: Task, rounds: int) -> Iterator[Row]:
    """Score whole label texts, against the library with and without its cache, and with parallel slots."""
    count = len(task.texts)
    some = max(count // 3, 8)
    grammar = "root ::= " + " | ".join(json.dumps(f" {label}") for label in task.use.labels)
    ms: dict[str, list[float]] = {name: [] for name in ("ours", "one", "full", "cached", "slots", "written")}
    with ExitStack() as stack:
        engine = stack.enter_context(closing(_opened(task.use)))
        single = stack.enter_context(closing(Library(str(smollm_path()), 1, THREADS)))
        slots = stack.enter_context(closing(Library(str(smollm_path()), 4, THREADS)))
        engine.scores(task.texts[:8])
        for library in (single, slots):
            library.ask(task.prompts(8), together=True)  # so that each slot knows the prefix
        for _ in range(rounds):
            ms["ours"].append(_ms(lambda: engine.scores(task.texts), count))
            ms["one"].append(_ms(lambda: [engine.scores([text]) for text in task.texts[:some]], some))
            ms["cached"].append(single.ask(task.prompts(some))[0] / some * 1e3)
            ms["written"].append(single.ask(task.prompts(some), tokens=8, grammar=grammar)[0] / some * 1e3)
            ms["slots"].append(slots.ask(task.prompts(some), together=True)[0] / some * 1e3)
            ms["full"].append(single.ask(task.prompts(2), cache=False)[0] / 2 * 1e3)
        prefix, mib = engine.prefix, engine.mib()
        with _busy():
            busy = single.ask(task.prompts(some))[0] / some * 1e3, _ms(lambda: engine.scores(task.texts), count)
    found = {name: statistics.median(each) for name, each in ms.items()}
    ours = found["ours"]
    for what, name, bar in (
        (f"labels, {prefix} tokens of prefix", "full", 12.0),
        ("its cache, first token only", "cached", 1.3),
        ("its 4 slots, first token only", "slots", None),
        ("its cache, label written", "written", None),
    ):
        yield Row(what, f"library {found[name]:,.1f} ms, edged {ours:.1f} ms a text", found[name] / ours, f"≥ {bar:g}" if bar else "–", bar)
    yield Row("its cache, one CPU is busy", f"library {busy[0]:,.1f} ms, edged {busy[1]:.1f} ms a text", busy[0] / busy[1], "–")
    yield Row("one text at a time, against several", f"edged {found['one']:.1f} ms; {mib:.0f} MiB", found["one"] / ours, "–")


def _vectors(task: Task, rounds: int) -> Row:
    with closing(_opened(TextUse("embed", max_chars=200))) as engine:
        count = len(task.texts)
        together, alone = [], []
        engine.vectors(task.texts[:8])
        for _ in range(rounds):
            together.append(_ms(lambda: engine.vectors(task.texts), count))
            alone.append(_ms(lambda: [engine.vectors([text]) for text in task.texts], count))
    both, one = statistics.median(together), statistics.median(alone)
    return Row("embeddings, for a head", f"one a call {one:.1f} ms, together {both:.1f} ms a text", one / both, "≥ 1.3", 1.3)


def _decode(rounds: int) -> Iterator[Row]:
    """Write a long answer; what the prompt takes is taken off."""
    texts = ["a lighthouse", "a pump", "the sea", "an old excavator"]
    use = TextUse("generate", Prompt("Write a long story about {text}.", chat=True), max_tokens=WRITTEN, max_chars=100)
    short = TextUse("generate", use.prompt, max_tokens=1, max_chars=100)
    prompt = f"<|im_start|>user\nWrite a long story about {texts[0]}.<|im_end|>\n<|im_start|>assistant\n"
    ours, theirs, four = [], [], []
    with ExitStack() as stack:
        engine, first = (stack.enter_context(closing(_opened(each))) for each in (use, short))
        library = stack.enter_context(closing(Library(str(smollm_path()), 1, THREADS)))
        _rate(engine, first, texts)  # what is read for the first time is slow
        library.ask([prompt], tokens=WRITTEN)
        for _ in range(rounds):
            ours.append(_rate(engine, first, texts[:1]))
            one, many = (library.ask([prompt], tokens=tokens)[0] for tokens in (1, WRITTEN))
            theirs.append((WRITTEN - 1) / (many - one))
            four.append(_rate(engine, first, texts))
    a, b, c = (statistics.median(each) for each in (ours, theirs, four))
    yield Row("new tokens, one answer", f"library {b:.0f}/s, edged {a:.0f}/s", a / b, "≥ 0.95", 0.95)
    yield Row("new tokens, four answers at once", f"edged {c:.0f}/s", c / a, "–")


def _rate(engine: LlamaEngine, first: LlamaEngine, texts: list[str]) -> float:
    start = time.perf_counter()
    first.write(texts, PATIENT_MS)
    middle = time.perf_counter()
    answers = engine.write(texts, PATIENT_MS)
    took = (time.perf_counter() - middle) - (middle - start)
    return (sum(answer.tokens for answer in answers) - len(texts)) / took


def _linear() -> Row:
    with ORDERS.open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    labels = tuple(str(label) for label in np.load(WORDS, allow_pickle=False)["labels"])
    engine = open_engine(WORDS, "linear", text=TextUse("classify", labels=labels))
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for at in range(0, len(texts), engine.batch):
            engine.scores(texts[at : at + engine.batch])
        rates.append(len(texts) / (time.perf_counter() - start))
    engine.close()
    rate = statistics.median(rates)
    return Row("engine linear", f"{rate:,.0f} texts/s", rate, "≥ 20,000", 20_000.0)


def _beside(seconds: float) -> Iterator[Row]:
    """Run a small TFLite model at a steady rate, alone and while a text is written with all CPUs but one, as by default."""
    use = TextUse("generate", Prompt("Write a long story about {text}.", chat=True), max_tokens=WRITTEN, max_chars=100)
    alone = _windows(seconds)
    with closing(_opened(use, threads=None)) as engine, _writing(engine):
        beside = _windows(seconds)
    for name, late in (("TFLite windows, alone", alone), ("TFLite windows, text is written", beside)):
        p50, p99 = np.percentile(late, [50, 99])
        yield Row(name, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {max(late):.2f} ms", float(p99), "≤ 10 ms", STEP_S * 1e3, above=False)


def _windows(seconds: float) -> list[float]:
    """Give how late each result is, in ms, behind the time when its window was due."""
    engine = open_engine(MODEL, "tflite", batching=False)
    window = np.zeros((1, *engine.input.shape), np.float32)
    late, due = [], time.perf_counter()
    end = due + seconds
    while due < end:
        due += STEP_S
        time.sleep(max(due - time.perf_counter(), 0))
        engine.infer(window)
        late.append((time.perf_counter() - due) * 1e3)
    return late


@contextmanager
def _busy() -> Iterator[None]:
    """Keep one CPU busy, as another program of a board may."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _writing(engine: TextEngine) -> Iterator[None]:
    """Have an engine write one answer after the other."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            engine.write(["an old excavator"], PATIENT_MS)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _opened(use: TextUse, threads: int | None = THREADS) -> LlamaEngine:
    engine = open_engine(Path(smollm_path()), "llama", text=use, threads=threads)
    assert isinstance(engine, LlamaEngine)
    return engine


def _ms(work: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / count * 1e3
