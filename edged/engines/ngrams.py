r"""Which features of a `linear` model a text has: n-grams of its words, and of the characters of each word.

As scikit-learn's analyzers `word` (tokens `\b\w\w+\b`) and `char_wb` find them. Both fall apart at white space,
so what a stretch between spaces is made of is looked up once and then known; n-grams of several words
are found in numpy, for a whole batch of texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edged.engines.linear_file import Weights

CACHE_BYTES = 8 << 20  # about 20,000 words; beyond it all are forgotten, and those in use soon known again
_ENTRY_BYTES = 300  # of Python's objects for one word
_TOKEN = re.compile(r"(?u)\b\w\w+\b")
_UNKNOWN = -1  # a token that no n-gram has, or an n-gram that is no feature

Ints = NDArray[np.int64]


class Features:
    """Finds the features of texts, by their index in the weights."""

    def __init__(self, weights: Weights) -> None:
        self._lowercase = weights.lowercase
        self._several = _Several(weights.words)
        self._stretches = _Stretches(weights, self._several.tokens)

    def of(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Give the text's index and the feature's index of each n-gram that is a feature, both int64 [n-grams], in no order."""
        if self._stretches.bytes > CACHE_BYTES:
            self._stretches.forget()
        split = [(text.lower() if self._lowercase else text).split() for text in texts]
        found = [self._stretches[stretch] for stretches in split for stretch in stretches]
        row = np.arange(len(texts)).repeat([len(stretches) for stretches in split])
        of_one, of_one_row = _joined([features for features, _ in found], row)
        of_several, of_several_row = self._several.among(*_joined([tokens for _, tokens in found], row))
        return np.concatenate((of_one_row, *of_several_row)), np.concatenate((of_one, *of_several))


def _joined(parts: list[bytes], row: Ints) -> tuple[NDArray[np.int32], Ints]:
    """Join int32 as bytes, and give each its row."""
    return np.frombuffer(b"".join(parts), np.int32), row.repeat([len(part) >> 2 for part in parts])


class _Stretches(dict[str, tuple[bytes, bytes]]):
    """What lies between white space → the features in it alone, and the indices of its tokens; int32 as bytes."""

    def __init__(self, weights: Weights, tokens: dict[str, int]) -> None:
        super().__init__()
        self._tokens = tokens
        self._words = {ngram: i for i, ngram in enumerate(weights.words) if " " not in ngram}
        self._chars = {ngram: i for i, ngram in enumerate(weights.chars, len(weights.words))}
        self._sizes = range(weights.char_range[0], weights.char_range[1] + 1)
        self.bytes = 0

    def __missing__(self, stretch: str) -> tuple[bytes, bytes]:
        tokens = _TOKEN.findall(stretch)
        features = [feature for token in tokens if (feature := self._words.get(token)) is not None]
        features += self._pieces(stretch)
        known = [self._tokens.get(token, _UNKNOWN) for token in tokens]
        entry = np.array(features, np.int32).tobytes(), np.array(known, np.int32).tobytes()
        self[stretch] = entry
        self.bytes += _ENTRY_BYTES + 4 * len(stretch) + len(entry[0]) + len(entry[1])
        return entry

    def forget(self) -> None:
        """Begin anew."""
        self.clear()
        self.bytes = 0

    def _pieces(self, stretch: str) -> Iterator[int]:
        """Find the features among the n-grams of the stretch between two spaces; one that is shorter than n is taken once, whole."""
        word = f" {stretch} "
        for size in self._sizes:
            for i in range(max(1, len(word) - size + 1)):
                if (feature := self._chars.get(word[i : i + size])) is not None:
                    yield feature
            if len(word) <= size:
                break


class _Several:
    """N-grams of two words and more, as a trie: pairs of an n-gram and the token that follows it → the longer n-gram."""

    def __init__(self, ngrams: list[str]) -> None:
        features = {tuple(ngram.split(" ")): i for i, ngram in enumerate(ngrams) if " " in ngram}
        words = sorted({word for ngram in features for word in ngram})
        self.tokens = {word: i for i, word in enumerate(words)}
        self._levels: list[tuple[Ints, Ints]] = []  # of each length: the pairs in ascending order, and the features they are
        at: dict[tuple[str, ...], int] = {(word,): i for i, word in enumerate(words)}
        for n in range(2, max(map(len, features), default=1) + 1):
            level = sorted({ngram[:n] for ngram in features if len(ngram) >= n})
            pairs = [at[ngram[:-1]] * len(words) + self.tokens[ngram[-1]] for ngram in level]
            at = {ngram: i for i, ngram in enumerate(level)}
            self._levels.append((np.array(pairs, np.int64), np.array([features.get(ngram, _UNKNOWN) for ngram in level], np.int64)))

    def among(self, tokens: NDArray[np.int32], rows: Ints) -> tuple[list[Ints], list[Ints]]:
        """Give the features among tokens that follow each other in a row, and their rows, by length."""
        found: list[Ints] = []
        found_rows: list[Ints] = []
        begin = (tokens != _UNKNOWN).nonzero()[0]
        node = tokens[begin].astype(np.int64)
        for n, (pairs, features) in enumerate(self._levels, 1):
            inside = begin + n < len(tokens)
            begin, node = begin[inside], node[inside]
            last = tokens[begin + n]
            pair = node * len(self.tokens) + last
            at = pairs.searchsorted(pair).clip(max=len(pairs) - 1)
            known = (pairs[at] == pair) & (last != _UNKNOWN) & (rows[begin] == rows[begin + n])
            begin, node = begin[known], at[known]
            feature = features[node]
            real = feature != _UNKNOWN
            found.append(feature[real])
            found_rows.append(rows[begin[real]])
        return found, found_rows
