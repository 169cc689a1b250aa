"""Count what a classifier of engine `linear` costs to run, from the arrays of its file; see `engines/linear_file.py` for the format."""

from __future__ import annotations

from pathlib import Path

from edged.models.costs import Costs, Macs

_CHARACTERS, _WORDS = 100, 20  # of the text that multiply-adds are counted for
# What Python keeps of an n-gram of words, with the tree of its first words, and of one of characters: measured with CPython 3.11.
_WORDS_BYTES, _CHARS_BYTES = 480, 140


def costs_of_linear(path: Path) -> Costs:
    """Count the costs; `arena_bytes` is what its dictionaries take. Raises PublisherError(`npz-malformed`)."""
    from edged.npz import read_arrays  # numpy: what only reads costs starts without it

    texts = ("words", "chars")
    arrays = read_arrays(path, ("idf", "coef", "intercept", "word_range", "char_range", *texts), texts)
    labels, words, chars = arrays["intercept"].size, arrays["words"], arrays["chars"]
    lengths = [int(high) - int(low) + 1 for low, high in (arrays["word_range"].ravel()[:2], arrays["char_range"].ravel()[:2])]
    macs = labels * (_WORDS * lengths[0] * (words.size > 0) + _CHARACTERS * lengths[1] * (chars.size > 0))
    return Costs(
        file_bytes=path.stat().st_size,
        weight_bytes=sum(arrays[name].nbytes for name in ("idf", "coef", "intercept")),
        arena_bytes=words.size * _WORDS_BYTES + chars.size * _CHARS_BYTES,
        macs_total=macs,
        macs=Macs(dense=macs),
        elementwise=0,
        compute="float32",
        stateful=False,
        operators={},
    )
