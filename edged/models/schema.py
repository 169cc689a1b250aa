"""`model.toml` as frozen structs: names, units, defaults, bounds.

The reference page of releases is made from this module: the docstring of a struct introduces
its table, the text in `Meta(description=…)` describes a key. What one key says of another is
held in `rules.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edged.config.schema import Name
from edged.preprocess.ops import Op

MAX_RELEASE = 2**53 - 1  # the largest number that every JSON reader keeps whole

Task = Literal["classify", "anomaly", "regress", "embed", "extract", "generate"]
Kind = Literal["window", "text", "tensor"]
EngineName = Literal["tflite", "llama", "linear"]


def _about(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables share."""


class Quality(_Base, frozen=True, kw_only=True):
    """How the quality of the variants was measured."""

    metric: Annotated[str, _about("what `quality` of a variant counts, such as `accuracy`")]
    dataset: Annotated[str, _about("on which data")] = ""
    higher_is_better: Annotated[bool, _about("false for errors and losses")] = True
    minimum: Annotated[float | None, _about("a variant that is worse is never chosen")] = None


class Example(_Base, frozen=True, kw_only=True):
    """A text and its right answer, which a language model is shown first."""

    text: Annotated[str, _about("as it would come in", max_length=100_000)]
    answer: Annotated[str, _about("what the model should say: of classify one of the labels", max_length=100_000)]


class Input(_Base, frozen=True, kw_only=True):
    """What one input of the model is made of.

    `window`: the last `samples` readings of a stream, every `hop` readings. `tensor`: one
    message is one input of `samples` readings. `text`: one message is one text.
    """

    kind: Annotated[Kind, _about("window, text or tensor")]
    channels: Annotated[
        list[str],
        _about("names; the decoder's are matched by order where there are as many, by name where it gives more", max_length=4096),
    ] = []
    samples: Annotated[int, _about("readings of one input", ge=1, le=1_000_000)] = 1
    hop: Annotated[int, _about("readings from one window to the next; 0: no windows", ge=0, le=1_000_000)] = 0
    rate_hz: Annotated[float, _about("nominal readings a second; needed for windows: gaps are judged by it", ge=0, le=1e9)] = 0.0
    gap: Annotated[Literal["hold", "interpolate", "void"], _about("what becomes of a window with readings missing")] = "void"
    preprocess: Annotated[list[Op], _about("operations on float32 `[samples, channels]`, in this order")] = []
    stateful: Annotated[bool, _about("the graph keeps variables between calls: one interpreter a stream")] = False
    template: Annotated[str, _about("text: what is asked, `{text}` being the text", max_length=100_000)] = "{text}"
    system: Annotated[str, _about("text: what the model is told first", max_length=100_000)] = ""
    examples: Annotated[list[Example], _about("text: answered before the text that is asked", max_length=1000)] = []
    chat: Annotated[bool, _about("text: put it in the turns of the model's own chat template")] = False
    max_chars: Annotated[int, _about("text: characters that are taken of one text", ge=1, le=1_000_000)] = 2000
    keep: Annotated[Literal["start", "end"], _about("text: which end of a longer one is kept")] = "start"
    render: Annotated[
        str, _about("text: messages are JSON, and this text is made of them: `{output.score}` is a field's value", max_length=100_000)
    ] = ""


class Smooth(_Base, frozen=True, kw_only=True):
    """One result from the last ones of the same stream."""

    op: Annotated[
        Literal["mean", "vote", "ewma"], _about("mean of scores, most frequent label, or exponential mean with alpha = 2 / (windows + 1)")
    ]
    windows: Annotated[int, _about("how many", ge=1, le=10_000)]


class Alarm(_Base, frozen=True, kw_only=True):
    """When the alarm of a stream goes on and off; between `on` and `off` it stays as it is."""

    label: Annotated[str, _about("classify: the label whose score is judged")] = ""
    on: Annotated[float, _about("on at this score and beyond")]
    off: Annotated[float, _about("off on the other side of this score")]
    min_s: Annotated[float, _about("seconds beyond `on` before it goes on", ge=0, le=1e6)] = 0.0
    quiet_s: Annotated[float, _about("seconds after it went off in which it does not go on again", ge=0, le=1e6)] = 0.0


class Output(_Base, frozen=True, kw_only=True):
    """What the model's output tensor means."""

    labels: Annotated[list[str], _about("classify: one for each value of the output, in order", max_length=100_000)] = []
    activation: Annotated[Literal["none", "softmax", "sigmoid"], _about("applied to the output, where the graph does not do it")] = "none"
    smooth: Annotated[Smooth | None, _about("over the last windows of a stream")] = None
    alarm: Annotated[Alarm | None, _about("judged after smoothing")] = None
    score: Annotated[
        Literal["mse", "mae", "max", "output"],
        _about("anomaly: mean squared, mean absolute or largest absolute difference of output and input, or the output itself"),
    ] = "mse"
    threshold: Annotated[float | None, _about("anomaly: the score where it begins")] = None
    anomalous: Annotated[Literal["above", "below"], _about("anomaly: which side of the threshold")] = "above"
    schema: Annotated[dict[str, Any], _about("extract: JSON schema of the fields; no others are taken")] = {}
    max_tokens: Annotated[int, _about("extract, generate: the longest answer", ge=1, le=100_000)] = 64
    stop: Annotated[list[str], _about("generate: an answer ends before the first of these", max_length=16)] = []
    temperature: Annotated[float, _about("generate: 0 takes the likeliest word, more lets chance in", ge=0, le=10)] = 0.0


class Golden(_Base, frozen=True, kw_only=True):
    """Raw tensors of one variant that every board must compute alike; give `atol` or `agree`."""

    file: Annotated[str, _about("npz with arrays `inputs` [n, …] and `outputs` [n, …]")]
    atol: Annotated[Annotated[float, Meta(ge=0)] | None, _about("largest difference allowed, in units of the output tensor")] = None
    agree: Annotated[Annotated[float, Meta(gt=0, le=1)] | None, _about("least part of the inputs with the same largest output")] = None


class Variant(_Base, frozen=True, kw_only=True):
    """One file that computes the model, for one engine."""

    name: Annotated[Name, _about("shown in results and in `edged why`")]
    engine: Annotated[EngineName, _about("what runs it")]
    file: Annotated[str, _about("its file in this folder")]
    quality: Annotated[float | None, _about("measured as `[quality]` says")] = None
    golden: Annotated[Golden | None, _about("inputs and outputs to hold it to")] = None
    head: Annotated[str, _about("engine llama, classify: its file of weights that make labels of the model's embedding of a text")] = ""
    context: Annotated[int, _about("engine llama: tokens there is room for; 0: as prompt and answer need", ge=0, le=1_000_000)] = 0
    temperature: Annotated[
        float, _about("classify: what log-odds are divided by before they become scores; `edged fit cascade` finds it", gt=0, le=1000)
    ] = 1.0


class Stage(_Base, frozen=True, kw_only=True):
    """One step of a cascade."""

    use: Annotated[Name, _about("a variant of this release, or another model of the board with the same labels")]
    accept: Annotated[float, _about("least score of the leading label that is believed", ge=0, le=1)]
    per_hour: Annotated[int, _about("how often an hour this stage is asked at most; 0: no limit", ge=0, le=10_000_000)] = 0


class Cascade(_Base, frozen=True, kw_only=True):
    """Cheap first: each stage is asked where the one before is not sure. Behind the last a person or a bigger system may be asked."""

    stages: Annotated[list[Stage], _about("in the order they are asked", min_length=1, max_length=8)]
    per_hour: Annotated[int, _about("how often an hour a person is asked at most; 0: no limit", ge=0, le=10_000_000)] = 0
    fitted: Annotated[dict[str, Any], _about("free keys: how the thresholds were found; `edged fit cascade` writes them")] = {}


class Manifest(_Base, frozen=True, kw_only=True):
    """The whole file."""

    name: Annotated[Name, _about("the model's name")]
    version: Annotated[str, _about("a label for people", min_length=1, max_length=64)]
    release: Annotated[int, _about("a counter that only rises", ge=1, le=MAX_RELEASE)]
    task: Annotated[Task, _about("what a result is")]
    description: Annotated[str, _about("one sentence")] = ""
    licence: Annotated[str, _about("of the model")] = ""
    provenance: Annotated[dict[str, Any], _about("free keys: data, trained_by, date, source, sbom; shown by `edged models show`")] = {}
    quality: Annotated[Quality | None, _about("how quality was measured")] = None
    input: Annotated[Input, _about("what goes in")]
    output: Annotated[Output, _about("what comes out")] = Output()
    variants: Annotated[list[Variant], _about("at least one; their order means nothing", min_length=1, max_length=64)]
    cascade: Annotated[Cascade | None, _about("classify: which variants are asked, one after the other")] = None
