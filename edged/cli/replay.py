"""`edged replay`: run the pipelines over a recording, the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from edged.service.rerun import Outcome

EPILOG = """\b
Examples:
  edged replay morning.rec
  edged replay pump.rec --config pump.toml --out results.jsonl
  edged replay pump.rec --json

Results go to standard output, one JSON object a line, or to --out; nothing is published.
Time is the recording's: the same recording and models give the same bytes."""


@click.command("replay", epilog=EPILOG)
@click.argument("recording", type=click.Path(exists=True, dir_okay=False))
@config_option
@click.option("--out", metavar="FILE", help="Write results there instead of standard output.")
@json_option
def command(recording: str, config: str | None, out: str | None, as_json: bool) -> None:
    """Replay a recording under a virtual clock."""
    from pathlib import Path

    import msgspec

    from edged.cli.progress import Progress
    from edged.cli.settings import load
    from edged.errors import BoardError
    from edged.service.rerun import rerun
    from edged.stream.formats.choose import make_format
    from edged.stream.outputs.file import FileOutput
    from edged.stream.outputs.stdout import StdoutOutput

    encode = make_format("json").encode
    output = FileOutput(Path(out), encode) if out else StdoutOutput(encode, 2 if as_json else 1)
    progress = Progress("replaying: ")
    outcome = rerun(load(config), Path(recording), output, lambda count: progress.show(f"{count:,} messages"))
    progress.end()
    output.close()
    if output.failing:
        raise BoardError("cannot-write", output.failing, "free space or name another --out")
    if as_json:
        click.echo(msgspec.json.encode(_summary(outcome)))
    else:
        _tell(outcome)


def _summary(outcome: Outcome) -> dict[str, Any]:
    pipelines = {
        pipeline.name: {
            "readings": pipeline.counters.readings,
            "windows": pipeline.counters.windows,
            "results": pipeline.counters.results,
            "rejected": pipeline.counters.rejected,
            "dropped": pipeline.counters.dropped,
        }
        for pipeline in outcome.pipelines
    }
    return {"messages": outcome.messages, "skipped": outcome.skipped, "cut_at": outcome.cut_at or None, "pipelines": pipelines}


def _tell(outcome: Outcome) -> None:
    for pipeline in outcome.pipelines:
        c = pipeline.counters
        line = f"{pipeline.name}: {c.readings:,} readings, {c.windows:,} windows, {c.results:,} results"
        for word, counts in (("rejected", c.rejected), ("dropped", c.dropped)):
            if counts:
                line += f", {word} " + ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        click.echo(line, err=True)
    if outcome.cut_at:
        click.echo(f"the recording is cut short in line {outcome.cut_at}; what is before it was replayed", err=True)
    if outcome.skipped:
        click.echo(f"{outcome.skipped:,} messages were of pipelines that this configuration does not have", err=True)
