"""Windows against the plain definition: the last `samples` readings, each `hop` readings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stream.windows import Cuts, WindowTable


def plain_windows(count: int, samples: int, hop: int) -> list[tuple[int, int]]:
    """Give the [start, end) of each window of `count` readings, from the definition."""
    return [(end - samples, end) for end in range(samples, count + 1, hop)]


def readings(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Number readings through, so that a window shows which ones it holds."""
    numbers = np.arange(first, first + count)
    return np.stack([numbers, -numbers], axis=1).astype(np.float32), numbers.astype(np.int64) * 10


def spans(cuts: Cuts | None) -> list[tuple[int, int]]:
    if cuts is None:
        return []
    assert (cuts.windows[:, 0, 0] * 10 == cuts.start).all()
    assert (cuts.windows[:, -1, 0] * 10 == cuts.end).all()
    assert (np.diff(cuts.windows[:, :, 0], axis=1) == 1).all()
    return [(int(window[0, 0]), int(window[-1, 0]) + 1) for window in cuts.windows]


@settings(deadline=None)
@given(
    samples=st.integers(1, 12),
    hop=st.integers(1, 20),
    pieces=st.lists(st.integers(1, 40), max_size=12),
)
def test_a_run_in_any_pieces_gives_the_windows_of_the_definition(samples, hop, pieces):
    table = WindowTable(samples, hop, 2)
    table.reset(0)
    found, total = [], 0
    for piece in pieces:
        found += spans(table.push_run(0, *readings(total, piece)))
        total += piece
    assert found == plain_windows(total, samples, hop)


@settings(deadline=None)
@given(samples=st.integers(1, 6), hop=st.integers(1, 8), turns=st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=30))
def test_one_reading_each_of_many_streams_equals_a_run_of_each(samples, hop, turns):
    together, alone = WindowTable(samples, hop, 2), WindowTable(samples, hop, 2)
    for slot in range(10):
        together.reset(slot)
        alone.reset(slot)
    count = [0] * 10
    for turn in turns:
        slots = np.array(sorted(turn), np.intp)
        pairs = [readings(count[slot], 1) for slot in slots]
        cuts = together.push_each(slots, np.concatenate([v for v, _ in pairs]), np.concatenate([t for _, t in pairs]))
        single = [cut for slot in slots for cut in [alone.push_run(int(slot), *readings(count[slot], 1))] if cut is not None]
        assert spans(cuts) == [span for cut in single for span in spans(cut)]
        assert ([] if cuts is None else cuts.slots.tolist()) == [int(cut.slots[0]) for cut in single]
        for slot in slots:
            count[slot] += 1


def test_a_window_is_a_copy_that_later_readings_leave_alone():
    table = WindowTable(3, 1, 2)
    table.reset(0)
    cuts = table.push_run(0, *readings(0, 3))
    kept = cuts.windows.copy()
    table.push_run(0, *readings(3, 50))
    assert (cuts.windows == kept).all()


@pytest.mark.parametrize(("pushed", "lost"), [(0, 0), (2, 2), (4, 4), (5, 0), (6, 1)])
def test_reset_says_how_many_readings_were_in_no_window_yet(pushed, lost):
    table = WindowTable(5, 5, 2)
    table.reset(0)
    if pushed:
        table.push_run(0, *readings(0, pushed))
    assert table.reset(0) == lost
    assert table.push_run(0, *readings(0, 4)) is None
