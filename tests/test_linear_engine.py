"""Engine linear: what it computes, held against arithmetic by hand and against scikit-learn; and how it is used."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edged import __version__
from edged.engines import ngrams
from edged.engines.choose import open_engine
from edged.engines.linear import LinearEngine
from edged.engines.text import TextUse
from edged.errors import BugError, PublisherError
from tests.linears import LABELS, linear_arrays, written

USE = TextUse("classify", labels=LABELS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("linear") / "words.npz", linear_arrays())


@pytest.fixture
def engine(path: Path) -> LinearEngine:
    return LinearEngine(path, USE)


def log_softmax(*logits: float) -> list[float]:
    total = math.log(sum(map(math.exp, logits)))
    return [logit - total for logit in logits]


def test_scores_are_those_that_a_person_computes(engine: LinearEngine):
    # "Oil LEAK leak": words leak twice (weight (1 + ln 2) * 1) and "oil leak" (2); characters "ak " twice, "l" three times.
    leak, both = 1 + math.log(2), 2.0
    length = math.hypot(leak, both)
    ends, ell = 1 + math.log(2), 1 + math.log(3)
    width = math.hypot(ends, ell)
    pump = 0.25 + (2 * leak + 3 * both) / length + (ends + 0.5 * ell) / width
    valve = 0.5 * ell / width
    assert engine.scores(["Oil LEAK leak"])[0] == pytest.approx(log_softmax(pump, valve), abs=1e-6)


@pytest.mark.parametrize("text", ["", " \n\t", "xyz", "日本"])
def test_a_text_without_any_known_feature_gets_the_prior(engine: LinearEngine, text: str):
    assert engine.scores([text])[0] == pytest.approx(log_softmax(0.25, 0.0))


def test_an_unknown_word_between_two_known_ones_parts_them(engine: LinearEngine):
    whole, parted = engine.scores(["oil leak", "oil xx leak"])
    assert whole[0] > parted[0]


def test_words_of_two_texts_in_one_call_are_not_joined(engine: LinearEngine):
    assert (engine.scores(["oil", "leak"]) == np.vstack([engine.scores(["oil"]), engine.scores(["leak"])])).all()


def test_no_texts_give_no_scores(engine: LinearEngine):
    assert engine.scores([]).shape == (0, 2)


def test_labels_come_in_the_order_of_the_manifest(path: Path):
    texts = ["oil leak", "stuck"]
    turned = LinearEngine(path, TextUse("classify", labels=LABELS[::-1])).scores(texts)
    assert (turned[:, ::-1] == LinearEngine(path, USE).scores(texts)).all()


def test_it_is_opened_by_its_name_and_says_what_it_is(path: Path):
    engine = open_engine(path, "linear", text=USE)
    assert (engine.build.engine, engine.build.package, engine.build.version) == ("linear", "edged", __version__)
    assert (engine.values, engine.batch, engine.mib()) == (2, 64, 0.0)
    engine.progress()
    engine.close()


def test_what_it_does_not_do_is_said(engine: LinearEngine, path: Path):
    for call in (lambda: engine.vectors(["x"]), lambda: engine.write(["x"], 1.0)):
        with pytest.raises(BugError) as caught:
            call()
        assert caught.value.code == "engine-misused"
    with pytest.raises(PublisherError) as refused:
        LinearEngine(path, TextUse("generate"))
    assert refused.value.code == "task-unsupported"
    engine.close()
    with pytest.raises(BugError) as caught:
        engine.scores(["x"])
    assert caught.value.code == "engine-misused"


def test_a_stream_of_words_never_seen_twice_does_not_fill_the_memory(engine: LinearEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ngrams, "CACHE_BYTES", 50_000)
    known = engine._features._stretches  # type: ignore[union-attr]
    sizes = []
    for i in range(40):
        engine.scores([f"leak {i * 100 + j}" for j in range(100)])
        sizes.append(len(known))
    assert max(sizes) < 500
    assert (engine.scores(["oil leak 7"]) == engine.scores(["oil leak 8"])).all()


# Against scikit-learn.

TRAIN = [
    "replace air cleaners", "OIL LEAK from swing motor", "won't start", "bucket tooth broken", "hyd. hose L/H leaking", "engine o/heating",
    "a a a a", "Straße größer", "ΟΔΟΣ οδός", "日本 の ポンプ", "x_y 12 12.5", "1000hr service", "air-con u/s", "tooth   tooth",
]  # fmt: skip
TRUTH = ["air", "oil", "engine", "bucket", "oil", "engine"] + ["air", "oil"] * 4
HOSTILE = [
    "", " ", "İstanbul ΣΑΣ ﬁre ß", "a", "ab", "L/H", "leak\x00leak", "\x1c\x1d leak\u2028oil\u3000leak\xa0x", "oil" * 700, "leak " * 900,
    "e\u0301ngine \u200d\ufe0f👩‍🔧 𝔘nicode ٣٤", "'''___---...", "\ud7ff\ue000\U0010ffff", "o\u00adil \u0085 leak", "12 12 12.5.12",
    "\r\n\r\n", "_", "__",
]  # fmt: skip


@pytest.fixture(scope="module", params=[2, 4], ids=["two labels", "four labels"])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    pytest.importorskip("sklearn", reason="scores are held against scikit-learn: pip install 'edged[fit]'")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, make_pipeline

    truth = TRUTH if request.param == 4 else ["oil" if label == "oil" else "air" for label in TRUTH]
    words = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    theirs = make_pipeline(FeatureUnion([("words", words), ("chars", chars)]), LogisticRegression(C=30, max_iter=1000)).fit(TRAIN, truth)
    regression = theirs[-1]
    coef, intercept = regression.coef_.T, regression.intercept_
    if coef.shape[1] == 1:  # of two labels scikit-learn keeps the second one's alone
        coef, intercept = np.hstack([0 * coef, coef]), np.array([0.0, intercept[0]])
    labels = tuple(regression.classes_.tolist())
    path = written(
        tmp_path_factory.mktemp("fitted") / "words.npz",
        linear_arrays(),
        labels=np.array(labels),
        words=np.array(words.get_feature_names_out(), np.str_),
        word_range=np.array([1, 3]),
        chars=np.array(chars.get_feature_names_out(), np.str_),
        char_range=np.array([2, 5]),
        idf=np.concatenate([words.idf_, chars.idf_]).astype(np.float32),
        coef=coef.astype(np.float32),
        intercept=intercept,
        split=np.int64(len(words.idf_)),
    )
    return theirs, LinearEngine(path, TextUse("classify", labels=labels))


def test_hostile_texts_get_the_scores_of_scikit_learn(fitted):
    theirs, ours = fitted
    texts = HOSTILE + TRAIN
    assert ours.scores(texts) == pytest.approx(theirs.predict_log_proba(texts), abs=1e-5)


WORDS = st.sampled_from([word for text in TRAIN + HOSTILE[2:] for word in text.split(" ")])
TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=20).map(" ".join), st.lists(WORDS, max_size=9).map("\n".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
@example(HOSTILE)
def test_any_texts_get_the_scores_of_scikit_learn(fitted, texts: list[str]):
    theirs, ours = fitted
    assert ours.scores(texts) == pytest.approx(theirs.predict_log_proba(texts), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=70))
def test_texts_in_one_call_do_not_change_each_others_scores_by_a_bit(fitted, texts: list[str]):
    _, ours = fitted
    assert (ours.scores(texts) == np.vstack([ours.scores([text]) for text in texts])).all()
