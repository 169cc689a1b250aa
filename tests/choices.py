"""Demands with made-up numbers, for tests of the choice."""

from __future__ import annotations

from edged.select.terms import Choice, Demand, Limits, Option

WIDE = Limits(memory_mib=1e6, workers=3)


def option(variant: str, quality: float | None = 0.9, ms: float = 1.0, mib: float = 10.0, **more: object) -> Option:
    given_: dict[str, object] = {"engine": "tflite", "worst_ms": ms, "predicted_ms": ms, "predicted_mib": mib, **more}
    return Option(variant=variant, quality=quality, ms=ms, mib=mib, **given_)  # type: ignore[arg-type]


def demand(pipeline: str, *options: Option, class_: str = "normal", windows_per_s: float = 10.0, **more: object) -> Demand:
    given_: dict[str, object] = {"model": f"model-{pipeline}", "release": 1, "deadline_ms": 500.0, **more}
    return Demand(pipeline=pipeline, class_=class_, windows_per_s=windows_per_s, options=options, **given_)  # type: ignore[arg-type]


def names(choice: Choice) -> dict[str, str | None]:
    return {pipeline: chosen.variant if chosen else None for pipeline, chosen in choice.chosen.items()}
