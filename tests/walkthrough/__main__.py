"""`python -m tests.walkthrough releases FOLDER` writes the example releases; `readings --port N` publishes a sensor's readings."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.walkthrough", description="What docs/fleet.md needs for trying it out.")
    commands = parser.add_subparsers(dest="command", required=True)
    releases = commands.add_parser("releases", help="write four releases of one model into a folder")
    releases.add_argument("folder", type=Path)
    readings = commands.add_parser("readings", help="publish what a vibration sensor reads, until Ctrl-C")
    readings.add_argument("--port", type=int, default=1883, help="of a broker on this machine")
    args = parser.parse_args()
    if args.command == "releases":
        from tests.walkthrough.releases import write_all

        write_all(args.folder)
    else:
        from tests.walkthrough.readings import publish

        publish(args.port)


if __name__ == "__main__":
    main()
