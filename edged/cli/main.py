"""The `edged` command: finds the sub-command, shows errors, sets the exit code.

A sub-command is the file of its name in this folder, which exports `command`; it is imported
when it is called, so that `edged status` does not pay for `edged run`. Exit codes: 0 fine,
1 failed, 2 usage, 3 configuration, 4 daemon not reachable, 5 unhealthy, 6 refused by trust,
7 does not fit this board; 130 Ctrl-C, 141 the reader of our output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from edged import __version__
from edged.cli.late import LateGroup
from edged.errors import BugError, ConfigFaults, EdgedError, Fault, ReleaseFaults

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

COMMANDS = {
    "run": "Run the pipelines of a configuration.",
    "check": "Report every fault of a configuration and of the models it names.",
    "demo": "Try it out: a broker, a sensor and a model on this machine.",
    "status": "Show what runs, how well, and what is wrong.",
    "top": "Show the status live.",
    "doctor": "Check this board and this installation, and say how to mend what is wrong.",
    "models": "List, show, install and remove models.",
    "why": "Say which variant of each model runs, and why not the others.",
    "board": "Show what this board is, measure it, or simulate another.",
    "fit": "Fit classifiers and thresholds of a release on labelled rows.",
    "pack": "Check a model release and make it ready to install.",
    "eval": "Say what each variant of a release is worth on labelled data.",
    "bench": "Measure how fast a model runs on this board.",
    "fleet": "Sign releases and orders for a fleet of boards, publish them, and watch.",
    "record": "Record what comes from a source into a file.",
    "replay": "Run a recording through a pipeline.",
    "serial": "Show what a microcontroller sends, before anything is configured.",
    "service": "Install or remove the service that runs edged at every boot.",
}


@click.group(cls=LateGroup, package="edged.cli", summaries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, message="edged %(version)s")
def cli(debug: bool) -> None:
    """Run small quantized models over streams of readings and texts, on the board beside the machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; give the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # Serial consoles are often not UTF-8: rather a `?` than no answer.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code


def _run(args: list[str]) -> int:
    context = None
    try:
        context = cli.make_context("edged", args.copy())
        with context:
            cli.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if context and context.params["debug"]:
            _show_traceback()
        shown = error if isinstance(error, EdgedError) else _bug(error)
        _show(shown, as_json="--json" in args)
        return shown.exit_code
    return 0


def _show(error: EdgedError, as_json: bool) -> None:
    """Say what is wrong, where and what next on standard error; with `--json` as JSON on standard output too."""
    from edged.cli.columns import clean

    faults: list[Fault] = error.faults if isinstance(error, (ConfigFaults, ReleaseFaults)) else []
    for fault in faults:
        click.echo(clean(str(fault)), err=True)
    click.echo(clean(f"edged: {error.text} [{error.code}]"), err=True)
    if error.hint:
        click.echo(clean(f"  → {error.hint}"), err=True)
    if as_json:
        import msgspec

        shown: dict[str, Any] = {**error.as_dict(), "faults": faults} if faults else {**error.as_dict()}
        click.echo(msgspec.json.encode({"error": shown}))


def _bug(error: Exception) -> BugError:
    hint = "this is a fault of edged: run it again as `edged --debug …` and report what it prints"
    return BugError("internal", f"{type(error).__name__}: {error}", hint)


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
