"""Set up the daemon's log: events with a name and key=value pairs, on one stream.

JSON, one object a line (`time`, `level`, `event`, `logger`, then what the event carries), for
the journal and other programs; on a terminal, lines for people. The standard library's
logging (paho, warnings) goes the same way. Nothing is logged once a message or once a
reading: callers count, and log changes.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_FIRST = ("time", "level", "event", "logger")
_MANY_LINES = ("exception", "stack")


def configure(level: str, format: str, stream: TextIO | None = None) -> None:
    """Send what is logged from now on to `stream`; None is standard error.

    `level` is debug, info, warning or error, `format` is auto, console or json; auto is
    console where `stream` is a terminal. May be called again.
    """
    stream = stream or sys.stderr
    number: int = getattr(logging, level.upper())
    console = format == "console" or (format == "auto" and stream.isatty())
    shared = _shared(console)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(stream)
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(_for_people(stream) if console else _for_programs())]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=number, force=True)
    logging.captureWarnings(True)


def _shared(console: bool) -> list[Processor]:
    stamp = structlog.processors.TimeStamper("%H:%M:%S", utc=False, key="time") if console else _iso_stamp()
    return [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamp]


def _iso_stamp() -> Processor:
    return structlog.processors.TimeStamper("iso", utc=True, key="time")


def _for_people(stream: TextIO) -> list[Processor]:
    traceback = structlog.dev.plain_traceback
    return [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", exception_formatter=traceback)]


def _for_programs() -> list[Processor]:
    return [structlog.processors.format_exc_info, _json]


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: topics and payloads are not to steer a person's terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key not in _MANY_LINES:
            event[key] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return event


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    try:
        return msgspec.json.encode(ordered, enc_hook=str).decode()
    except (TypeError, ValueError):
        # Such as a file name that is not UTF-8: rather an odd line than none.
        return json.dumps(ordered, default=str, skipkeys=True)
