"""What a pipeline counts while it runs; written by its worker, read by whoever looks."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.histogram import RecentHistogram


@dataclass
class Counters:
    """Totals since the start. `rejected` and `dropped` are by stable reason.

    `latency` is that of results, `infer` what a window took in the model that runs now, both in ms.
    """

    latency: RecentHistogram
    infer: RecentHistogram
    messages: int = 0
    readings: int = 0
    windows: int = 0
    failed_windows: int = 0  # without a result: the model raised, or gave no number
    results: int = 0
    filled: int = 0  # readings made up by the gap rules `hold` and `interpolate`
    late_results: int = 0  # results after the pipeline's deadline
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    last_result_ns: int = 0  # wall time; 0: none yet
    last_result_mono: int = 0
    last_output: dict[str, object] = field(default_factory=dict)

    def reject(self, reason: str, count: int = 1) -> None:
        """Count refused messages or readings."""
        self.rejected[reason] = self.rejected.get(reason, 0) + count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count readings or results that were let go."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
