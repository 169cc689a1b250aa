"""What `model.toml` of a release for texts may say, and every way to contradict itself."""

from __future__ import annotations

import pytest

from edged.models.manifest import parse_manifest
from tests.test_manifest import TEXT as WINDOWS

CLASSIFY = """name = "orders"
version = "1"
release = 1
task = "classify"
[input]
kind = "text"
template = "Order: {text}\\nSystem: "
system = "You sort work orders."
examples = [ { text = "bucket cracked", answer = "Bucket" } ]
max_chars = 400
keep = "end"
[output]
labels = ["Bucket", "Engine"]
[[variants]]
name = "words"
engine = "linear"
file = "words.npz"
[[variants]]
name = "head"
engine = "llama"
file = "model.gguf"
head = "head.npz"
context = 256
[[variants]]
name = "labels"
engine = "llama"
file = "model.gguf"
temperature = 1.5
[cascade]
stages = [ { use = "words", accept = 0.9 }, { use = "labels", accept = 0.5, per_hour = 60 } ]
"""
EXTRACT = """name = "parts"
version = "1"
release = 1
task = "extract"
[input]
kind = "text"
template = "{text}\\nJSON: "
examples = [ { text = "pump 3 leaks", answer = '{"part": "pump 3"}' } ]
[output]
max_tokens = 40
[output.schema]
type = "object"
properties = { part = { type = "string" } }
required = ["part"]
[[variants]]
name = "small"
engine = "llama"
file = "model.gguf"
golden = { file = "golden.npz", agree = 0.9 }
"""
GENERATE = """name = "say"
version = "1"
release = 1
task = "generate"
[input]
kind = "text"
render = "score {output.score} on {device}"
[output]
max_tokens = 40
stop = ["\\n"]
temperature = 0.7
[[variants]]
name = "small"
engine = "llama"
file = "model.gguf"
"""
EMBED = GENERATE.replace('"generate"', '"embed"').replace('max_tokens = 40\nstop = ["\\n"]\ntemperature = 0.7\n', "")


def faults_of(text: str) -> list[tuple[str, str]]:
    document, _ = parse_manifest(text.encode(), "model.toml")
    return [(fault.code, fault.key) for fault in document.faults]


@pytest.mark.parametrize("text", [CLASSIFY, EXTRACT, GENERATE, EMBED], ids=["classify", "extract", "generate", "embed"])
def test_a_release_for_texts_is_taken(text: str):
    assert faults_of(text) == []


LINEAR = 'name = "words"\nengine = "linear"\nfile = "words.npz"\n'


@pytest.mark.parametrize(
    ("source", "old", "new", "code", "key"),
    [
        (CLASSIFY, "{text}", "", "bad-value", "input.template"),
        (CLASSIFY, "{text}", "{text} {text}", "bad-value", "input.template"),
        (CLASSIFY, 'answer = "Bucket"', 'answer = "bucket"', "unknown-label", "input.examples[0].answer"),
        (CLASSIFY, '"Engine"]', '"Bucket"]', "duplicate", "output.labels[1]"),
        (CLASSIFY, '"Engine"]', '""]', "bad-value", "output.labels[1]"),
        (CLASSIFY, 'labels = ["Bucket", "Engine"]', "", "missing-key", "output.labels"),
        (CLASSIFY, "max_chars = 400", "samples = 10", "wrong-kind", "input.samples"),
        (CLASSIFY, "max_chars = 400", 'preprocess = [ { op = "diff" } ]', "wrong-kind", "input.preprocess"),
        (CLASSIFY, "max_chars = 400", "max_chars = 0", "bad-value", "input.max_chars"),
        (CLASSIFY, 'keep = "end"', 'keep = "middle"', "bad-value", "input.keep"),
        (CLASSIFY, "[output]", '[output]\nactivation = "softmax"', "wrong-kind", "output.activation"),
        (CLASSIFY, "[output]", "[output]\nmax_tokens = 3", "wrong-task", "output.max_tokens"),
        (CLASSIFY, "[output]", "[output]\ntemperature = 0.5", "wrong-task", "output.temperature"),
        (CLASSIFY, "[output]", '[output]\nschema = { type = "object" }', "wrong-task", "output.schema"),
        (CLASSIFY, '"classify"', '"anomaly"', "wrong-task", "task"),
        (CLASSIFY, '"classify"', '"regress"', "wrong-task", "task"),
        (CLASSIFY, 'engine = "linear"', 'engine = "tflite"', "wrong-engine", "variants[0].engine"),
        (CLASSIFY, 'file = "words.npz"', 'file = "words.npz"\nhead = "head.npz"', "wrong-engine", "variants[0].head"),
        (CLASSIFY, 'file = "words.npz"', 'file = "words.npz"\ncontext = 64', "wrong-engine", "variants[0].context"),
        (CLASSIFY, 'head = "head.npz"', 'head = "../head.npz"', "bad-file-name", "variants[1].head"),
        (CLASSIFY, 'head = "head.npz"', 'head = "model.toml"', "bad-file-name", "variants[1].head"),
        (CLASSIFY, "context = 256", "context = -1", "bad-value", "variants[1].context"),
        (CLASSIFY, "temperature = 1.5", "temperature = 0", "bad-value", "variants[2].temperature"),
        (CLASSIFY, "temperature = 1.5", "temperature = inf", "bad-value", "variants[2].temperature"),
        (CLASSIFY, 'use = "labels"', 'use = "words"', "duplicate", "cascade.stages[1].use"),
        (CLASSIFY, 'use = "labels"', 'use = "orders"', "unknown-stage", "cascade.stages[1].use"),
        (CLASSIFY, 'use = "labels"', 'use = "../x"', "bad-value", "cascade.stages[1].use"),
        (CLASSIFY, "accept = 0.9", "accept = nan", "not-finite", "cascade.stages[0].accept"),
        (CLASSIFY, "accept = 0.9", "accept = 1.5", "bad-value", "cascade.stages[0].accept"),
        (CLASSIFY, "stages = [", "stages = []\nper_hour = 1 # ", "bad-value", "cascade.stages"),
        (CLASSIFY, '{ use = "words", accept = 0.9 }, { use = "labels"', '{ use = "other"', "unknown-stage", "cascade.stages"),
        (EXTRACT, "40\n[output.schema]", "40\n[output.shape]", "missing-key", "output.schema"),
        (EXTRACT, 'type = "object"\n', 'type = "array"\n', "bad-value", "output.schema"),
        (EXTRACT, 'part = { type = "string" }', "", "bad-value", "output.schema"),
        (EXTRACT, """'{"part": "pump 3"}'""", '"pump 3"', "bad-value", "input.examples[0].answer"),
        (EXTRACT, """'{"part": "pump 3"}'""", """'{"part": 3}'""", "bad-value", "input.examples[0].answer"),
        (EXTRACT, """'{"part": "pump 3"}'""", """'{"part": "pump", "more": "x"}'""", "bad-value", "input.examples[0].answer"),
        (EXTRACT, '{ type = "string" }', '{ type = "string", pattern = "a+" }', "bad-value", "output.schema"),
        (EXTRACT, "max_tokens = 40", 'max_tokens = 40\nstop = ["x"]', "wrong-task", "output.stop"),
        (EXTRACT, 'engine = "llama"', 'engine = "linear"', "wrong-engine", "variants[0].engine"),
        (EXTRACT, "agree = 0.9", "atol = 0.1", "wrong-task", "variants[0].golden.atol"),
        (EXTRACT, 'file = "model.gguf"', 'file = "model.gguf"\ncontext = 40', "bad-value", "variants[0].context"),
        (EXTRACT, 'file = "model.gguf"', 'file = "model.gguf"\nhead = "h.npz"', "wrong-engine", "variants[0].head"),
        (GENERATE, 'render = "score {output.score} on {device}"', 'render = "score"', "bad-value", "input.render"),
        (GENERATE, 'file = "model.gguf"', 'file = "model.gguf"\ntemperature = 2.0', "wrong-task", "variants[0].temperature"),
        (GENERATE, '"model.gguf"\n', '"model.gguf"\ngolden = { file = "g.npz", agree = 1.0 }\n', "bad-value", "variants[0].golden"),
        (GENERATE, "[output]", '[output]\nsmooth = { op = "mean", windows = 3 }', "wrong-task", "output.smooth"),
        (GENERATE, "[output]", "[output]\nalarm = { on = 1, off = 0 }", "wrong-task", "output.alarm"),
        (GENERATE, "[[variants]]", '[cascade]\nstages = [ { use = "small", accept = 0.5 } ]\n[[variants]]', "wrong-task", "cascade"),
        (EMBED, 'engine = "llama"', 'engine = "linear"', "wrong-engine", "variants[0].engine"),
        (WINDOWS, 'kind = "window"', 'kind = "window"\nmax_chars = 10', "wrong-kind", "input.max_chars"),
        (WINDOWS, 'kind = "window"', 'kind = "window"\ntemplate = "{text}"', "wrong-kind", "input.template"),
        (WINDOWS, 'engine = "tflite"', 'engine = "linear"', "wrong-engine", "variants[0].engine"),
        (WINDOWS, 'engine = "tflite"', 'engine = "tflite"\nhead = "head.npz"', "wrong-engine", "variants[0].head"),
        (WINDOWS, 'task = "classify"', 'task = "generate"', "wrong-task", "task"),
    ],
)  # fmt: skip
def test_one_contradiction_is_found_and_placed(source: str, old: str, new: str, code: str, key: str):
    assert old in source
    assert (code, key) in faults_of(source.replace(old, new))


def test_all_contradictions_are_said_at_once():
    text = CLASSIFY.replace("{text}", "").replace('"Bucket" }', '"bucket" }').replace('engine = "linear"', 'engine = "tflite"')
    text = text.replace('use = "labels"', 'use = "words"').replace("max_chars = 400", "hop = 3")
    assert {code for code, _ in faults_of(text)} == {"bad-value", "unknown-label", "wrong-engine", "duplicate", "wrong-kind"}


def test_a_stage_may_be_another_model_and_a_variant_may_be_called_as_its_model():
    assert faults_of(CLASSIFY.replace('use = "labels"', 'use = "another-model"')) == []
    assert faults_of(CLASSIFY.replace('name = "words"', 'name = "orders"').replace('use = "words"', 'use = "orders"')) == []


def test_a_release_that_has_no_sound_part_is_not_judged_further():
    document, manifest = parse_manifest(b'task = 1\ninput = 3\noutput = []\nvariants = "x"\ncascade = []', "model.toml")
    assert manifest is None
    assert {fault.code for fault in document.faults} >= {"wrong-type"}
