"""The preprocess operations as a release writes them: what is taken, what is refused, and where the fault is said to be."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config.check import Document
from edged.preprocess import ops
from edged.preprocess.chain import ChainFaults, compile_chain

MEL = 'convention = "tf", frame = 480, hop = 320, n_mels = 40'


class Release(msgspec.Struct):
    """A document that holds a chain, as a release does."""

    preprocess: list[ops.Op]


def checked(text: str) -> Document:
    document = Document("model.toml", f"preprocess = [ {text} ]")
    document.check(Release)
    return document


@pytest.mark.parametrize(
    "text",
    [
        '{ op = "scale", factor = 0.00025 }',
        '{ op = "scale", factor = [1, 2.5] }',
        '{ op = "offset", by = -1 }',
        '{ op = "zscore", mean = [0, 1], std = 2 }',
        '{ op = "minmax", min = [0, 1], max = 2 }',
        '{ op = "detrend" }',
        '{ op = "diff" }',
        '{ op = "clip", min = -inf, max = 3 }',
        '{ op = "magnitude" }',
        '{ op = "taper", type = "hamming" }',
        '{ op = "rfft", output = "db" }',
        '{ op = "bands", edges_hz = [0, 5, 10] }',
        f'{{ op = "log_mel", {MEL} }}',
        f'{{ op = "mfcc", {MEL}, n_mfcc = 10, log = "db", power = 2 }}',
        '{ op = "stats", of = ["mean", "std"], by = "stat" }',
        '{ op = "select", channels = ["x", 1] }',
        '{ op = "reshape", shape = [49, 10, 1] }',
        '{ op = "flatten", order = "F" }',
    ],
)
def test_every_operation_is_read_from_toml(text: str) -> None:
    assert checked(text).faults == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{ op = "scale", factor = 0 }', "preprocess[0]"),
        ('{ op = "scale", factor = nan }', "preprocess[0].factor"),
        ('{ op = "scale", factor = [1, nan] }', "preprocess[0].factor"),
        ('{ op = "scale", factor = 1e39 }', "preprocess[0].factor"),
        ('{ op = "scale", factor = [] }', "preprocess[0].factor"),
        ('{ op = "offset", by = inf }', "preprocess[0].by"),
        ('{ op = "zscore", mean = 0, std = 0 }', "preprocess[0].std"),
        ('{ op = "minmax", min = 1, max = 1 }', "preprocess[0]"),
        ('{ op = "minmax", min = [0, 5], max = [1, 4] }', "preprocess[0]"),
        ('{ op = "minmax", min = [0, 5], max = [1, 6, 7] }', "preprocess[0]"),
        ('{ op = "clip", min = nan, max = 1 }', "preprocess[0]"),
        ('{ op = "clip", min = 0, max = nan }', "preprocess[0]"),
        ('{ op = "clip", min = 1e300, max = inf }', "preprocess[0]"),
        ('{ op = "bands", edges_hz = [1, 2, 2] }', "preprocess[0]"),
        ('{ op = "bands", edges_hz = [1, nan] }', "preprocess[0].edges_hz"),
        (f'{{ op = "log_mel", {MEL}, n_fft = 256 }}', "preprocess[0]"),
        (f'{{ op = "log_mel", {MEL}, n_fft = 100000000000 }}', "preprocess[0].n_fft"),
        (f'{{ op = "log_mel", {MEL}, f_min = 50, f_max = 40 }}', "preprocess[0]"),
        (f'{{ op = "log_mel", {MEL}, offset = 0 }}', "preprocess[0].offset"),
        (f'{{ op = "mfcc", {MEL}, n_mfcc = 41 }}', "preprocess[0]"),
        ('{ op = "stats", of = ["mean", "mean"] }', "preprocess[0]"),
        ('{ op = "stats", of = ["median"] }', "preprocess[0].of"),
        ('{ op = "select", channels = [-1] }', "preprocess[0].channels"),
        ('{ op = "reshape", shape = [2, -1] }', "preprocess[0].shape"),
        ('{ op = "flatten", ordre = "F" }', "preprocess[0].ordre"),
        ('{ op = "fft" }', "preprocess[0].op"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(text: str, key: str) -> None:
    faults = checked(text).faults
    assert len(faults) == 1
    assert faults[0].key.startswith(key)  # or an item of that list
    assert faults[0].line == 1


def test_faults_of_several_operations_are_told_together() -> None:
    faults = checked('{ op = "scale", factor = 0 }, { op = "detrend" }, { op = "stats", of = [] }').faults
    assert [fault.key for fault in faults] == ["preprocess[0]", "preprocess[2].of"]


def test_constants_no_board_can_hold_are_refused() -> None:
    """The bounds of single fields leave room for large products; the chain bounds those."""
    huge = ops.LogMel(convention="slaney", frame=1 << 14, hop=1, n_mels=256)
    with pytest.raises(ChainFaults, match="are the most"):
        compile_chain([huge], 1_000_000, 1, 16_000.0)
    with pytest.raises(ChainFaults, match="the window"):
        compile_chain([], 1_000_000, 4096)
    with pytest.raises(ChainFaults, match="one operation too many"):
        compile_chain([ops.Diff()] * 65, 1000, 1)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 40),
    st.floats(),
    st.sampled_from(["tf", "htk", "slaney", "hann", "db", "stat", "x", "F", "mean"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=4))
TAGS = [arm.__struct_config__.tag for arm in ops.Op.__args__]
KEYS = sorted({field for arm in ops.Op.__args__ for field in arm.__struct_fields__})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"op": st.sampled_from(TAGS)}, optional=dict.fromkeys(KEYS, VALUES)), max_size=4),
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from([0.0, 26.0, 1e9]),
)
def test_hostile_chains_give_faults_and_nothing_else(chain: list[dict[str, object]], samples: int, channels: int, rate_hz: float) -> None:
    for entry in chain:
        arm = next(arm for arm in ops.Op.__args__ if arm.__struct_config__.tag == entry["op"])
        for key in set(entry) - {"op", *arm.__struct_fields__}:
            del entry[key]
    document = Document("model.toml", "")
    release = document.check(Release, value={"preprocess": chain})
    if release is None:
        assert document.faults
        return
    sound = [op for op in release.preprocess if op is not None]
    with contextlib.suppress(ChainFaults):
        compile_chain(sound, samples, channels, rate_hz, ["x", "y", "z"][:channels])
