"""Documents held against struct types: which fault, where, and in which words."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from edged.config.check import MAX_DEPTH, Document, Variable, dotted
from edged.config.schema import Config, Name
from edged.config.words import show, wanted


class Inner(msgspec.Struct, frozen=True, tag_field="type", tag="inner"):
    """One arm."""

    n: int


class Other(msgspec.Struct, frozen=True, tag_field="type", tag="other"):
    """Another arm."""


class Sample(msgspec.Struct, frozen=True):
    """A table of every kind of key."""

    text: str = ""
    name: Name = "a"
    few: Annotated[int, Meta(ge=1, le=9)] = 1
    ratio: Annotated[float, Meta(gt=0)] = 1.0
    choice: Literal["a", "b"] = "a"
    names: list[Name] = []
    pair: Annotated[list[float], Meta(min_length=2, max_length=2)] = msgspec.field(default_factory=lambda: [1.0, 2.0])
    either: float | list[float] | None = None
    arm: Inner | Other = Other()
    arms: list[Inner | Other] = []
    tables: dict[str, Inner] = {}


class Guarded(msgspec.Struct, frozen=True):
    """A table that judges itself."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high; swap them")


class Holder(msgspec.Struct, frozen=True):
    """Holds one that judges itself."""

    range: Guarded


def faults_of(text: str, type_: type = Sample) -> list[tuple[int, str, str, str, str]]:
    document = Document("f.toml", text)
    document.check(type_)
    return [(fault.line, fault.key, fault.code, fault.text, fault.hint) for fault in document.faults]


NAME_HINT = "lower-case letters, digits, - and _, at most 64, beginning with a letter or digit"

CASES = {
    "text = 1": ("text", "bad-value", "1 does not fit", "write a text"),
    "text = 2026-11-22": ("text", "bad-value", "2026-11-22 does not fit", "write a text"),
    "text = true": ("text", "bad-value", "true does not fit", "write a text"),
    'name = "Pump 1"': ("name", "bad-value", '"Pump 1" does not fit', f"write a text of {NAME_HINT}"),
    'name = "pump\\n"': ("name", "bad-value", '"pump\\n" does not fit', f"write a text of {NAME_HINT}"),
    "few = 10": ("few", "bad-value", "10 does not fit", "write a whole number from 1 to 9"),
    "few = 1.0": ("few", "bad-value", "1.0 does not fit", "write a whole number from 1 to 9"),
    f"few = 0x{'f' * 2000}": ("few", "bad-value", "a number of far too many digits does not fit", "write a whole number from 1 to 9"),
    "ratio = nan": ("ratio", "bad-value", "nan does not fit", "write a number, greater than 0"),
    "ratio = true": ("ratio", "bad-value", "true does not fit", "write a number, greater than 0"),
    'choice = "c"': ("choice", "bad-value", '"c" does not fit', 'write one of "a", "b"'),
    'names = "a"': ("names", "bad-value", '"a" does not fit', f"write a list of texts of {NAME_HINT}"),
    'names = ["a", "B"]': ("names[1]", "bad-value", '"B" does not fit', f"write a text of {NAME_HINT}"),
    "pair = []": ("pair", "bad-value", "is empty", "write a list of numbers of exactly 2 entries"),
    "pair = [1, 2, 3]": ("pair", "bad-value", "a list does not fit", "write a list of numbers of exactly 2 entries"),
    'either = "x"': ("either", "bad-value", '"x" does not fit', "write a number or a list of numbers"),
    "arm = 1": ("arm", "bad-value", "1 does not fit", "write a table with `type`"),
    "arm = { n = 1 }": ("arm.type", "unknown-kind", "has no `type`", "one of: inner, other"),
    'arm = { type = "iner" }': ("arm.type", "unknown-kind", '"iner" is not a known type', 'did you mean "inner"?'),
    "arm = { type = [] }": ("arm.type", "unknown-kind", "a list is not a known type", "one of: inner, other"),
    'arm = { type = "inner" }': ("arm.n", "missing-key", "is missing", "add `n = …`, a whole number"),
    'arms = [{ type = "other" }, 5]': ("arms[1]", "bad-value", "5 does not fit", "write a table with `type`"),
    "arms = {}": ("arms", "bad-value", "a table does not fit", "write a list of tables"),
    "tables = { x = 1 }": ("tables.x", "wrong-type", "is a number", "write a table"),
    "tables = [1]": ("tables", "bad-value", "a list does not fit", "write a table"),
    "fwe = 1": ("fwe", "unknown-key", "is not a known key", "did you mean `few`?"),
    '"\\u001b[2J" = 1': (
        '"\\u001b[2J"',
        "unknown-key",
        "is not a known key",
        "known here: text, name, few, ratio, choice, names, pair, either, arm, arms, tables",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.items(), ids=[text[:40] for text in CASES])
def test_one_fault_says_key_code_what_is_wrong_and_what_to_write(text: str, expected: tuple[str, str, str, str]) -> None:
    assert faults_of("\n" + text) == [(2, *expected)]


def test_a_sound_document_is_built() -> None:
    document = Document("f.toml", 'arms = [{ type = "inner", n = 1 }]\npair = [1, 2.5]\n[tables.a]\ntype = "inner"\nn = 2')
    assert document.check(Sample) == Sample(arms=[Inner(1)], pair=[1.0, 2.5], tables={"a": Inner(2)})
    assert not document.faults


def test_a_draft_holds_what_is_sound_beside_what_is_not() -> None:
    document = Document("f.toml", 'few = 0\ntext = "x"\narms = [{ type = "inner", n = 1 }, { type = "inner", n = "x" }, 5]')
    draft = document.draft(Sample)
    assert draft is not None
    assert (draft.few, draft.text, draft.arms) == (None, "x", [Inner(1), Inner(None), None])  # type: ignore[arg-type, list-item]
    assert len(document.faults) == 3
    assert Document("f.toml", "few = 0").check(Sample) is None


def test_a_struct_that_judges_itself_is_not_asked_with_keys_missing() -> None:
    assert faults_of("range = { low = 1 }", Holder)[0][1:3] == ("range.high", "missing-key")
    assert faults_of("range = { low = 2, high = 1 }", Holder) == [(1, "range", "bad-value", "low is above high", "swap them")]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = what\n", 2), ("a = 1\nb = [1,\n", 2), ("a = 1\n\na = 2\n", 3), ("[a]\nb = \n[c]", 2), ("a = " + "9" * 5000, 0)],
)
def test_text_that_is_not_toml_is_one_fault_with_its_line(text: str, line: int) -> None:
    (fault,) = faults_of(text, Config)[:1]
    assert (fault[0], fault[2]) == (line, "not-toml")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 300, 20_000])
def test_nesting_bomb_is_refused(depth: int) -> None:
    document = Document("f.toml", "a = " + "[" * depth + "]" * depth)
    assert [fault.code for fault in document.faults] == ["not-toml"]
    assert document.values == {}


@pytest.mark.parametrize("text", ["%s = 1", "[%s]", "x = { %s = 1 }", "[[%s]]", 'x = 1\n  "a".%s = 1'])
@pytest.mark.parametrize("part", ["a", '"\\".,"', "'b'"])
def test_dotted_key_of_very_many_parts_is_refused_before_it_costs_time(text: str, part: str) -> None:
    document = Document("f.toml", text % " . ".join([part] * 50_000))
    assert [(fault.line, fault.text) for fault in document.faults] == [(text.count("\n") + 1, f"is nested deeper than {MAX_DEPTH} levels")]


def test_dots_in_values_are_no_nesting() -> None:
    values = ", ".join(["1.5"] * 500)
    assert not Document("f.toml", f"a = [{values}]\nb = '{'x.' * 500}'\nc = 1.2\n# {'a.' * 500}").faults


def test_a_fault_at_or_below_a_replaced_key_names_the_variable() -> None:
    document = Document("f.toml", "few = 1\narm = { n = 1 }")
    document.replaced[("few",)] = Variable("EDGED__FEW", "0")
    document.replaced[("arm",)] = Variable("EDGED__ARM", "{ n = 1 }")
    document.fault(("few",), "x", "is small")
    document.fault(("arm", "type"), "x", "is missing")
    document.fault(("text",), "x", "is empty")
    assert [str(fault) for fault in document.faults] == [
        "environment: EDGED__FEW: is small",
        "environment: EDGED__ARM: type: is missing",
        "f.toml: text: is empty",
    ]


def test_dotted_paths_read_as_a_person_writes_them() -> None:
    assert dotted(("pipelines", 0, "a b", "topic")) == 'pipelines[0]."a b".topic'


@given(st.text())
def test_a_shown_text_is_short_and_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert len(show(text)) <= 60
    assert show(text).isprintable()


def test_bounds_of_every_kind_have_words() -> None:
    assert wanted(Annotated[str, Meta(min_length=1)]) == "a text, not empty"
    assert wanted(Annotated[str, Meta(min_length=2, max_length=4)]) == "a text of 2 to 4 characters"
    assert wanted(Annotated[list[int], Meta(max_length=3)]) == "a list of whole numbers of at most 3 entries"
    assert wanted(Annotated[list[int], Meta(min_length=3)]) == "a list of whole numbers of at least 3 entries"
    assert wanted(Annotated[float, Meta(ge=0, lt=1)]) == "a number, at least 0 and less than 1"
    assert wanted(Annotated[str, Meta(pattern="^x$")]) == "a text of the form `^x$`"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_a_document(text: str) -> None:
    document = Document("f.toml", text)
    document.check(Config)
    assert document.faults  # no such short text is a whole configuration
