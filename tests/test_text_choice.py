"""The choice among variants for texts: what each takes, which engines are here, and what a cascade makes of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edged.board.inforce import Board, board_here, board_of
from edged.config import schema
from edged.engines.choose import open_engine, text_builds
from edged.errors import OperatorError
from edged.models.gguf_costs import costs_of_gguf
from edged.models.manifest import Release, load_release
from edged.packing.use import text_use
from edged.select import demand as demand_module
from edged.select.choose import choose, work
from edged.select.costing import costs_of_release, sha256_of
from edged.select.demand import Wanted, demands
from edged.select.measured import Measured, Measurements
from edged.select.stages import brought
from edged.select.terms import Demand, Limits, Option
from edged.select.texts import need_of_text, use_of
from edged.select.why import explain
from edged.service.selection import Selection
from tests.smollm import smollm_path
from tests.test_demand import Known
from tests.test_predict_text import SMOL
from tests.texts import CASCADE, LANGUAGE_MODEL, MANIFEST, write_release

PI5 = board_of("raspberry-pi-5-8gb")
LARGE = Limits(memory_mib=4000, workers=3)
BOTH = MANIFEST + LANGUAGE_MODEL


def wanted(folder: Path, **more: object) -> Wanted:
    """Make a wish for the release in a folder, whose language model takes what SmolLM2 does."""
    release = load_release(folder)
    costs = {
        name: msgspec.structs.replace(each, file_bytes=98_362_432, text=SMOL) if each.text else each
        for name, each in costs_of_release(release).items()
    }
    options = schema.Pipeline(name="a", source=schema.StdinSource(), decoder=schema.TextDecoder(), deadline_ms=60_000.0)
    return Wanted(options, release, costs, **more)  # type: ignore[arg-type]


def one(given: Wanted, board: Board = PI5, lookup: Known | None = None) -> Demand:
    return demands([given], board, lookup)[0]


def options(found: Demand) -> dict[str, Option]:
    return {each.variant: each for each in found.options}


def test_words_take_microseconds_and_a_language_model_what_its_tokens_take(tmp_path: Path):
    found = options(one(wanted(write_release(tmp_path / "r", BOTH))))
    assert found["words"].ms < 1
    assert found["words"].mib < 2
    assert found["labels"].ms > 100 * found["words"].ms
    assert 98_362_432 / (1 << 20) < found["labels"].mib < 400
    assert (found["words"].threads, found["labels"].threads) == (1, PI5.workers)


@pytest.mark.parametrize(
    ("task", "prompt", "new"), [("classify", 250 + 3 + 3 + 2, 1), ("extract", 250, 40), ("generate", 250, 40), ("embed", 250, 1)]
)
def test_tokens_are_those_that_the_task_reads_and_writes(tmp_path: Path, task: str, prompt: int, new: int):
    release = load_release(write_release(tmp_path / "r", BOTH))
    given = msgspec.structs.replace(release.manifest.input, max_chars=1000, system="x" * 400)
    output = msgspec.structs.replace(release.manifest.output, labels=["twelve chars", "ten  chars", "eight ch"], max_tokens=40)
    manifest = msgspec.structs.replace(release.manifest, task=task, input=given, output=output)
    use = use_of(manifest, release.variant("labels"), SMOL)
    assert (use.prompt, use.new) == (prompt, new)
    assert use.context > 1000, "a token for each character"
    if task == "classify":
        head = msgspec.structs.replace(release.variant("labels"), head="head.npz")
        assert use_of(manifest, head, SMOL).prompt == 250, "a head reads the text alone"
        assert use_of(manifest, msgspec.structs.replace(head, context=512), SMOL).context == 512


def test_memory_of_the_runner_is_as_predicted(tmp_path: Path):
    """Of a copy of the file: pages that others have too count in part only."""
    path = Path(shutil.copyfile(smollm_path(), tmp_path / "model.gguf"))
    release = load_release(write_release(tmp_path / "r", BOTH))
    variant, costs = release.variant("labels"), costs_of_gguf(path)
    engine = open_engine(path, "llama", text=text_use(release, variant))
    try:
        engine.scores(["bucket teeth worn out"])
        took = engine.mib()
    finally:
        engine.close()
    need = need_of_text(release.manifest, variant, costs, board_here(), generic=False)
    assert need.mib == pytest.approx(took, rel=0.2)


def test_threads_of_one_window_count_for_the_whole_board(tmp_path: Path):
    found = one(wanted(write_release(tmp_path / "r", BOTH), windows_per_s=0.1))
    labels = options(found)["labels"]
    assert work(found, labels) == pytest.approx(3 * labels.ms * 0.1 / 1000)
    narrow = replace(LARGE, workers=work(found, labels) / LARGE.share * 0.9)
    reasons = {row.variant: row.code for row in explain([found], narrow, choose([found], narrow))}
    assert reasons == {"words": "chosen", "labels": "processor"}


def test_without_a_runtime_a_language_model_is_refused_and_words_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demand_module, "text_builds", lambda: [each for each in text_builds() if each.engine == "linear"])
    here = board_here()
    found = one(wanted(write_release(tmp_path / "r", BOTH)), here)
    assert options(found)["labels"].refused == "engine: no runtime for llama is installed, such as xllamacpp or llama-cpp-python"
    assert options(found)["words"].refused == ""


def test_what_was_measured_belongs_to_what_is_done_with_the_file(tmp_path: Path):
    """Two variants of one file are not one: a head reads the text, label texts are read with it."""
    folder = write_release(tmp_path / "r", BOTH + LANGUAGE_MODEL.replace('"labels"', '"head"') + 'head = "words.npz"\n')
    release = load_release(folder)
    keys = {name: sha256_of(release, name) for name in ("words", "labels", "head")}
    assert len(set(keys.values())) == 3
    assert None not in keys.values()
    (folder / "model.toml").write_text((folder / "model.toml").read_text().replace("max_chars = 200", "max_chars = 100"))
    assert sha256_of(load_release(folder), "labels") != keys["labels"]
    (build,) = (each for each in text_builds() if each.engine == "linear")
    known = Known(**{f"s{keys['words']}": Measured(p50_ms=0.25, p95_ms=0.5, windows=500, mib=3.5)})
    words = options(one(wanted(write_release(tmp_path / "again", BOTH)), board_here(), known))["words"]
    assert (words.ms, words.worst_ms, words.mib, words.measured) == (0.25, 0.5, 3.5, True)
    assert {asked for _, asked, _ in known.asked if "edged" in asked} == {str(build)}


def test_a_stage_of_a_cascade_brings_those_before_it(tmp_path: Path):
    plain, staged = (
        one(wanted(write_release(tmp_path / name, text), windows_per_s=1.0)) for name, text in (("p", BOTH), ("c", BOTH + CASCADE))
    )
    alone, words, labels = options(plain)["labels"], options(staged)["words"], options(staged)["labels"]
    assert labels.mib == pytest.approx(alone.mib + words.mib)
    assert labels.worst_ms == pytest.approx(alone.ms + words.ms)
    assert labels.ms == pytest.approx(words.ms + alone.ms * 36 / 3600), "its budget an hour leaves out most"
    assert (words.stage, labels.stage, alone.stage) == (1, 2, None)


def test_the_last_stage_that_fits_is_chosen_however_good_it_is_alone(tmp_path: Path):
    found = one(wanted(write_release(tmp_path / "r", BOTH + CASCADE), windows_per_s=1.0))
    assert options(found)["words"].quality > options(found)["labels"].quality  # type: ignore[operator]
    rows = {row.variant: row.reason for row in explain([found], LARGE, choose([found], LARGE))}
    assert rows == {"labels": "chosen", "words": "cascade: it is asked before labels"}
    small = replace(LARGE, memory_mib=20)
    rows = {row.variant: row.reason for row in explain([found], small, choose([found], small))}
    assert rows["words"] == "chosen"
    assert rows["labels"].startswith("memory: needs")


def test_what_is_no_stage_is_not_taken_and_a_stage_that_did_not_load_is_left_out(tmp_path: Path):
    spare = LANGUAGE_MODEL.replace('"labels"', '"spare"').replace("0.8", "0.99")
    folder = write_release(tmp_path / "r", BOTH + spare + CASCADE)
    found = one(wanted(folder))
    assert options(found)["spare"].refused == "cascade: it is none of its stages"
    broken = options(one(wanted(folder, failed={"words": "its file is cut"})))
    assert broken["words"].refused == "load: its file is cut"
    assert broken["labels"].mib < options(found)["labels"].mib
    assert not broken["labels"].refused


def test_a_cascade_is_measured_apart_from_its_variants(tmp_path: Path):
    plain, staged = (load_release(write_release(tmp_path / name, text)) for name, text in (("p", BOTH), ("c", BOTH + CASCADE)))
    assert sha256_of(plain, "labels") != sha256_of(staged, "labels")
    assert sha256_of(plain, "words") == sha256_of(staged, "words"), "the first stage asks nobody else"


def test_stages_are_fetched_together_and_a_head_with_its_model(tmp_path: Path):
    head = LANGUAGE_MODEL.replace('"labels"', '"head"') + 'head = "words.npz"\n'
    release = load_release(write_release(tmp_path / "r", BOTH + head))
    everything = ["labels", "head", "words"]
    assert brought(release, ["words"], everything) == ["words"]
    assert brought(release, ["head"], everything) == ["head", "labels"], "whose file is the same"
    assert brought(release, ["labels"], everything) == ["labels"]
    staged = load_release(write_release(tmp_path / "staged", BOTH + CASCADE))
    assert brought(staged, ["labels"], ["labels", "words"]) == ["labels", "words"]
    assert brought(staged, ["labels"], ["labels"]) == ["labels"], "words do not fit here"


def test_other_models_that_a_cascade_asks_count_too(tmp_path: Path):
    other = wanted(write_release(tmp_path / "other", BOTH))
    stages = '[cascade]\nstages = [ { use = "words", accept = 0.9 }, { use = "sorter", accept = 0.5 } ]\n'
    folder = write_release(tmp_path / "r", MANIFEST + stages)
    alone, beside = options(one(wanted(folder)))["words"], options(one(wanted(folder, others={"sorter": other})))["words"]
    best = options(one(other))["words"]  # the best of the other model
    assert beside.mib == pytest.approx(alone.mib + best.mib)
    assert beside.worst_ms == pytest.approx(alone.worst_ms + best.ms)


def test_a_selection_finds_the_other_models(tmp_path: Path):
    stages = '[cascade]\nstages = [ { use = "words", accept = 0.9 }, { use = "sorter", accept = 0.5 }, { use = "absent", accept = 0.5 } ]\n'
    release, other = load_release(write_release(tmp_path / "r", MANIFEST + stages)), load_release(write_release(tmp_path / "o", BOTH))

    def find(name: str) -> Release:
        if name != "sorter":
            raise OperatorError("no-such-model", "it is not here")
        return other

    pipeline = wanted(tmp_path / "r").options
    plain, finding = (Selection(PI5, 0, Measurements(tmp_path), None, each) for each in (None, find))
    assert finding.options(pipeline, release)[0].mib > plain.options(pipeline, release)[0].mib
