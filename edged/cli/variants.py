"""The table of a release's variants and what each costs; pure."""

from __future__ import annotations

from edged.cli.columns import Cell, Column, clean, table
from edged.cli.wording import NOTHING, amount
from edged.models.costs import Costs
from edged.models.schema import Manifest

_COLUMNS = (
    Column("VARIANT", least=8),
    Column("ENGINE"),
    Column("COMPUTE"),
    Column("QUALITY", right=True),
    Column("FILE KiB", right=True),
    Column("WEIGHTS KiB", right=True),
    Column("ARENA KiB", right=True),
    Column("MMAC", right=True),
    Column("STATEFUL"),
)


def variants_table(manifest: Manifest, costs: dict[str, Costs], width: int, colour: bool) -> list[str]:
    """Lay out one row for each variant, in lines of at most `width` columns."""
    return table(_COLUMNS, [_row(manifest, i, costs) for i in range(len(manifest.variants))], width, colour)


def _row(manifest: Manifest, i: int, costs: dict[str, Costs]) -> list[Cell]:
    variant = manifest.variants[i]
    cost = costs.get(variant.name)
    quality = NOTHING if variant.quality is None else f"{variant.quality:g}"
    if cost is None:
        return [Cell(clean(text)) for text in (variant.name, variant.engine, NOTHING, quality, *[NOTHING] * 5)]
    texts = (
        variant.name,
        variant.engine,
        cost.compute,
        quality,
        amount(cost.file_bytes / 1024),
        amount(cost.weight_bytes / 1024),
        amount(cost.arena_bytes / 1024),
        amount(cost.macs_total / 1e6),
        "yes" if cost.stateful else "no",
    )
    return [Cell(clean(text)) for text in texts]
