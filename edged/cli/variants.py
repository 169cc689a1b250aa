"""The table of a release's variants and what each costs; pure."""

from __future__ import annotations

from edged.cli.columns import Cell, Column, clean, table
from edged.cli.wording import NOTHING, amount
from edged.models.costs import Costs
from edged.models.schema import Manifest, Variant

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
_TEXT_COLUMNS = (
    Column("VARIANT", least=8),
    Column("ENGINE"),
    Column("BY"),
    Column("COMPUTE"),
    Column("QUALITY", right=True),
    Column("FILE MiB", right=True),
    Column("READ MiB", right=True),
    Column("KV KiB", right=True),
    Column("M PARAMETERS", right=True),
)
_MIB = 1 << 20


def variants_table(manifest: Manifest, costs: dict[str, Costs], width: int, colour: bool) -> list[str]:
    """Lay out one row for each variant, in lines of at most `width` columns.

    Of language models what counts is what a new token reads, and what it leaves behind as keys and values.
    """
    is_text = manifest.input.kind == "text"
    columns, cells = (_TEXT_COLUMNS, _text_cells) if is_text else (_COLUMNS, _cells)
    rows = [(variant, costs.get(variant.name)) for variant in manifest.variants]
    texts = [cells(variant, cost) if cost else _unknown(manifest, variant, len(columns)) for variant, cost in rows]
    return table(columns, [[Cell(clean(text)) for text in row] for row in texts], width, colour)


def _unknown(manifest: Manifest, variant: Variant, columns: int) -> list[str]:
    known = [variant.name, variant.engine]
    known += [_way(variant)] if manifest.input.kind == "text" else []
    known += [NOTHING, _quality(variant)]
    return [*known, *[NOTHING] * (columns - len(known))]


def _cells(variant: Variant, cost: Costs) -> list[str]:
    return [
        variant.name,
        variant.engine,
        cost.compute,
        _quality(variant),
        amount(cost.file_bytes / 1024),
        amount(cost.weight_bytes / 1024),
        amount(cost.arena_bytes / 1024),
        amount(cost.macs_total / 1e6),
        "yes" if cost.stateful else "no",
    ]


def _text_cells(variant: Variant, cost: Costs) -> list[str]:
    text = cost.text
    parameters = text.parameters if text else cost.weight_bytes // 4
    return [
        variant.name,
        variant.engine,
        _way(variant),
        cost.compute,
        _quality(variant),
        amount(cost.file_bytes / _MIB),
        amount(text.token_bytes / _MIB) if text else NOTHING,
        amount(text.kv_bytes / 1024) if text else NOTHING,
        amount(parameters / 1e6),
    ]


def _way(variant: Variant) -> str:
    """Say in a word what makes the answer."""
    return "words" if variant.engine == "linear" else "head" if variant.head else "tokens"


def _quality(variant: Variant) -> str:
    return NOTHING if variant.quality is None else f"{variant.quality:g}"
