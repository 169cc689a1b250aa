"""Releases of which only some variants are on the board: what is fetched, what the store says of them, and who runs what is here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.board.inforce import board_here
from edged.cli.main import main
from edged.cli.reasons import render
from edged.clock import SystemClock
from edged.config import schema
from edged.engines.choose import open_engine
from edged.errors import BoardError, Cancelled, PublisherError
from edged.models.blobs import Watch
from edged.models.book import Book
from edged.models.entries import Moved
from edged.models.manifest import ABSENT, MANIFEST, Release
from edged.models.packed import PACKED, FileSeal
from edged.models.partial import FILES, MAX_FILES_BYTES, encode_files, parse_files
from edged.models.source import FolderSource, Remote, Source
from edged.models.store import RESERVE, Store
from edged.select import demand as demand_module
from edged.select.costing import costs_of_release, sha256_of
from edged.select.fetching import worth_fetching
from edged.select.measured import Measurements
from edged.service import ports as ports_module
from edged.service.parts import Lane
from edged.service.ports import NO_DEADLINE_MS, LonePorts
from edged.service.selection import Selection
from edged.service.stock import take_stock
from edged.stream.loading import in_order, load_best
from tests.adapting import Board, demand, option
from tests.conftest import REPO
from tests.far import Far, fails_at, files, pieces, take_in, varied
from tests.rollouts import numbered
from tests.stores import MIB, Cut, blobs, check_blobs, cut_at, everything, ignore, never, refused

AD01 = REPO / "tests" / "data" / "ad01"
NAMES = ("fp32", "dynrange", "int8", "int8-floatio")
pytest_plugins = ["tests.quick"]

ZEROS_AND_END = "325aa8e820be09bf0e3049cabe35d97bc3aab25d6c387042665a068b900a7409"  # SHA-256 of 4 GiB of zeros and `the end`
LARGE = ["golden-large.npz", "large.tflite", MANIFEST]
SMALL = ["golden-small.npz", MANIFEST, "small.tflite"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    with store.claim():
        yield store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied(tmp_path_factory.mktemp("releases") / "twice", large=8, small=2)


def placed(store: Store) -> Path:
    return store._root / "releases" / "twice" / "1"


# -- what comes from far away ---------------------------------------------------------------------


def test_what_is_near_and_what_is_far_is_told_apart_by_what_it_can(folder: Path) -> None:
    assert isinstance(Far(folder), Remote)
    assert not isinstance(FolderSource(folder), Remote)


def test_a_release_is_looked_at_without_opening_its_large_files(folder: Path, store: Store) -> None:
    class Closed(FolderSource):
        def size(self, file: str) -> int:
            return (self._folder / file).stat().st_size

        def open(self, file: str) -> object:  # type: ignore[override]
            assert file == MANIFEST
            return super().open(file)

    source: Source = Closed(folder)  # type: ignore[assignment]
    assert store.examine(source) == store.examine(FolderSource(folder))


@pytest.mark.parametrize("variant", ["large", "small"])
def test_only_what_is_wanted_is_fetched_and_said_to_be_there(folder: Path, store: Store, tmp_path: Path, variant: str) -> None:
    source = Far(folder, tmp_path / "asked")
    names = {"large": LARGE, "small": SMALL}[variant]
    candidate = store.examine(source).narrowed([variant])
    assert sorted(candidate.wanted) == names
    done: list[int] = []
    need = store.need(candidate)
    store.fetch(source, candidate, done.append, never)
    assert done[-1] == need == sum((folder / name).stat().st_size for name in names)
    release = store.verify(candidate, ignore, never)
    assert files(source) == {*names} - {MANIFEST}
    assert sorted(release.files) == names
    assert [each.name for each in release.here] == [variant]
    assert (placed(store) / FILES).read_bytes() == json.dumps(names, separators=(",", ":")).encode()
    assert store.load("twice", 1) == release
    assert store.candidate("twice", 1) == candidate
    assert sorted(store.planned(candidate.whole()).files) == sorted({*LARGE, *SMALL})
    (stored,) = store.releases()
    assert (stored.damage, stored.size, set(stored.variants)) == ("", need, {"large", "small"})
    assert os.listdir(store.incoming) == []
    assert all(path.stat().st_mode & 0o222 == 0 for path in (store._root / "blobs" / "sha256").iterdir())
    check_blobs(store)


def test_a_whole_release_has_no_list_of_files(folder: Path, store: Store) -> None:
    take_in(store, Far(folder))
    assert sorted(os.listdir(placed(store))) == [MANIFEST, PACKED]


def test_another_variant_that_comes_later_stands_beside_the_first(tmp_path: Path, store: Store) -> None:
    folder = varied(tmp_path / "twice", large=8, middle=4, small=2)
    take_in(store, Far(folder), "small")
    take_in(store, Far(folder), "large")
    assert [each.name for each in store.load("twice", 1).here] == ["large", "small"]
    take_in(store, FolderSource(folder))
    assert store.candidate("twice", 1).is_whole
    assert not (placed(store) / FILES).exists()
    take_in(store, Far(folder), "small")
    assert store.candidate("twice", 1).is_whole, "what is here stays"
    store.collect([("twice", 1)])
    assert store.candidate("twice", 1).is_whole


def test_of_a_release_that_lost_a_file_only_what_is_really_there_stays(folder: Path, store: Store) -> None:
    whole = take_in(store, FolderSource(folder))
    os.unlink(store._root / "blobs" / "sha256" / whole.packed.files["large.tflite"].sha256)
    refused("store-damaged", lambda: store.load("twice", 1), BoardError)
    take_in(store, Far(folder), "small")
    assert [each.name for each in store.load("twice", 1).here] == ["small"]


def test_files_of_variants_that_nobody_wants_any_more_are_collected_with_their_release(folder: Path, store: Store) -> None:
    take_in(store, Far(folder), "small")
    assert store.collect([("twice", 1)]) == 0
    assert len(blobs(store)) == 3
    assert store.load("twice", 1).here
    store.remove("twice", 1)
    assert everything(store) == set()


# -- interruptions --------------------------------------------------------------------------------


def test_what_came_stays_over_an_interruption_and_no_piece_comes_twice(folder: Path, store: Store, tmp_path: Path) -> None:
    source = Far(folder, tmp_path / "asked", fails_at("large.tflite", 5, BoardError("budget-spent", "enough", "wait")))
    candidate, done = store.examine(source).narrowed(["large"]), list[int]()
    refused("budget-spent", lambda: store.fetch(source, candidate, ignore, never), BoardError)
    assert {Path(name).suffix for name in os.listdir(store.incoming)} == {".part", ".map"}
    store.fetch(source, candidate, done.append, never)
    assert set(pieces(source).values()) == {1}
    assert done[0] == 5 << 10, "what is there counts at once"
    store.verify(candidate, ignore, never)


def test_what_is_coming_is_kept_while_others_are_collected(folder: Path, store: Store, tmp_path: Path) -> None:
    source = Far(folder, tmp_path / "asked", fails_at("large.tflite", 5, *[BoardError("budget-spent", "enough", "wait")] * 3))
    candidate = store.examine(source).narrowed(["large"])
    coming = {seal.sha256 for seal in candidate.seals.values()}
    for kept in (coming, None):
        refused("budget-spent", lambda: store.fetch(source, candidate, ignore, never), BoardError)
        before = blobs(store), set(os.listdir(store.incoming))
        (store.incoming / "0f0f").touch()  # a copy from near that an end left
        assert len(before[0]) == 1, "the golden came whole"
        store.collect([], kept)
        assert (blobs(store), set(os.listdir(store.incoming))) == before
    assert store.collect([], {"ab"}) > 0
    assert everything(store) == set()


def test_a_removal_keeps_what_is_coming(folder: Path, store: Store, tmp_path: Path) -> None:
    take_in(store, Far(varied(tmp_path / "one", 2, large=3)))
    source = Far(folder, tmp_path / "asked")
    candidate = store.examine(source)
    store.fetch(source, candidate, ignore, never)
    store.remove("twice", 2, {seal.sha256 for seal in candidate.seals.values()})
    assert store.need(candidate) == 0
    assert len(blobs(store)) == 5


def test_pieces_that_are_right_and_a_whole_that_is_not_are_no_blob(folder: Path, store: Store, tmp_path: Path) -> None:
    class Liar(Far):
        def _piece(self, file: str, number: int) -> bytes:
            data = super()._piece(file, number)
            return bytes(len(data)) if (file, number) == ("large.tflite", 3) else data

    source = Liar(folder, tmp_path / "asked")
    candidate = store.examine(source).narrowed(["large"])
    refused("file-changed", lambda: store.fetch(source, candidate, ignore, never), PublisherError)
    assert os.listdir(store.incoming) == []
    assert candidate.packed.files["large.tflite"].sha256 not in blobs(store)
    check_blobs(store)


def test_a_cancel_while_the_whole_is_hashed_keeps_it(folder: Path, store: Store, tmp_path: Path) -> None:
    source = Far(folder, tmp_path / "asked")
    candidate, came = store.examine(source).narrowed(["small"]), list[int]()

    def cancelled() -> bool:
        came.append(pieces(source)["small.tflite 1"])
        return came[-2:] == [1, 1]  # it is asked when the hash begins, and after each MiB

    with pytest.raises(Cancelled):
        store.fetch(source, candidate, ignore, cancelled)
    assert any(name.endswith(".part") for name in os.listdir(store.incoming))
    store.fetch(source, candidate, ignore, never)
    assert set(pieces(source).values()) == {1}


def test_an_end_at_any_durable_operation_leaves_a_release_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = varied(tmp_path / "twice", large=3, small=2)

    def act(state: Path, call: int) -> int:
        first, second = Far(folder, state / "asked"), Far(folder, state / "asked")
        store = Store(state / "state")
        with store.claim():
            try:
                with cut_at(call, monkeypatch) as count:
                    take_in(store, first, "small")
                    take_in(store, second, "large")
            except Cut:
                pass
        with store.claim():  # the next process
            check_blobs(store)
            for each in store.releases():
                assert not each.damage
                assert [variant.name for variant in store.load(each.name, each.release).here] in (["small"], ["large", "small"])
            take_in(store, second, "small")
            take_in(store, second, "large")
            assert store.candidate("twice", 1).is_whole
            store.collect([("twice", 1)])
            assert os.listdir(store.incoming) == []
        came = pieces(second)
        assert sum(came.values()) - len(came) <= 1, "one piece at most came twice"
        return count[0]

    (tmp_path / "whole").mkdir()
    calls = act(tmp_path / "whole", 10_000)
    assert calls > 60
    for call in range(calls):
        (tmp_path / str(call)).mkdir()
        act(tmp_path / str(call), call)


# -- space ----------------------------------------------------------------------------------------


def test_bytes_that_are_on_the_disk_already_need_no_space_again(folder: Path, tmp_path: Path) -> None:
    free = [1 << 40]
    store = Store(tmp_path / "state", free=lambda _: free[0])
    with store.claim():
        source = Far(folder, tmp_path / "asked", fails_at("large.tflite", 5, BoardError("budget-spent", "enough", "wait")))
        candidate = store.examine(source).narrowed(["large"])
        refused("budget-spent", lambda: store.fetch(source, candidate, ignore, never), BoardError)
        (part,) = store.incoming.glob("*.part")
        os.posix_fallocate(fd := os.open(part, os.O_RDWR), 0, part.stat().st_size)
        os.close(fd)
        left = store.need(candidate) - part.stat().st_size
        assert store.space(candidate) == left
        free[0] = RESERVE + left - 1
        refused("no-space", lambda: store.fetch(source, candidate, ignore, never), BoardError)
        free[0] += 1
        store.fetch(source, candidate, ignore, never)
        assert store.space(candidate) == 0


@pytest.mark.parametrize("size", [(2 << 30) + 5, (4 << 30) - 1, (4 << 30) + 7, (1 << 40) + 3])
def test_sizes_beyond_32_bits_are_counted_whole(folder: Path, store: Store, size: int) -> None:
    candidate = store.examine(FolderSource(folder)).narrowed(["large"])
    seal = msgspec.structs.replace(candidate.packed.files["large.tflite"], size=size)
    packed = msgspec.structs.replace(candidate.packed, files={**candidate.packed.files, "large.tflite": seal})
    candidate = replace(candidate, packed=packed)
    rest = sum(each.size for name, each in candidate.seals.items() if name != "large.tflite")
    assert store.need(candidate) == store.space(candidate) == size + rest
    part = store.incoming / f"{seal.sha256}.part"
    part.touch()
    os.truncate(part, size)
    assert store.space(candidate) == size + rest, "holes are no bytes on the disk"
    with part.open("r+b") as file:
        file.seek(size - MIB)
        file.write(bytes(MIB))
    assert store.space(candidate) <= size + rest - MIB


def test_a_file_of_more_than_4_gib_is_hashed_whole(quick: Path) -> None:
    blobs = Store(quick)._blobs
    for folder in (blobs.folder, blobs.incoming):
        folder.mkdir(parents=True)
    size = (4 << 30) + 7
    seals = [FileSeal(sha256, size) for sha256 in (ZEROS_AND_END, "0" * 64)]
    for seal in seals:
        part = blobs.incoming / f"{seal.sha256}.part"
        with part.open("wb") as file:
            file.seek(4 << 30)
            file.write(b"the end")
    assert not blobs.adopt(part, msgspec.structs.replace(seals[0], size=7), Watch(ignore, never)), "it is not the size modulo 32 bits"
    assert blobs.adopt(blobs.incoming / f"{ZEROS_AND_END}.part", seals[0], Watch(ignore, never))
    assert [blobs.has(seal) for seal in seals] == [True, False]


# -- hostile and damaged lists --------------------------------------------------------------------

BROKEN = {
    "nonsense": b"\xff\x00",
    "nothing": b"",
    "an object": b'{"a":1}',
    "not sorted": b'["small.tflite","model.toml"]',
    "spaces": b'["golden-small.npz", "model.toml", "small.tflite"]',
    "a name twice": b'["golden-small.npz","model.toml","model.toml","small.tflite"]',
    "no manifest": b'["golden-small.npz","small.tflite"]',
    "no variant": b'["golden-small.npz","model.toml"]',
    "a variant without its golden": b'["model.toml","small.tflite"]',
    "what is not of the release": b'["../../journal","golden-small.npz","model.toml","small.tflite"]',
    "too long": b'["' + b"a" * MAX_FILES_BYTES + b'"]',
    "nested": b"[" * 40_000,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_list_of_files_is_damage_and_costs_no_blob(folder: Path, store: Store, what: str) -> None:
    take_in(store, Far(folder), "small")
    (placed(store) / FILES).write_bytes(BROKEN[what])
    before = blobs(store)
    refused("store-damaged", lambda: store.load("twice", 1), BoardError)
    (stored,) = store.releases()
    assert stored.damage
    if what not in ("no manifest", "no variant", "a variant without its golden"):
        store.collect([("twice", 1)])
        assert blobs(store) == before
    take_in(store, Far(folder), "small")
    assert [each.name for each in store.load("twice", 1).here] == ["small"]


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(["a", "b", "model.toml", "x"]), max_size=5).map(msgspec.json.encode))
def test_a_list_of_files_is_read_as_it_was_written_or_not_at_all(data: bytes) -> None:
    known = {"a", "b", "model.toml"}
    try:
        names = parse_files(data, known)
    except ValueError:
        return
    assert names <= known
    assert encode_files(names) == data


# -- which variants are worth fetching ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fitting", "sizes", "fetched"),
    [
        (["large"], [400], ["large"]),
        (["large", "small"], [400, 100], ["large", "small"]),
        (["large", "small"], [400, 101], ["large"]),
        (["small", "large"], [100, 400], ["small"]),
        (["large", "small", "tiny"], [400, 90, 10], ["large", "tiny"]),
        (["large", "b", "a"], [400, 10, 10], ["large", "b"]),
        (["empty", "other"], [0, 0], ["empty", "other"]),
    ],
)
def test_the_chosen_one_is_fetched_and_the_smallest_of_a_quarter_at_most(fitting: list[str], sizes: list[int], fetched: list[str]) -> None:
    assert worth_fetching(fitting, dict(zip(fitting, sizes, strict=True))) == fetched


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 1 << 40), min_size=1))
def test_at_most_two_are_fetched_the_chosen_one_first(sizes: dict[str, int]) -> None:
    fetched = worth_fetching(list(sizes), sizes)
    assert fetched[0] == next(iter(sizes))
    assert len(fetched) <= 2
    assert sum(sizes[each] for each in fetched) <= 1.25 * sizes[fetched[0]]


# -- choice, trials, words, with real models ------------------------------------------------------


@pytest.fixture(scope="module")
def toycar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("toycar") / "1", 1, source=AD01)


@pytest.fixture(params=["fp32", "int8"])
def here(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def partial(store: Store, toycar: Path, here: str) -> Release:
    """Give a real release of three variants, one of which is here."""
    take_in(store, FolderSource(toycar), here)
    return store.load("toycar", 1)


@pytest.fixture
def ports(store: Store, tmp_path: Path) -> LonePorts:
    return LonePorts(store, SystemClock(), Selection(board_here(Path("/")), 0, Measurements(tmp_path)))


def pipeline() -> schema.Pipeline:
    decoder = schema.JsonDecoder(channels=["value"])
    return schema.Pipeline(name="pump", source=schema.StdinSource(), decoder=decoder, model="toycar", deadline_ms=NO_DEADLINE_MS)


def selection_with(partial: Release, tmp_path: Path) -> Selection:
    selection = Selection(board_here(Path("/")), 0, Measurements(tmp_path))
    lane = Lane(pipeline(), None)  # type: ignore[arg-type]
    lane.release = partial
    selection.bind([lane], {})
    return selection


def test_only_what_is_here_is_chosen(partial: Release, here: str, tmp_path: Path) -> None:
    selection = selection_with(partial, tmp_path)
    assert list(selection.order(pipeline(), partial)) == [here]
    assert [each.variant for each in selection.fitting([(pipeline(), partial, None)])] == [here]
    refusals = {each.variant: each.refused for each in selection.options(pipeline(), partial)}
    assert refusals == {name: "" if name == here else f"absent: {ABSENT}" for name in NAMES}


def test_why_says_of_the_others_that_they_were_not_fetched(partial: Release, here: str, tmp_path: Path) -> None:
    said = selection_with(partial, tmp_path).why()
    assert {row.variant: row.code for row in said.rows} == {each: "chosen" if each == here else "absent" for each in NAMES}
    assert render(said, 140, False).count(ABSENT) == 3


def test_under_pressure_a_pipeline_goes_over_to_what_is_here() -> None:
    float_, int8, tiny = option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), option("tiny", 0.85, 1, 20)
    for last, least in ((tiny, "tiny"), (replace(tiny, refused=f"absent: {ABSENT}"), "int8")):
        board = Board(others_mib=lambda second: 1300.0 if second > 60 else 0.0, demands=[demand("pump", 20, float_, int8, last)])
        board.running = {"pump": "float"}
        board.run(600)
        assert board.running == {"pump": least}


def test_costs_of_what_is_not_here_are_those_of_its_release(partial: Release, here: str) -> None:
    assert set(costs_of_release(partial)) == {*NAMES}
    assert {name: sha256_of(partial, name) is not None for name in NAMES} == {name: name == here for name in NAMES}


def test_what_is_here_is_loaded_and_nothing_else_is_tried(partial: Release, here: str) -> None:
    assert [each.name for each in in_order(partial)] == [here]
    inference, failed = load_best(partial, open_engine)
    assert (inference.model.variant, failed) == (here, {})
    inference.close()
    with pytest.raises(PublisherError):
        load_best(partial, open_engine, ["dynrange"])


def test_a_trial_runs_what_is_here_with_its_goldens(partial: Release, here: str, ports: LonePorts) -> None:
    report = ports.trial(partial, never)
    assert report["variant"] == here
    assert report["goldens"] > 0
    assert ports.fitting(partial, ports._store.packed("toycar", 1)) == [here]


def test_what_a_push_would_fetch_on_this_board(store: Store, toycar: Path, ports: LonePorts) -> None:
    candidate = store.examine(FolderSource(toycar))
    fetched = ports.fitting(store.planned(candidate), candidate.packed)
    sizes = {each.name: (toycar / each.file).stat().st_size for each in candidate.manifest.variants}
    assert fetched[0] == "fp32"
    assert all(4 * sizes[each] <= sizes["fp32"] for each in fetched[1:])


def test_a_variant_for_an_engine_that_is_not_here_is_never_fetched(
    store: Store, toycar: Path, ports: LonePorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (demand_module, ports_module):
        monkeypatch.setattr(module, "text_builds", list)
    candidate = store.examine(FolderSource(toycar))
    variants = [msgspec.structs.replace(each, engine="llama") if each.name == "fp32" else each for each in candidate.manifest.variants]
    candidate = replace(candidate, manifest=msgspec.structs.replace(candidate.manifest, variants=variants))
    assert "fp32" not in ports.fitting(store.planned(candidate), candidate.packed)
    variants = [msgspec.structs.replace(each, engine="llama") for each in variants]
    candidate = replace(candidate, manifest=msgspec.structs.replace(candidate.manifest, variants=variants))
    with pytest.raises(BoardError) as caught:
        ports.fitting(store.planned(candidate), candidate.packed)
    assert (caught.value.code, caught.value.hint) == ("engine-missing", "pip install 'edged[text]'")


def test_list_and_show_say_what_was_not_fetched(
    partial: Release, here: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    book = Book(state)
    moved = Moved(at=1, model="toycar", release=1, digest="d", input="i", kind="push", state="activate")
    book.note(moved)
    book.close()
    (model,) = take_stock(store, {"toycar": Book(state).of("toycar")}, [], None, SystemClock()).models
    entries = {each.name: each for each in model.releases[0].variants}
    assert {name: each.here for name, each in entries.items()} == {name: name == here for name in entries}
    assert {name for name, each in entries.items() if each.why_not == ABSENT} == entries.keys() - {here}
    assert main(["models", "list", "--state-dir", str(state)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"not chosen: {ABSENT}") == 3
    assert main(["models", "show", "toycar", "--state-dir", str(state)]) == 0
    assert capsys.readouterr().out.count(ABSENT) == 3
    assert main(["models", "show", "toycar", "--state-dir", str(state), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["absent"]) == entries.keys() - {here}
