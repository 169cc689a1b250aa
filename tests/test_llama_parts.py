"""The parts of the llama engine that need no model: prompts, grammars, schemas, the token, choosing a token."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.engines.choose import open_engine, text_builds
from edged.engines.llama import library
from edged.engines.llama.grammar import grammar_of
from edged.engines.llama.library import XLLAMACPP, open_library
from edged.engines.llama.prompt import Piece, render
from edged.engines.llama.sampling import Grammar
from edged.engines.llama.texts import context_for
from edged.engines.llama.token import BandwidthToken
from edged.engines.text import Prompt, TextUse
from edged.errors import BoardError, BugError, PublisherError
from edged.json_schema import check_schema, keeps
from tests.llamas import Reference
from tests.smollm import needs_llama
from tests.waiting import until


def turns(parts: Sequence[tuple[str, str]], answer: bool) -> str:
    return "".join(f"<{role}>{content}</{role}>\n" for role, content in parts) + "<assistant>" * answer


def said(pieces: Sequence[Piece]) -> list[tuple[str, bool]]:
    return [(piece.text, piece.control) for piece in pieces]


def test_system_examples_and_template_follow_each_other_with_an_empty_line_between() -> None:
    rendered = render(Prompt("Order: {text}\nClass: ", "Sort.", (("leak", "Engine"),)), turns)

    assert "".join(piece.text for piece in rendered.before) == "Sort.\n\nOrder: leak\nClass: Engine\n\nOrder:"
    assert (rendered.lead, rendered.answer_lead) == (" ", " ")
    assert said(rendered.after) == [("\nClass:", True)]
    assert rendered.end == Piece("\n", True)


def test_only_the_template_may_hold_control_tokens() -> None:
    rendered = render(Prompt("<u>{text}</u>", "<s>", (("</u>", "<x>"),)), turns)

    assert said(rendered.before) == [("<s>\n\n<u>", True), ("</u>", False), ("</u>", True), ("<x>", False), ("\n\n<u>", True)]


def test_in_a_chat_all_contents_are_text_and_the_frame_is_not() -> None:
    rendered = render(Prompt("Order: {text}!", "Sort.", (("leak", "Engine"),), chat=True), turns)

    assert said(rendered.before) == [
        ("<system>", True), ("Sort.", False), ("</system>\n<user>", True), ("Order:", False), (" leak", False), ("!", False),
        ("</user>\n<assistant>", True), ("Engine", False), ("</assistant>\n<user>", True), ("Order:", False),
    ]  # fmt: skip
    assert said(rendered.after) == [("!", False), ("</user>\n<assistant>", True)]
    assert rendered.end == Piece("</assistant>\n", True)


@pytest.mark.parametrize(
    ("template", "chat", "code"),
    [
        ("no text", turns, "template-unsupported"),
        ("{text}{text}", turns, "template-unsupported"),
        ("{text}", lambda parts, answer: "the same for all", "chat-template-unsupported"),
        ("{text}", lambda parts, answer: turns(parts[::-1], answer), "chat-template-unsupported"),
    ],
)
def test_a_template_that_cannot_be_parted_is_refused(template: str, chat: Any, code: str) -> None:
    with pytest.raises(PublisherError) as caught:
        render(Prompt(template, "Sort.", chat=True), chat)
    assert caught.value.code == code


def test_a_context_has_room_for_one_long_text_or_several_usual_ones() -> None:
    assert context_for(100, 10, 10, 2000, 8, 0, 8192) == 100 + 2010
    assert context_for(100, 10, 10, 200, 8, 0, 8192) == 100 + 8 * 74
    assert context_for(100, 10, 10, 200, 8, 150, 8192) == 150
    assert context_for(100, 10, 10, 2000, 8, 0, 512) == 512
    with pytest.raises(PublisherError):
        context_for(500, 12, 12, 2000, 8, 0, 512)


KINDS: list[dict[str, Any]] = [{"type": name} for name in ("string", "integer", "number", "boolean")]
ENUMS = st.lists(st.one_of(st.text(max_size=4), st.integers(-9, 9), st.booleans()), min_size=1, max_size=3)
SCALARS = st.one_of(
    st.sampled_from([*KINDS, {"type": "string", "maxLength": 3}]),
    ENUMS.map(lambda values: {"enum": values}),
)


def objects(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    named = st.dictionaries(st.text(min_size=1, max_size=4), parts, min_size=1, max_size=4)
    return named.flatmap(
        lambda each: st.sets(st.sampled_from(sorted(each))).map(
            lambda required: {"type": "object", "properties": each, "required": sorted(required)}
        )
    )


SCHEMAS = objects(
    st.recursive(SCALARS, lambda inner: st.one_of(objects(inner), inner.map(lambda items: {"type": "array", "items": items})), max_leaves=4)
)


@given(schema=SCHEMAS)
def test_schemas_of_the_known_kinds_are_taken_and_have_a_grammar(schema: dict[str, Any]) -> None:
    if not check_schema(schema):
        assert grammar_of(schema).startswith("root ::= ")


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ([], "no object"),
        ({"type": "string"}, "`type` is not object"),
        ({"type": "object"}, "`properties`"),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, "`a` has the type 'null'"),
        ({"type": "object", "properties": {"a": {"type": ["string"]}}}, "`a` has the type"),
        ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}}, "`minimum`"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True}, "`additionalProperties`"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]}, "requires `b`"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": "a"}, "no list"),
        ({"type": "object", "properties": {"a": {"enum": [None]}}}, "`enum`"),
        ({"type": "object", "properties": {"a": {"enum": []}}}, "from 1 to 256"),
        ({"type": "object", "properties": {"a": {"enum": ["x"], "type": "integer"}}}, "not of its type"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "`a[]` is no object"),
        ({"type": "object", "properties": {"a": {"type": "string", "maxLength": 10**9}}}, "`maxLength`"),
        ({"type": "object", "properties": {"a": {"type": "string", "maxLength": True}}}, "`maxLength`"),
        ({"type": "object", "properties": {"a": {"$ref": "#/b"}}}, "type 'None'"),
    ],
)
def test_a_schema_that_no_grammar_holds_is_refused_with_its_place(schema: Any, word: str) -> None:
    assert word in " ".join(check_schema(schema))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": 1}, True), ({"a": 1, "b": "x"}, True), ({}, False), ({"a": True}, False), ({"a": 1.0}, False), ({"a": 1, "c": 2}, False),
        ({"a": 1, "b": "xyz"}, False), ({"a": 1, "d": [1, 2.5]}, True), ({"a": 1, "d": ["1"]}, False), ({"a": 1, "e": 1}, False),
        ({"a": 1, "e": True}, True), ([], False), ({"a": 1, "d": [float("nan")]}, False), ({"a": 1, "f": True}, False),
        ({"a": 1, "f": 1}, True),
    ],
)  # fmt: skip
def test_values_are_held_to_their_schema(value: Any, kept: bool) -> None:
    schema = {
        "type": "object", "required": ["a"],
        "properties": {
            "a": {"type": "integer"}, "b": {"type": "string", "maxLength": 2}, "d": {"type": "array", "items": {"type": "number"}},
            "e": {"type": "boolean"}, "f": {"enum": [1, "x"]},
        },
    }  # fmt: skip
    assert check_schema(schema) == []
    assert keeps(value, schema) is kept


def test_what_a_grammar_allows_keeps_the_schema_and_nothing_else_is_allowed() -> None:
    schema = {
        "type": "object",
        "properties": {
            'k"y': {"enum": ['a"b', 1]},
            "n": {"type": "number"},
            "l": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        },
        "required": ["n"],
    }
    assert check_schema(schema) == []
    model = Reference().model

    def taken(text: str) -> bool:
        """Say whether the grammar lets a model write this and end."""
        grammar = Grammar(model, grammar_of(schema))
        try:
            for token in [*model.tokens(text, False), 2]:
                if not grammar.allowed(np.array([token], np.int32))[0]:
                    return False
                grammar.accept(token)
            return True
        finally:
            grammar.close()

    good = [{"n": 1.5}, {"n": -2, 'k"y': 'a"b'}, {"n": 0, 'k"y': 1, "l": [True, False]}, {"n": 3, "l": []}]
    bad = ["{}", '{"n": "x"}', '{"n": 1, "z": 2}', '{"n": 1', '{"n": 1, "l": [true, true, true]}', '{"n": 01}', "[]", '{"n": 1} ']
    assert [taken(json.dumps(each)) for each in good] == [True] * len(good)
    assert all(keeps(each, schema) for each in good)
    assert [taken(each) for each in bad] == [False] * len(bad)


def test_the_token_goes_to_the_most_urgent_then_in_turn() -> None:
    token, order = BandwidthToken(), []
    assert token.acquire("normal", lambda: None)
    threads = []
    for count, (name, urgency) in enumerate([("b", "background"), ("n1", "normal"), ("s", "safety"), ("n2", "normal")], 1):

        def run(name: str = name, urgency: str = urgency) -> None:
            assert token.acquire(urgency, lambda: None)
            order.append(name)
            token.release()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        until(lambda count=count: len(token._waiting) == count, "it waits")  # type: ignore[misc]
    token.release()
    for thread in threads:
        thread.join()

    assert order == ["s", "n1", "n2", "b"]


def test_a_holder_is_asked_to_give_it_back_to_the_same_urgency_or_more_only() -> None:
    token, asked = BandwidthToken(), []
    assert token.acquire("normal", lambda: asked.append(1))

    assert not token.acquire("background", lambda: None, 0.0)
    assert (asked, token.wanted()) == ([], False)
    assert not token.acquire("normal", lambda: None, 0.0)
    assert asked == [1]
    token.release()
    assert token.acquire("background", lambda: None, 0.0)  # nobody who went away gets it


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_llama()
    monkeypatch.setattr(library, "XLLAMACPP", "1.0")

    with pytest.raises(BoardError) as caught:
        open_library("xllamacpp")
    assert caught.value.code == "engine-abi"
    assert "1.0" in caught.value.hint


def test_a_layout_with_other_defaults_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_llama()
    monkeypatch.setitem(library._CONTEXT_DEFAULTS, "n_ctx", 513)

    with pytest.raises(BoardError) as caught:
        open_library("xllamacpp")
    assert caught.value.code == "engine-abi"
    assert "n_ctx = 512" in caught.value.text


def test_llama_cpp_python_is_bound_through_its_own_structures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the names of the real module, which has its own shared object and structures."""
    needs_llama()
    bound = open_library("xllamacpp")

    class Params(bound.context_params):  # type: ignore[name-defined, misc]
        pass

    low = SimpleNamespace(_lib=bound.calls, llama_model_params=bound.model_params, llama_context_params=Params)
    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(llama_cpp=low))
    monkeypatch.setitem(sys.modules, "llama_cpp.llama_cpp", low)

    found = open_library("llama-cpp-python")
    assert found.context_params is Params
    assert isinstance(found.calls.llama_context_default_params(), Params)


def test_what_is_installed_is_listed_and_what_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_llama()
    names = [build.package for build in text_builds()]
    assert names[-1] == "edged"
    assert f"xllamacpp {XLLAMACPP} (cpu)" in map(str, text_builds())
    with pytest.raises(BugError):
        open_engine(Path("model.gguf"), "llama")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [build.package for build in text_builds()] == ["edged"]
    with pytest.raises(BoardError):
        open_engine(Path("model.gguf"), "llama", text=TextUse("embed"), prefer="litert")
    with pytest.raises(BoardError) as caught:
        open_engine(Path("model.gguf"), "llama", text=TextUse("embed"))
    assert caught.value.code == "engine-missing"
