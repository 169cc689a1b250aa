"""The daemon's log."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from edged.service.log import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


def test_an_event_is_one_json_line_with_its_name_and_pairs() -> None:
    stream = io.StringIO()
    configure("info", "auto", stream)
    structlog.get_logger("edged.stream").warning("broker-refused", broker="main", attempts=3)
    (line,) = logged(stream)
    assert list(line)[:4] == ["time", "level", "event", "logger"]
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {"level": "warning", "event": "broker-refused", "logger": "edged.stream", "broker": "main", "attempts": 3}


def test_the_standard_librarys_log_goes_the_same_way() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("paho").error("cannot %s", "connect")
    (line,) = logged(stream)
    assert (line["level"], line["event"], line["logger"]) == ("error", "cannot connect", "paho")


def test_warnings_are_logged() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old way", UserWarning, stacklevel=1)
    assert "old way" in logged(stream)[0]["event"]


def test_events_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in logged(stream)] == ["loud"]


def test_an_exception_is_part_of_its_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise ValueError("no such thing")
    except ValueError:
        structlog.get_logger().exception("op-failed")
    (line,) = logged(stream)
    assert "ValueError: no such thing" in line["exception"]


def test_values_that_json_does_not_know_are_still_logged() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    structlog.get_logger().info("odd", thing=io, name="\udcff", score=float("nan"))
    (line,) = logged(stream)
    assert line["event"] == "odd"
    assert line["name"] == "\udcff"


def test_lines_of_outside_text_stay_one_json_line() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    structlog.get_logger().info("message", topic='a\n{"level":"error"}\u2028')
    assert len(logged(stream)) == 1


def test_on_a_terminal_it_is_for_people() -> None:
    stream = Terminal()
    configure("info", "auto", stream)
    structlog.get_logger("edged.service").info("started", pid=7)
    assert "\x1b[" in stream.getvalue()
    assert "started" in stream.getvalue()


def test_console_lines_on_a_file_have_no_colour() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    structlog.get_logger("edged.service").info("started", pid=7)
    assert "\x1b" not in stream.getvalue()
    assert "pid=7" in stream.getvalue()


def test_outside_text_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    structlog.get_logger().info("message\x1b[2J", topic="a\x1b]0;owned\x07\nb")
    logging.getLogger("paho").warning("from \x1b[31m outside")
    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(logged(second)) == 1
