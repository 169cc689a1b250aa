"""A model whose layers keep a state, which cannot branch: it embeds and writes, and is refused where labels are scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edged.engines.llama.engine import LlamaEngine
from edged.engines.text import Prompt, TextUse
from edged.errors import PublisherError
from tests.ggufs import recurrent
from tests.llamas import opened


@pytest.fixture(autouse=True, scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("model") / "mamba.gguf"
    path.write_bytes(recurrent())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.llamas.smollm_path", lambda: path)
        yield


def test_texts_that_begin_alike_are_embedded_as_if_each_were_alone() -> None:
    engine = opened(TextUse("embed", max_chars=100))
    try:
        texts = ["pump hot", "pump cold", "pump", "x" * 90]
        alone = np.concatenate([engine.vectors([text]) for text in texts])
        np.testing.assert_allclose(engine.vectors(texts), alone, atol=1e-3)
    finally:
        engine.close()


def test_answers_are_the_same_alone_and_among_others() -> None:
    engine: LlamaEngine = opened(TextUse("generate", Prompt("About {text}:"), max_tokens=6, max_chars=40))
    try:
        texts = ["a pump", "a tree"]
        assert engine.write(texts, 600_000) == [engine.write([text], 600_000)[0] for text in texts]
    finally:
        engine.close()


def test_labels_are_not_scored() -> None:
    with pytest.raises(PublisherError) as caught:
        opened(TextUse("classify", labels=("a", "b")))
    assert caught.value.code == "model-unsupported"
