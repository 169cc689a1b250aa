"""COBS against another implementation of it: the same bytes out, the same bytes back, the same refused."""

from __future__ import annotations

import pytest
from cobs import cobs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware_bridge.cobs import stuff, unstuff

# Runs without a zero, around the lengths where a code byte is full.
_RUNS = st.sampled_from([0, 1, 2, 252, 253, 254, 255, 256, 507, 508, 509, 762, 1024])
packets = st.one_of(st.binary(max_size=60), st.lists(_RUNS, max_size=5).map(lambda runs: b"\0".join(b"\xff" * run for run in runs)))


@given(packets)
@settings(max_examples=300)
def test_makes_the_bytes_that_others_make(packet: bytes) -> None:
    assert stuff(packet) == cobs.encode(packet)


@given(packets)
@settings(max_examples=300)
def test_gives_back_what_was_stuffed_and_never_has_a_zero(packet: bytes) -> None:
    assert 0 not in stuff(packet)
    assert unstuff(stuff(packet)) == packet


@pytest.mark.parametrize("run", range(250, 260))
@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0", b"\0a"])
def test_a_run_of_254_bytes_and_what_is_next_to_it(run: int, tail: bytes) -> None:
    packet = b"a" * run + tail
    assert stuff(packet) == cobs.encode(packet)
    assert unstuff(stuff(packet)) == packet


def test_costs_one_byte_for_each_254() -> None:
    assert [len(stuff(b"a" * size)) - size for size in (0, 1, 254, 255, 508, 509, 1024)] == [1, 1, 1, 2, 2, 3, 5]


def test_a_sender_may_close_a_full_run_with_an_empty_one() -> None:
    assert unstuff(b"\xff" + b"a" * 254 + b"\x01") == b"a" * 254


@given(st.one_of(st.binary(max_size=20), st.lists(st.sampled_from([0, 1, 2, 3, 254, 255]), max_size=600).map(bytes)))
@example(b"")
@example(b"\x01")
@example(b"\xff" + b"a" * 253)
@settings(max_examples=500)
def test_refuses_what_others_refuse(line: bytes) -> None:
    try:
        wanted = cobs.decode(line)
    except cobs.DecodeError:
        with pytest.raises(ValueError, match=r"zero|beyond the end"):
            unstuff(line)
    else:
        assert unstuff(line) == wanted
