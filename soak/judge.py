"""Hold what came against what was published, and put it in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soak.lacks import Kill, lack_of
from soak.ledger import Ledger
from soak.publisher import Publisher
from soak.report import Report, some
from tests.daemon import Status


def judge(report: Report, status: Status, ledger: Ledger, publisher: Publisher, kills: Sequence[Kill] = (), device: str = "") -> None:
    """Put what lacks, what is wrong and what is out of order into the report, and the totals; where there are several, of a `device`.

    `status` is the daemon's last word; it tells what its last run let go, and why.
    """
    tracks = list(ledger.tracks.values())
    lacks = [lack_of(track, publisher.sent[track.signal.name][track.key], kills) for track in tracks]
    found = {
        "never came": [text for lack in lacks for text in lack.texts],
        "out of order": [text for track in tracks if not track.signal.spans for text in track.disorder],
        "wrong results": [text for track in tracks for text in track.wrong] + ledger.strays,
    }
    of = f"{device}: " if device else ""
    for what, texts in found.items():
        report.expect(not texts, f"{of}{what}: {some(texts)}")
    marks = [mark for track in tracks for mark in track.marks()]
    report.expect(len(set(marks)) == len(marks), f"{of}results of different windows share one id and output")
    totals = {
        "messages_published": publisher.messages,
        "windows": ledger.windows,
        "duplicates": ledger.results - ledger.windows,
        "lacking": sum(lack.count for lack in lacks),
        "unfinished_at_a_kill": sum(lack.explained for lack in lacks),
        **_let_go(status),
    }
    report.number(**({device: totals} if device else totals))


def _let_go(status: Status) -> dict[str, Any]:
    """Give what a daemon rejected or dropped, by reason, where it did."""
    counts = {f"{each['name']}_let_go": {**each["rejected"], **each["dropped"]} for each in status["pipelines"]}
    counts["spool_let_go"] = status["spool"]["dropped"]
    return {name: reasons for name, reasons in counts.items() if reasons}
