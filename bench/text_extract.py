"""How many fields language models find right: `python -m bench text-extract`.

Sentences are made by a script, in twelve forms that people might write, with machines, values and units by chance; four sentences of
other forms are the examples in the prompt. The schema asks for machine, value and unit, so that every answer has all three.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.text_accuracy import models
from edged.engines.choose import open_engine
from edged.engines.text import Prompt, TextUse, Written

SEED = 1
DEADLINE_MS = 60_000.0
FIELDS = ("machine", "value", "unit")
SCHEMA = {
    "type": "object",
    "properties": {"machine": {"type": "string"}, "value": {"type": "number"}, "unit": {"type": "string"}},
    "required": list(FIELDS),
    "additionalProperties": False,
}
MACHINES = ("pump", "press", "lathe", "fan", "mixer", "saw", "boiler", "conveyor", "compressor", "crane")
UNITS = ("mm/s", "bar", "degC", "rpm", "A", "m/s", "kW", "percent")
FORMS = (
    "{machine} vibrates at {value} {unit}, bearing is hot",
    "{machine} slow, only {value} {unit}",
    "dropped to {value} {unit} at {machine}, operator called",
    "{machine}: {value} {unit}, please look",
    "reading of {machine} is {value} {unit} since the night shift",
    "we see {value} {unit} on {machine}",
    "{value} {unit} at {machine}, is that normal?",
    "Checked {machine}. It shows {value} {unit} now.",
    "{machine} went up to {value} {unit} and tripped",
    "after the repair {machine} runs with {value} {unit}",
    "alarm! {machine} {value} {unit}",
    "could somebody see to {machine}, it is at {value} {unit} again",
)
EXAMPLES = (
    ("{machine} has {value} {unit}, limit is 75", ("oven 4", 81, "degC")),
    ("{machine} draws {value} {unit} since this morning", ("drill 12", 9.4, "A")),
    ("the display of {machine} says {value} {unit}", ("mill 3", 1450, "rpm")),
    ("pressure of {machine} fell, {value} {unit}", ("tank 8", 0.7, "bar")),
)


@dataclass(frozen=True)
class Sentence:
    """A text and the fields that are in it."""

    text: str
    fields: dict[str, object]


def sentences(each: int) -> Iterator[Sentence]:
    """Make so many sentences of each form."""
    chance = random.Random(SEED)
    for form in FORMS * each:
        machine = f"{chance.choice(MACHINES)} {chance.randint(1, 20)}"
        value = chance.choice((chance.randint(2, 3000), round(chance.uniform(0.1, 99), 1)))
        yield _sentence(form, (machine, value, chance.choice(UNITS)))


def _sentence(form: str, values: tuple[str, float, str]) -> Sentence:
    fields = dict(zip(FIELDS, values))
    return Sentence(form.format(**fields), fields)


def run(quick: bool) -> None:
    """Ask each model that is installed about all sentences, and print how many fields are right."""
    asked = list(sentences(2 if quick else 10))
    examples = tuple((each.text, json.dumps(each.fields)) for each in (_sentence(form, values) for form, values in EXAMPLES))
    use = TextUse(
        "extract",
        Prompt("{text}\n", "Which machine, which value?", examples),
        schema=json.dumps(SCHEMA).encode(),
        max_tokens=64,
        max_chars=200,
    )
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        for model, path in models(Path(folder)):
            engine = open_engine(path, "llama", text=use)
            try:
                began = time.perf_counter()
                answers = [engine.write([each.text], DEADLINE_MS)[0] for each in asked]
                _print(model, asked, answers, (time.perf_counter() - began) * 1000 / len(asked))
            finally:
                engine.close()


def _print(model: str, asked: list[Sentence], answers: list[Written], ms: float) -> None:
    found = [json.loads(answer.text) if not answer.truncated else {} for answer in answers]
    right = {name: sum(each.get(name) == sentence.fields[name] for each, sentence in zip(found, asked)) for name in FIELDS}
    whole = sum(each == sentence.fields for each, sentence in zip(found, asked))
    parts = ", ".join(f"{name} {count / len(asked):.0%}" for name, count in right.items())
    print(f"  {model:14} {len(asked)} sentences: all fields right {whole / len(asked):.0%}; {parts}; {ms:.0f} ms each", flush=True)
    for each, sentence in [(each, sentence) for each, sentence in zip(found, asked) if each != sentence.fields][:3]:
        print(f"    wrong: {sentence.text!r} -> {json.dumps(each)}")
