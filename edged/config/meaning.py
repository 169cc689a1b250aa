"""What the keys of a configuration mean together, beyond the type of each.

Works on a draft, in which a part with a fault of its own is None: what is sound is judged
even where the rest is not, so that a person sees all faults in one go.
"""

from __future__ import annotations

import math
import re

from edged.config.addresses import EMBEDDED, BadAddress, parse_broker_url, parse_listen
from edged.config.check import Document
from edged.config.decoding import check_decoder
from edged.config.files import check_files
from edged.config.places import Path
from edged.config.schema import NAME, NAME_WORDS, Broker, Config, Pipeline
from edged.config.wiring import check_wiring, pipelines_of
from edged.config.words import show

MAX_SOCKET_BYTES = 107  # sun_path of Linux is 108 bytes with its last NUL


def check_meaning(config: Config, device_id: str, document: Document) -> None:
    """Note each contradiction in `config`, a draft with resolved paths; looks for the files that it names."""
    if config.device is not None and config.device.id:
        _check_name(config.device.id, ("device", "id"), document)
    for name, broker in (config.mqtt or {}).items():
        _check_name(name, ("mqtt", name), document)
        if broker is not None:
            _check_broker(broker, ("mqtt", name), document)
    for i, pipeline in pipelines_of(config):
        _check_pipeline(pipeline, ("pipelines", i), document)
    if config.fleet is not None and config.fleet.repositories is not None:
        _check_repositories(config.fleet.repositories, document)
    if config.metrics is not None and config.metrics.listen:
        _check_listen(config.metrics.listen, document)
    if config.control is not None and config.control.socket:
        _check_socket(config.control.socket, document)
    check_wiring(config, device_id, document)
    check_files(config, document)


def _check_name(name: str, path: Path, document: Document) -> None:
    if not re.search(NAME, name):
        document.fault(path, "bad-name", f"{show(name)} is not a name", f"write {NAME_WORDS}")


def _check_broker(broker: Broker, path: Path, document: Document) -> None:
    if broker.url is not None and broker.url != EMBEDDED:
        try:
            url = parse_broker_url(broker.url)
        except BadAddress as error:
            text, hint = error.args
            # The address is not repeated: a password may stand in it.
            document.fault((*path, "url"), "bad-url", text, hint)
        else:
            if url.scheme in ("mqtt", "ws"):
                _check_no_tls(broker, url.scheme, path, document)
    for one, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(broker, one) and getattr(broker, other) == "":
            document.fault((*path, one), "half-certificate", f"stands without `{other}`", f"add `{other} = …`: the two belong together")
    if broker.password_file and broker.username == "":
        document.fault((*path, "password_file"), "no-username", "stands without `username`", "add `username = …`")


def _check_no_tls(broker: Broker, scheme: str, path: Path, document: Document) -> None:
    for key in ("ca_file", "cert_file", "key_file"):
        if getattr(broker, key):
            text = f"is of no use: a `{scheme}://` link is not encrypted"
            document.fault((*path, key), "tls-unused", text, f"write the URL with `{scheme}s://`, or remove this key")


def _check_pipeline(pipeline: Pipeline, path: Path, document: Document) -> None:
    if pipeline.model == "" and pipeline.model_dir == "":
        document.fault(path, "no-model", "names no model", 'add `model = "name"`, or `model_dir = "path"`')
    if pipeline.model and pipeline.model_dir:
        document.fault((*path, "model_dir"), "two-models", "stands beside `model`", "keep one of the two")
    if pipeline.model:
        _check_name(pipeline.model, (*path, "model"), document)
    if pipeline.deadline_ms is not None and not math.isfinite(pipeline.deadline_ms):
        document.fault((*path, "deadline_ms"), "bad-value", "is not finite", "write a number of milliseconds")
    if pipeline.outputs == []:
        document.fault((*path, "outputs"), "no-output", "is empty: the results would go nowhere", "name one, or remove the key")
    if pipeline.decoder is not None:
        check_decoder(pipeline.decoder, (*path, "decoder"), document)


def _check_repositories(repositories: list[str], document: Document) -> None:
    for i, each in enumerate(repositories):
        path = ("fleet", "repositories", i)
        if "://" in each and not re.match(r"https?://[^/\s?#@]+(/[^\s?#]*)?\Z", each):
            text = f"{show(each)} is not the address of a web server's folder"
            document.fault(path, "bad-url", text, "write `https://host/folder`, without user, `?` and `#`")
        elif not each or "\0" in each:
            document.fault(path, "bad-path", "is not a place", 'write "mqtt", an https:// address, or a folder')
        if each in repositories[:i]:
            document.fault(path, "duplicate-name", f"{show(each)} stands there twice", "remove one of the two")


def _check_listen(listen: str, document: Document) -> None:
    try:
        parse_listen(listen)
    except BadAddress as error:
        text, hint = error.args
        document.fault(("metrics", "listen"), "bad-address", f"{show(listen)} {text}", hint)


def _check_socket(socket: str, document: Document) -> None:
    if "\0" in socket or len(socket.encode()) > MAX_SOCKET_BYTES:
        text = f"is not the path of a socket: the system takes at most {MAX_SOCKET_BYTES} bytes"
        document.fault(("control", "socket"), "bad-path", text, "choose a shorter path")
