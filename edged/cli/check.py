"""`edged check`: is the configuration sound, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from edged.config.load import Loaded
    from edged.config.schema import Pipeline

EPILOG = """\b
Examples:
  edged check
  edged check --config pump.toml
  edged check --json

Exit code 0: no faults. 3: faults, each with its file, line and what to write instead."""


@click.command("check", epilog=EPILOG)
@config_option
@json_option
def command(config: str | None, as_json: bool) -> None:
    """Report every fault of a configuration and of the models it names."""
    import msgspec

    from edged.cli.settings import load

    loaded = load(config)
    faults = [
        *_profile_faults(loaded),
        *_broker_faults(loaded),
        *(fault for pipeline in loaded.config.pipelines for fault in _model_faults(loaded, pipeline)),
    ]
    if as_json:
        click.echo(msgspec.json.encode({"config": str(loaded.path), "faults": faults}))
    elif faults:
        click.echo("\n".join(faults))
    else:
        count = len(loaded.config.pipelines)
        click.echo(f"{loaded.path}: no faults; {count} pipeline{'s' * (count != 1)}")
    if faults:
        raise SystemExit(3)


def _profile_faults(loaded: Loaded) -> list[str]:
    from edged.board.profile import AUTO, load_profile
    from edged.errors import OperatorError

    try:
        if loaded.config.device.profile != AUTO:
            load_profile(loaded.config.device.profile)
    except OperatorError as error:
        return [f"{loaded.path}: device.profile: {error.text}; {error.hint}"]
    return []


def _broker_faults(loaded: Loaded) -> list[str]:
    from importlib.util import find_spec

    embedded = [name for name, broker in loaded.config.mqtt.items() if broker.url == "embedded"]
    if not embedded or find_spec("iotcore"):
        return []
    return [f"{loaded.path}: mqtt.{embedded[0]}.url: the embedded broker is not installed; pip install 'edged[demo]'"]


def _model_faults(loaded: Loaded, pipeline: Pipeline) -> list[str]:
    """Say what is wrong with the release a pipeline would run, one line each: its files are read, no model is run."""
    from pathlib import Path

    from edged.errors import EdgedError
    from edged.models.active import active_release
    from edged.models.manifest import examine
    from edged.packing.check import check_graphs
    from edged.packing.texts import count_texts
    from edged.stream.build import check_channels

    try:
        if pipeline.model_dir:
            examined = examine(Path(pipeline.model_dir))
            check_graphs(examined)
            count_texts(examined)
            faults = sorted(examined.document.faults, key=lambda fault: fault.line)
            if faults or examined.manifest is None:
                return [str(fault) for fault in faults]
            manifest = examined.manifest
        else:
            manifest = active_release(loaded.state_dir, pipeline.model).manifest
        check_channels(pipeline, manifest)
    except EdgedError as error:
        if error.code == "no-such-model" and loaded.config.fleet.root:
            return []  # the fleet brings it
        return [f"{loaded.path}: pipelines.{pipeline.name}: {error.text}" + (f"; {error.hint}" if error.hint else "")]
    return []
