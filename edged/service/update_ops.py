"""What the control socket may ask of updates: install, activate, roll back, cancel, remove, pin."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO

from msgspec import Meta

from edged.config.schema import NAME, NAME_WORDS
from edged.errors import OperatorError, PeerError
from edged.fleet.agent import Agent
from edged.models.entries import Moved, Policy
from edged.models.schema import MAX_RELEASE
from edged.models.section import regular_size
from edged.models.source import FilesSource, PackSource, Source
from edged.service.request import Request

Number = Annotated[int, Meta(ge=1, le=MAX_RELEASE)]


def _install(agent: Agent, request: Request) -> dict[str, Any]:
    name = request.arg("source", str, "files that were handed over")[:1000]
    return _taken(agent.install(_source(request, name), _policy(request)))


def _source(request: Request, name: str) -> Source:
    names = request.arg("names", list[str], [])
    if len(request.files) != (len(names) or 1) or len(set(names)) != len(names):
        raise PeerError("malformed-request", "not a request: one open file for each name is needed, or one for a pack")
    for each in request.files:
        regular_size(each, name)  # refused while they are still the request's, which closes them
    files: list[BinaryIO] = [os.fdopen(each, "rb") for each in request.take_files()]
    return FilesSource(dict(zip(names, files, strict=True)), name) if names else PackSource(files[0], name)


def _activate(agent: Agent, request: Request) -> dict[str, Any]:
    return _taken(agent.activate(_model(request), request.arg("release", Number), _policy(request)))


def _rollback(agent: Agent, request: Request) -> dict[str, Any]:
    model = _model(request)
    return {"model": model, "release": agent.rollback(model)}


def _cancel(agent: Agent, request: Request) -> dict[str, Any]:
    model = _model(request)
    agent.cancel(model)
    return {"model": model}


def _remove(agent: Agent, request: Request) -> dict[str, Any]:
    model, release = _model(request), request.arg("release", Number)
    agent.remove(model, release)
    return {"model": model, "release": release}


def _pin(agent: Agent, request: Request) -> dict[str, Any]:
    model, release, on = _model(request), request.arg("release", Number), request.arg("on", bool, True)
    agent.pin(model, release, on)
    return {"model": model, "release": release, "on": on}


def _model(request: Request) -> str:
    name: str = request.arg("model", str)
    if not re.match(NAME, name):
        raise OperatorError("no-such-model", f"{name[:64]!r} is not the name of a model", f"a name has {NAME_WORDS}")
    return name


def _policy(request: Request) -> Policy:
    policy: Policy = request.arg("policy", Policy, Policy())
    return policy


def _taken(moved: Moved) -> dict[str, Any]:
    return {"model": moved.model, "release": moved.release, "state": moved.state}


OPS: dict[str, Callable[[Agent, Request], Any]] = {
    "install": _install,
    "activate": _activate,
    "rollback": _rollback,
    "cancel": _cancel,
    "remove": _remove,
    "pin": _pin,
}
