"""Bytes for boards: fair, bounded, beside other servers; and every request that is none."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import VirtualClock
from edged.exchange.blobs import BUSY, NOT_FOUND, Fragment, Request, parse_fragment
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.publisher.blobserver import IN_HAND, LATE_NS, BlobServer
from edged.publisher.reading import MOST_OPEN, BlobReader
from edged.publisher.turns import MOST_OF_A_DEVICE, Turns
from tests.descriptors import descriptors

KIB = 1 << 10


class Bench:
    """A server over a folder, without a broker: what it publishes lies in `out`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.clock = VirtualClock()
        self.out: list[Message] = []
        self.server = BlobServer("plant-a", folder, self.out.append, self.clock, random.Random(1))

    def put(self, data: bytes) -> str:
        """Add a blob."""
        name = hashlib.sha256(data).hexdigest()
        (self.folder / name).write_bytes(data)
        return name

    def ask(self, device: str, sha256: str, off: int, length: int, frag: int = 4 * KIB, server: int | None = None, sid: int = 1) -> None:
        """Ask this server, or another by its number."""
        number = self.server.number if server is None else server
        self.server.take(device, Request(sid=sid, sha256=sha256, off=off, len=length, frag=frag, server=number).encode())

    def run(self) -> list[tuple[str, Fragment]]:
        """Let it answer all, with a broker that takes everything; give the answers and to whom they went."""
        while self.server.step():
            for message in self.out:
                if message.hold:
                    message.hold.release()
                    message.hold = None
        answers, self.out[:] = [(message.topic, parse_fragment(message.payload)) for message in self.out], []
        return answers


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "blobs")


def test_a_range_comes_in_fragments_up_to_the_end_of_the_blob(bench: Bench) -> None:
    data = os.urandom(10_000)
    bench.ask("a", bench.put(data), 1_000, 32 * 4 * KIB)
    answers = bench.run()
    assert {topic for topic, _ in answers} == {DeviceTopics("plant-a", "a").blob_data(1)}
    assert [fragment.offset for _, fragment in answers] == [1_000, 1_000 + 4 * KIB, 1_000 + 8 * KIB]
    assert b"".join(fragment.data for _, fragment in answers) == data[1_000:]
    assert {(fragment.server, fragment.sid) for _, fragment in answers} == {(bench.server.number, 1)}


def test_offsets_beyond_four_gibibytes_are_read(bench: Bench) -> None:
    name = "5" * 64
    with (bench.folder / name).open("wb") as file:
        file.truncate(6 << 30)
        file.seek(5 << 30)
        file.write(b"behind four gibibytes")
    bench.ask("a", name, 5 << 30, 21)
    ((_, fragment),) = bench.run()
    assert (fragment.offset, bytes(fragment.data)) == (5 << 30, b"behind four gibibytes")


def test_one_that_asks_for_much_does_not_hold_up_the_others(bench: Bench) -> None:
    name = bench.put(os.urandom(200 * KIB))
    bench.ask("greedy", name, 0, 128 * KIB)
    bench.ask("greedy", name, 128 * KIB, 72 * KIB)
    for device in ("b", "c"):
        bench.ask(device, name, 0, 8 * KIB)
    order = [topic.split("/")[3] for topic, _ in bench.run()]
    assert order[:6] == ["greedy", "b", "c", "greedy", "b", "c"]
    assert len(order) == 50 + 4


def test_too_many_requests_of_a_device_are_refused_as_busy_and_others_are_not(bench: Bench) -> None:
    name = bench.put(os.urandom(400 * KIB))
    for i in range(MOST_OF_A_DEVICE + 5):
        bench.ask("a", name, i * 4 * KIB, 4 * KIB)
    bench.ask("b", name, 0, 4 * KIB)
    answers = bench.run()
    assert sum(fragment.refusal == BUSY for _, fragment in answers) == 5
    assert sum(not fragment.refusal for _, fragment in answers) == MOST_OF_A_DEVICE + 1
    assert bench.server.refused[BUSY] == 5


def test_the_same_request_again_while_it_waits_is_answered_once(bench: Bench) -> None:
    name = bench.put(os.urandom(8 * KIB))
    for _ in range(10):
        bench.ask("a", name, 0, 8 * KIB)
    assert len(bench.run()) == 2


def test_no_more_is_read_than_the_broker_takes(bench: Bench) -> None:
    name = bench.put(os.urandom(200 * KIB))
    for device in range(100):
        bench.ask(f"d{device}", name, 0, 128 * KIB)
    while bench.server.step():
        pass
    assert len(bench.out) == IN_HAND
    bench.out[0].hold.release()  # type: ignore[union-attr]
    assert bench.server.step()
    assert not bench.server.step()
    assert len(bench.out) == IN_HAND + 1


def test_a_request_to_another_server_is_not_answered(bench: Bench) -> None:
    bench.ask("a", bench.put(b"x"), 0, 1, server=bench.server.number ^ 1)
    assert not bench.run()


def test_a_blob_that_is_not_here_is_refused_at_once_when_only_we_were_asked(bench: Bench) -> None:
    bench.ask("a", "0" * 64, 0, 1)
    ((_, fragment),) = bench.run()
    assert fragment.refusal == NOT_FOUND


def test_when_all_were_asked_one_that_lacks_the_blob_lets_the_others_answer_first(bench: Bench) -> None:
    bench.ask("a", "0" * 64, 0, 1, server=0)
    assert not bench.run()
    bench.clock.advance(LATE_NS)
    ((_, fragment),) = bench.run()
    assert fragment.refusal == NOT_FOUND


def test_a_range_behind_the_end_is_refused(bench: Bench) -> None:
    bench.ask("a", bench.put(b"four"), 4, 1)
    assert [fragment.refusal for _, fragment in bench.run()] == [NOT_FOUND]


def test_an_empty_blob_comes_as_an_empty_fragment(bench: Bench) -> None:
    bench.ask("a", bench.put(b""), 0, 1)
    ((_, fragment),) = bench.run()
    assert (fragment.refusal, len(fragment.data)) == ("", 0)


def test_a_blob_that_is_removed_meanwhile_is_refused_and_the_server_goes_on(bench: Bench) -> None:
    name, other = bench.put(os.urandom(8 * KIB)), bench.put(b"other")
    bench.ask("a", name, 0, 8 * KIB)
    bench.server.step()
    (bench.folder / name).unlink()
    bench.server.look_again()
    bench.ask("b", other, 0, 5)
    answers = bench.run()
    assert NOT_FOUND in [fragment.refusal for _, fragment in answers]
    assert b"other" in [bytes(fragment.data) for _, fragment in answers]


def test_what_waits_is_forgotten_with_the_connection(bench: Bench) -> None:
    name = bench.put(os.urandom(8 * KIB))
    bench.ask("a", name, 0, 8 * KIB)
    bench.server.step()
    assert bench.server.waiting == 1
    bench.out.clear()
    bench.server.forget()
    assert not bench.run()


def test_a_link_in_the_folder_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (bench.folder / ("a" * 64)).symlink_to(tmp_path / "secret")
    os.mkfifo(bench.folder / ("b" * 64))
    for name in ("a" * 64, "b" * 64):
        bench.ask("a", name, 0, 6)
    assert [fragment.refusal for _, fragment in bench.run()] == [NOT_FOUND, NOT_FOUND]


def test_files_stay_open_for_the_next_fragment_but_not_too_many(tmp_path: Path) -> None:
    reader = BlobReader(tmp_path)
    names = [f"{i:064x}" for i in range(MOST_OPEN + 10)]
    for name in names:
        (tmp_path / name).write_text(name)
    before = descriptors()
    for _ in range(2):
        for name in names:
            assert reader.read(name, 60, 10) == name[60:].encode()
    assert len(descriptors() - before) == MOST_OPEN
    reader.close()
    assert not descriptors() - before


HOSTILE = st.one_of(
    st.binary(max_size=2000),
    st.text(max_size=1200).map(str.encode),
    st.dictionaries(
        st.sampled_from(["v", "sid", "sha256", "off", "len", "frag", "server", "x"]),
        st.one_of(st.integers(-(2**70), 2**70), st.none(), st.text(max_size=70), st.just("0" * 64), st.just("../../etc/passwd")),
    ).map(lambda value: str(value).replace("'", '"').replace("None", "null").encode()),
)


@settings(max_examples=300, deadline=None)
@given(payload=HOSTILE)
def test_whatever_comes_as_a_request_the_server_goes_on(payload: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = Bench(tmp_path_factory.getbasetemp() / "hostile")
    name = bench.put(b"good")
    bench.server.take("a", payload)
    bench.server.take("a", b"[" * 1000)
    bench.ask("b", name, 0, 4)
    assert b"good" in [bytes(fragment.data) for _, fragment in bench.run()]
    assert bench.server.dropped["malformed"] >= 1


@settings(max_examples=100, deadline=None)
@given(asks=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(1, 20), st.integers(1, 4)), max_size=30))
def test_every_byte_that_was_asked_for_comes_once_and_nothing_waits_after(asks: list[tuple[str, int, int, int]]) -> None:
    turns, wanted = Turns(), set()
    for device, off, length, frag in asks:
        request = Request(sid=1, sha256="0" * 64, off=off << 10, len=length << 10, frag=frag << 10, server=1)
        assert turns.put(device, request, 30 << 10)
        wanted.add((device, request))
    got: dict[tuple[str, Request], int] = {}
    while turn := turns.next():
        assert 0 < turn.length <= turn.request.frag
        assert turn.offset == turn.request.off + got.get((turn.device, turn.request), 0)
        got[turn.device, turn.request] = got.get((turn.device, turn.request), 0) + turn.length
    assert got == {(device, request): min(request.len, (30 << 10) - request.off) for device, request in wanted}
    assert (turns.waiting, turns.devices) == (0, 0)
