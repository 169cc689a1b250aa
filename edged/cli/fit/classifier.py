"""`edged fit classifier`: labels for texts, learnt from rows that have them."""

from __future__ import annotations

import click


@click.command("classifier")
def command() -> None:
    """Fit classifiers of texts on labelled rows, and put them into a release."""
