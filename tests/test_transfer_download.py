"""A download over links that lose, delay, reorder, repeat and cut: all comes, and hardly a byte twice. Virtual time only."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edged.clock import MS, NS
from edged.exchange.blobs import BUSY, FRAGMENT, MAX_CREDIT, MIN_CREDIT, NOT_FOUND, Fragment, Request, parse_request
from edged.exchange.pieces import PIECE
from edged.fleet.transfer.download import NEVER, OTHERS_MAY_HAVE_IT, Download
from edged.fleet.transfer.roundtrip import FIRST_TIMEOUT, LEAST_TIMEOUT, MOST_TIMEOUT, RoundTrip
from edged.fleet.transfer.window import Window
from tests.lossy import SERVER, SID, Line, Simulation, joined

DATA = random.Random(3).randbytes(12 * PIECE + 70_001)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("rtt", [0.002, 0.2, 1.0])
def test_what_is_lost_is_asked_for_again_and_nothing_else(loss: float, rtt: float):
    simulation = Simulation(DATA, Line(rtt, loss))
    outcome = simulation.run()
    assert joined(outcome, len(DATA)) == DATA
    ratio = outcome.received / len(DATA)
    print(f"\nloss {loss:.0%}, rtt {rtt} s: ratio {ratio:.4f}, {outcome.requests} requests, {outcome.took_s:.1f} s")
    assert ratio <= 1.05


def test_a_line_with_some_jitter_costs_few_bytes_twice():
    outcome = Simulation(DATA, Line(1.0, 0.05, jitter=0.05)).run()
    assert joined(outcome, len(DATA)) == DATA
    assert outcome.received / len(DATA) <= 1.05


@pytest.mark.parametrize("rate", [20_000, 100_000, 1_000_000])
def test_a_slow_line_is_not_asked_for_the_same_bytes_again(rate: int):
    data = DATA[: 3 * PIECE]
    outcome = Simulation(data, Line(0.3, 0.02, rate=rate)).run()
    assert joined(outcome, len(data)) == data
    assert outcome.received / len(data) <= 1.05
    assert outcome.took_s <= 1.5 * len(data) / rate


def test_a_slow_line_is_not_filled_with_more_than_it_takes_and_a_long_one_is():
    slow = Simulation(DATA, Line(0.3, rate=50_000)).run()
    assert slow.most_credit <= MAX_CREDIT // 2
    assert slow.took_s <= 1.05 * len(DATA) / 50_000
    assert Simulation(DATA, Line(1.0)).run().most_credit == MAX_CREDIT


@pytest.mark.parametrize("rtt", [0.05, 1.0])
def test_a_line_that_stands_5_of_30_seconds_brings_all(rtt: float):
    outcome = Simulation(DATA, Line(rtt, 0.01, rate=1_000_000, up_s=5, cycle_s=30)).run()
    assert joined(outcome, len(DATA)) == DATA
    assert outcome.received / len(DATA) <= 1.05


# Without shrinking: a line that is never through takes a million virtual seconds each time.
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
@given(
    size=st.sampled_from([1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5]),
    loss=st.floats(0, 0.5),
    rtt=st.floats(0.0001, 3),
    jitter=st.floats(0, 3),
    twice=st.floats(0, 0.5),
    up_s=st.sampled_from([0.0, 8.0]),
    seed=st.integers(0, 1000),
)
def test_over_any_line_the_same_bytes_arrive(size: int, loss: float, rtt: float, jitter: float, twice: float, up_s: float, seed: int):
    line = Line(rtt, loss, jitter, twice, up_s=up_s, cycle_s=20.0 if up_s else 0.0)
    outcome = Simulation(DATA[:size], line, seed).run(200_000)
    assert joined(outcome, size) == DATA[:size]


def test_the_window_doubles_until_the_first_loss_and_is_halved_once_for_all_that_is_lost_together():
    window = Window()
    for _ in range(100):
        window.arrived()
    assert window.credit == MAX_CREDIT
    for order in range(100, 110):
        window.lost(order, 132)
    assert window.credit == MAX_CREDIT // 2
    for _ in range(MAX_CREDIT // 2):
        window.arrived()
    assert window.credit == MAX_CREDIT // 2 + 1
    for order in range(132, 500):
        window.lost(order, order + 1)
    assert window.credit == MIN_CREDIT


def test_the_timeout_follows_the_round_trip_and_doubles_in_silence():
    trip = RoundTrip()
    assert trip.timeout == FIRST_TIMEOUT
    for _ in range(50):
        trip.sample(1 * MS)
    assert trip.timeout == LEAST_TIMEOUT
    for _ in range(20):
        trip.back_off()
    assert trip.timeout == MOST_TIMEOUT
    for _ in range(50):
        trip.sample(NS)
    assert NS <= trip.timeout < 2 * NS


class Side:
    """A download by hand: what it asks for, and answers to it."""

    def __init__(self, size: int = 4 * PIECE) -> None:
        self.wanted = list(range(-(-size // PIECE)))
        self.data = DATA[:size]
        self.download = Download("ab" * 32, size, SID, lambda: self.wanted.pop(0) if self.wanted else None, random.Random(1))

    def answer(self, offset: int, now: int, server: int = SERVER) -> tuple[int, bytearray] | None:
        view = memoryview(self.data)[offset : offset + FRAGMENT]
        return self.download.on_fragment(Fragment(SID, server, offset, view), now)

    def refuse(self, offset: int, now: int, reason: str, server: int = SERVER) -> None:
        assert self.download.on_fragment(Fragment(SID, server, offset, memoryview(b""), reason), now) is None

    def known(self) -> list[Request]:
        """Find the server, at 0 s; give the first requests to it."""
        (first,) = self.download.requests(1)
        assert (first.server, first.len) == (0, FRAGMENT)
        self.answer(0, NS // 10)
        return self.download.requests(NS // 10)


def test_all_servers_are_asked_for_one_fragment_and_the_first_to_answer_for_more():
    side = Side()
    requests = side.known()
    assert [(each.server, each.off, each.len) for each in requests] == [(SERVER, FRAGMENT, 5 * FRAGMENT)]
    side.answer(FRAGMENT, NS // 10, server=8)  # another may answer, late; it is not changed for that
    assert {each.server for each in side.download.requests(NS // 5)} == {SERVER}


def test_a_server_that_falls_silent_is_left_and_another_goes_on():
    side = Side()
    side.known()
    now = NS // 10
    for _ in range(2):
        now = side.download.wake_at
        requests = side.download.requests(now)
    assert [(each.server, each.len) for each in requests] == [(0, FRAGMENT)]
    side.answer(requests[0].off, now + NS, server=8)
    assert {each.server for each in side.download.requests(now + NS)} == {8}


def test_a_blob_that_no_server_has_is_lacking_after_others_had_time_to_answer():
    side = Side()
    side.download.requests(1)
    side.refuse(0, NS, NOT_FOUND)
    assert not side.download.is_lacking(NS)
    assert side.download.is_lacking(NS + OTHERS_MAY_HAVE_IT)
    side.answer(0, 2 * NS, server=8)
    assert not side.download.is_lacking(100 * NS)
    assert {each.server for each in side.download.requests(2 * NS)} == {8}


def test_a_blob_that_a_server_loses_amid_the_download_is_asked_of_all():
    side = Side()
    first = side.known()[0]
    side.refuse(first.off, NS, NOT_FOUND)
    (request,) = side.download.requests(NS)
    assert (request.server, request.len) == (0, FRAGMENT)


def test_a_busy_server_gets_its_rest_and_is_asked_again():
    side = Side()
    side.download.requests(1)
    side.refuse(0, NS, BUSY)
    assert side.download.requests(NS) == []
    assert NS < side.download.wake_at <= NS + NS // 2
    assert len(side.download.requests(side.download.wake_at)) == 1
    side.answer(0, 3 * NS)
    assert side.download.requests(3 * NS)


def test_refusals_by_others_and_of_what_nobody_asked_for_change_nothing():
    side = Side()
    first = side.known()[0]
    side.refuse(first.off, NS // 9, NOT_FOUND, server=8)
    side.refuse(3 * PIECE, NS // 9, NOT_FOUND)
    side.refuse(first.off, NS // 9, BUSY, server=8)
    assert side.download.dropped == {"unasked": 3}
    assert not side.download.is_lacking(100 * NS)
    side.answer(first.off, NS // 8)
    assert side.download.requests(NS // 8)[0].server == SERVER


def drain(side: Side) -> None:
    """Answer what a server was asked for."""
    for request in side.known():
        for offset in range(request.off, request.off + request.len, FRAGMENT):
            side.answer(offset, NS // 5)


def test_a_server_whose_piece_was_bad_is_not_taken_while_another_may_answer():
    side = Side()
    drain(side)
    side.download.shun_server(NS)
    (request,) = side.download.requests(NS)
    assert request.server == 0
    kept = side.download.kept
    side.answer(request.off, NS + 1)
    assert side.download.kept == kept
    side.answer(request.off, NS + 3, server=8)
    assert {each.server for each in side.download.requests(NS + 3)} == {8}


def test_a_server_whose_piece_was_bad_is_taken_where_it_is_the_only_one():
    side = Side()
    drain(side)
    side.download.shun_server(NS)
    (request,) = side.download.requests(NS)
    side.answer(request.off, NS + 1)
    side.answer(request.off, NS + OTHERS_MAY_HAVE_IT)
    assert {each.server for each in side.download.requests(5 * NS)} == {SERVER}


def test_what_a_server_was_asked_for_before_its_piece_was_bad_is_taken():
    side = Side()
    (request,) = side.known()
    side.download.shun_server(NS // 10)
    assert side.download.requests(NS // 10) == []
    for offset in range(request.off, request.off + request.len, FRAGMENT):
        side.answer(offset, NS // 10 + 1)
    assert side.download.kept == FRAGMENT + request.len


def test_three_that_pass_show_a_hole_without_waiting_for_the_timeout():
    side = Side()
    (request,) = side.known()
    offsets = range(request.off, request.off + request.len, FRAGMENT)
    for offset in list(offsets)[1:4]:
        side.answer(offset, NS // 10 + MS)
    again = side.download.requests(NS // 10 + MS)
    assert again[0].off == request.off
    assert side.download._window.credit < 8


@pytest.mark.parametrize(
    ("offset", "length"),
    [(3 * PIECE, FRAGMENT), (1, FRAGMENT), (FRAGMENT, FRAGMENT - 1), (FRAGMENT, 0), (1 << 62, FRAGMENT), (50 * PIECE, 1)],
)
def test_what_was_not_asked_for_is_dropped_and_counted(offset: int, length: int):
    side = Side()
    side.known()
    fragment = Fragment(SID, SERVER, offset, memoryview(bytes(length)))
    assert side.download.on_fragment(fragment, NS) is None
    assert side.download.dropped == {"unasked": 1}
    assert side.download.kept == FRAGMENT


def test_a_fragment_that_comes_twice_is_counted_and_changes_nothing():
    side = Side()
    side.known()
    side.answer(0, NS)
    assert side.download.dropped == {"unasked": 1}


def test_a_piece_is_whole_when_its_last_fragment_is_there():
    side = Side(PIECE + 5)
    side.known()
    for offset in range(FRAGMENT, PIECE - FRAGMENT, FRAGMENT):
        side.download.requests(NS)
        assert side.answer(offset, NS) is None
    side.download.requests(NS)
    assert side.answer(PIECE - FRAGMENT, NS) == (0, DATA[:PIECE])
    side.download.requests(NS)
    assert side.answer(PIECE, NS) == (1, DATA[PIECE : PIECE + 5])
    assert side.download.requests(NS) == []
    assert side.download.is_over
    assert side.download.wake_at == NEVER


def test_few_pieces_are_in_memory_while_one_lacks_a_fragment():
    side = Side(12 * PIECE)
    side.known()
    most = 0
    for now in range(NS, NS + 200):
        for request in side.download.requests(now):
            for offset in range(request.off, request.off + request.len, FRAGMENT):
                if offset % PIECE != FRAGMENT:
                    side.answer(offset, now)
        most = max(most, len(side.download._assembly._open))
    assert most == 4


def test_a_download_takes_the_memory_of_few_pieces():
    tracemalloc.start()
    simulation = Simulation(bytes(40 * PIECE), Line(0.01, 0.1))
    simulation.outcome.pieces = Nothing()
    before = tracemalloc.get_traced_memory()[0]
    simulation.run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 6 * PIECE


class Nothing(dict[int, bytes]):
    def __setitem__(self, *_: object) -> None:
        pass


HOSTILE = st.tuples(
    st.sampled_from([0, 1, FRAGMENT, 5 * FRAGMENT, PIECE - FRAGMENT, PIECE, 2**64 - 1]),
    st.sampled_from([0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1]),
    st.sampled_from([0, 1, SERVER, 8, 2**32 - 1]),
    st.sampled_from(["", "", "", BUSY, NOT_FOUND]),
    st.integers(0, 4 * NS),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(HOSTILE, max_size=80))
def test_any_answers_at_any_time_are_taken_without_a_fault_and_within_bounds(answers: list[tuple[int, int, int, str, int]]):
    side = Side(6 * PIECE + 1)
    now, zeros = 1, memoryview(bytes(FRAGMENT + 1))
    for offset, length, server, refusal, passed in answers:
        for request in side.download.requests(now):
            assert parse_request(request.encode()) == request
            assert request.off + request.len <= len(side.data)
        now += passed
        side.download.on_fragment(Fragment(SID, server, offset, zeros[: 0 if refusal else length], refusal), now)
        if passed > 3 * NS:
            side.download.resume(now)
        assert len(side.download._flight) + len(side.download._lost) <= 2 * MAX_CREDIT
        assert len(side.download._assembly._open) <= 4
        assert side.download.kept <= len(side.data)
        assert side.download.wake_at >= 0
