"""What pipelines demand: costs from release.json or the file, predicted or measured, refused where a board cannot run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edged.board.inforce import Board, board_here, board_of
from edged.board.profile import Profile
from edged.config import schema
from edged.models.manifest import load_release
from edged.models.packed import PACKED
from edged.packing.pack import pack
from edged.select.choose import choose
from edged.select.costing import costs_of_release, sha256_of
from edged.select.demand import Wanted, demands, limits_of
from edged.select.measured import Measured
from edged.select.terms import Demand, Option
from edged.select.why import explain
from tests.conftest import REPO
from tests.releases import changed
from tests.texts import LANGUAGE_MODEL, MANIFEST, write_release

AD01 = REPO / "tests" / "data" / "ad01"
HAR = REPO / "edged" / "demo" / "har"
PI4 = board_of("raspberry-pi-4b-1gb")


def wanted(folder: Path, **more: object) -> Wanted:
    release = load_release(folder)
    options = schema.Pipeline(name="a", source=schema.StdinSource(), decoder=schema.TextDecoder(), deadline_ms=40.0, class_="safety")
    return Wanted(options, release, **{"costs": costs_of_release(release), **more})  # type: ignore[arg-type]


def one(given: Wanted, board: Board = PI4, lookup: Known | None = None) -> Demand:
    [found] = demands([given], board, lookup)
    return found


def variant(found: Demand, name: str) -> Option:
    return next(option for option in found.options if option.variant == name)


class Known:
    """Measurements that are there, by SHA-256; notes what it was asked."""

    def __init__(self, **known: Measured) -> None:
        self.known = {key.removeprefix("s"): measured for key, measured in known.items()}
        self.asked: list[tuple[str, str, str]] = []

    def find(self, sha256: str, build: str, board: str) -> Measured | None:
        self.asked.append((sha256, build, board))
        return self.known.get(sha256)


def test_a_demand_says_what_the_pipeline_and_the_release_say() -> None:
    found = one(wanted(HAR))
    given = load_release(HAR).manifest
    assert (found.pipeline, found.model, found.release, found.class_, found.deadline_ms) == ("a", "har", 1, "safety", 40.0)
    assert found.windows_per_s == given.input.rate_hz / given.input.hop
    assert one(wanted(HAR, streams=5)).windows_per_s == 5 * found.windows_per_s
    assert one(wanted(HAR, streams=5, windows_per_s=2.5)).windows_per_s == 2.5


def test_a_slower_board_takes_longer_and_as_much_memory() -> None:
    fast, slow = (variant(one(wanted(AD01), board_of(name)), "fp32") for name in ("raspberry-pi-5-4gb", "raspberry-pi-zero-2w"))
    assert slow.ms > 2 * fast.ms > 0
    assert slow.mib == pytest.approx(fast.mib, rel=0.3)
    assert not slow.measured
    assert slow.ms == slow.predicted_ms == slow.worst_ms


def test_preprocessing_is_part_of_the_time() -> None:
    bare = wanted(HAR)
    assert bare.release.manifest.input.preprocess
    manifest = msgspec.structs.replace(bare.release.manifest, input=msgspec.structs.replace(bare.release.manifest.input, preprocess=[]))
    without = replace(bare, release=replace(bare.release, manifest=manifest))
    assert variant(one(bare), "fp32").ms > variant(one(without), "fp32").ms


def test_what_was_measured_here_replaces_what_was_predicted() -> None:
    here, given = board_here(), wanted(AD01)
    fp32, int8 = sha256_of(given.release, "fp32"), sha256_of(given.release, "int8")
    known = Known(**{
        f"s{fp32}": Measured(p50_ms=7.0, p95_ms=9.0, windows=500, mib=33.0),
        f"s{int8}": Measured(p50_ms=7.0, p95_ms=9.0, windows=3),
    })  # fmt: skip
    found = one(given, here, known)
    option = variant(found, "fp32")
    assert (option.ms, option.worst_ms, option.mib, option.measured, option.measured_mib) == (7.0, 9.0, 33.0, True, True)
    assert option.predicted_ms < 7.0
    assert option.predicted_mib < 33.0
    few = variant(found, "int8")
    assert not few.measured, "three windows say little"
    assert few.ms == few.predicted_ms
    assert {board for _, _, board in known.asked} == {here.key}


def test_what_was_measured_here_says_nothing_of_another_board() -> None:
    known = Known()
    one(wanted(AD01), PI4, known)
    assert not known.asked


def test_isa_excludes_an_engine(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r", MANIFEST + LANGUAGE_MODEL)
    old = board_of("generic-x86_64")
    old = replace(old, profile=_without_isa(old, "avx2"))
    refused = [option.refused for option in one(wanted(folder), old).options if option.engine == "llama"]
    assert refused == ["engine: llama needs avx2, which this board does not have"]
    chosen = choose([found := one(wanted(folder), old)], limits_of(old, 0)).chosen["a"]
    assert chosen
    assert chosen.engine == "linear"
    assert any(row.code == "engine" for row in explain([found], limits_of(old, 0), choose([found], limits_of(old, 0))))


def _without_isa(board: Board, word: str) -> Profile:
    compute = board.profile.compute
    kept = msgspec.structs.replace(compute, isa=[each for each in compute.isa if each != word])
    return msgspec.structs.replace(board.profile, compute=kept)


def test_an_architecture_that_no_engine_is_built_for() -> None:
    match = msgspec.structs.replace(PI4.profile.match, arch="armv7l")
    old = replace(PI4, profile=msgspec.structs.replace(PI4.profile, match=match))
    assert {option.refused for option in one(wanted(AD01), old).options} == {
        "engine: tflite runs on aarch64 and x86_64, and this board is armv7l"
    }


def test_a_variant_without_costs_is_refused_not_free() -> None:
    given = wanted(AD01)
    costs = {name: each for name, each in given.costs.items() if name != "int8"}
    option = variant(one(replace(given, costs=costs)), "int8")
    assert option.refused.startswith("costs: ")


def test_a_variant_that_did_not_load_here_says_why() -> None:
    assert variant(one(wanted(AD01, failed={"int8": "its file is cut"})), "int8").refused == "load: its file is cut"


def test_a_graph_with_state_takes_memory_for_each_stream(tmp_path: Path) -> None:
    stateful = changed(AD01, tmp_path / "r", ("[input]", "[input]\nstateful = true"))
    single, many = (variant(one(wanted(stateful, streams=streams)), "int8").mib for streams in (1, 10))
    assert many == pytest.approx(11 / 2 * single), "an engine for each stream, and the one that was loaded first"
    assert variant(one(wanted(AD01, streams=10)), "int8").mib == pytest.approx(single / 2)


def test_costs_are_those_of_release_json_and_are_counted_where_it_does_not_fit(tmp_path: Path) -> None:
    folder = changed(AD01, tmp_path / "r")
    counted = costs_of_release(load_release(folder))
    assert counted.keys() == {each.name for each in load_release(folder).manifest.variants}
    pack(folder, lambda *_: None)
    path = folder / PACKED
    assert costs_of_release(load_release(folder)) == counted
    sealed = path.read_text()
    size = f'"weight_bytes":{counted["int8"].weight_bytes}'
    assert size in sealed
    path.write_text(sealed.replace(size, '"weight_bytes":77'))
    assert costs_of_release(load_release(folder))["int8"].weight_bytes == 77, "it is believed, not counted again"
    (folder / "model.toml").write_text((folder / "model.toml").read_text() + "\n")
    assert costs_of_release(load_release(folder)) == counted, "the release.json is of another model.toml"
    path.write_bytes(b"\xff{")
    assert costs_of_release(load_release(folder)) == counted


def test_a_file_that_is_no_graph_has_no_costs(tmp_path: Path) -> None:
    folder = changed(HAR, tmp_path / "r")
    release = load_release(folder)
    release.path_of(release.manifest.variants[0]).write_bytes(b"not a graph")
    assert costs_of_release(release) == {}


def test_the_budget_is_what_the_operator_says_and_else_what_the_board_leaves() -> None:
    own = limits_of(PI4, 0)
    assert own.workers == 3
    assert 0 < own.memory_mib < 1024 - PI4.reserve_mib
    assert limits_of(PI4, 200).memory_mib == 200
    assert limits_of(PI4, 9000).memory_mib == PI4.ram_mib, "no setting makes memory"
