"""What may stand in a topic of the configuration, and which topics meet.

A topic filter here is a list of levels, where `+` stands for any one level and a last `#` for
any number of levels, also none (MQTT 5.0, section 4.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edged.config.words import show

MAX_BYTES = 65_535  # MQTT 5.0, 1.5.4
OWN_NAMES = ("fleet", "device", "pipeline", "model")

_NAMED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Brokers close the connection over these; MQTT 5.0, 1.5.4 advises to.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Problem = tuple[str, str]


def names_in(topic: str) -> list[str]:
    """Give the names of the `{name}` levels of a topic, in their order."""
    return [match[1] for level in topic.split("/") if (match := _NAMED.fullmatch(level))]


def source_problems(topic: str) -> list[Problem]:
    """Say what is wrong with a source's topic, as pairs of text and hint; empty for a sound one."""
    problems = _text_problems(topic)
    for level in topic.split("/"):
        if "#" in level:
            problems.append(("has a `#`, which takes any number of levels", "give each level a name, `{name}`, or write `+`"))
        elif "+" in level and level != "+":
            problems.append((f"has a `+` inside the level {show(level)}", "let `+` be a whole level"))
    names = names_in(topic)
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append((f"names two levels `{{{name}}}`", "give each its own name"))
    for name in sorted(set(names) & set(OWN_NAMES)):
        problems.append(
            (f"calls a level `{{{name}}}`, which in output topics is edged's own", f"choose another name, such as `{{{name}_id}}`")
        )
    if topic.startswith("$share/"):
        problems.append(("is a shared subscription, which tears the readings of one stream apart", "subscribe to the topic itself"))
    return problems


def output_problems(topic: str, names: set[str] | None) -> list[Problem]:
    """Say what is wrong with an output's topic; `names` are the labels that its source gives (None: not known)."""
    problems = _text_problems(topic)
    if "+" in topic or "#" in topic:
        problems.append(("has a wildcard; a result goes to one topic", "write the level out, or as `{name}`"))
    if topic.startswith("$"):
        problems.append(("begins with `$`; such topics belong to the broker", "let it begin with another character"))
    for name in dict.fromkeys(names_in(topic)):
        if names is not None and name not in OWN_NAMES and name not in names:
            known = ", ".join(f"{{{each}}}" for each in (*OWN_NAMES, *sorted(names)))
            problems.append((f"has `{{{name}}}`, which the source does not give", f"known here: {known}"))
    return problems


def _text_problems(topic: str) -> list[Problem]:
    problems = []
    if not topic:
        problems.append(("is empty", "write a topic such as `plant/{line}/vibration`"))
    if len(topic.encode()) > MAX_BYTES:
        problems.append((f"is longer than {MAX_BYTES} bytes", "shorten it"))
    if _CONTROL.search(topic):
        problems.append(("has a control character, which brokers refuse", "remove it"))
    for level in topic.split("/"):
        if ("{" in level or "}" in level) and not _NAMED.fullmatch(level):
            hint = "a name fills a whole level: `a/{name}/b`; letters, digits and _, not beginning with a digit"
            problems.append((f"has a brace in the level {show(level)}", hint))
    return problems


def levels_of(topic: str, values: Mapping[str, str]) -> list[str]:
    """Make a filter of a topic of the configuration: names become their value, or `+` without one."""
    return [values.get(match[1], "+") if (match := _NAMED.fullmatch(level)) else level for level in topic.split("/")]


def overlap(one: list[str], other: list[str]) -> bool:
    """Tell whether some topic fits both filters.

    A wildcard in the first level does not stand for a level that begins with `$` (MQTT 5.0, 4.7.2).
    """
    if _hidden(one[0], other[0]) or _hidden(other[0], one[0]):
        return False
    for i in range(max(len(one), len(other))):
        if one[i : i + 1] == ["#"] or other[i : i + 1] == ["#"]:
            return True
        if i >= min(len(one), len(other)):
            return False
        if "+" not in (one[i], other[i]) and one[i] != other[i]:
            return False
    return True


def _hidden(wildcard: str, level: str) -> bool:
    return wildcard in ("+", "#") and level.startswith("$")
