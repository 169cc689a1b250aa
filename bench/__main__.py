"""Run all benchmarks, or those named: `python -m bench [--quick] [NAME …]`; `--help` lists the names.

Each runs the plain script and the daemon in turn, several times, in the same minutes, and
prints the medians and their ratio beside the bar. Nothing here fails: a bar that is missed is
printed as missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import links, push, serial, swap, text, text_accuracy, text_extract
from bench.load import Message, Results, Sender, json_messages, packed_messages
from bench.parties import EDGED, PACKED, broker, cpu_s, edged, plain, processor, pss_mib, recording
from bench.trial import trial_rows

SAMPLES, HOP = 260, 130
QUICK = "--quick" in sys.argv
ROUNDS = 1 if QUICK else 3
START_MS = 1_700_000_000_000
OUT = {"plain": "bench-out/#", "edged": "edged/1/+/+/out/+"}

Party = Callable[[int], AbstractContextManager[int]]


@dataclass
class Run:
    """What one run of one party came to: messages a second, microseconds of CPU a message, MiB."""

    rate: float
    cpu_us: float
    pss: float


def measure(party: Party, name: str, messages: list[Message], windows: int) -> Run:
    """Send all messages as fast as they are taken; done when the last window's result came in."""
    with broker() as port, party(port) as pid:
        results, sender = Results(port, OUT[name]), Sender(port)
        before, start = cpu_s(pid), time.perf_counter()
        sender.send(messages)
        if not results.wait_for(windows):
            print(f"  {name}: {len(results.times)} of {windows} results came")
        took = (results.times[-1] if results.times else time.perf_counter()) - start
        used, pss = cpu_s(pid) - before, pss_mib(pid)
        results.close()
        sender.close()
    return Run(len(messages) / took, used / len(messages) * 1e6, pss)


def median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, field) for run in runs) for field in ("rate", "cpu_us", "pss")))


def in_turn(messages: list[Message], windows: int) -> tuple[Run, Run]:
    """Measure plain and edged in turn, so that a drift of the machine meets both."""
    runs: dict[str, list[Run]] = {"plain": [], "edged": []}
    for _ in range(ROUNDS):
        runs["plain"].append(measure(plain, "plain", messages, windows))
        runs["edged"].append(measure(edged, "edged", messages, windows))
    return median(runs["plain"]), median(runs["edged"])


def bench_cpu() -> None:
    """CPU time per reading: one JSON reading a message, QoS 1."""
    count = 30_000 if QUICK else 100_000
    messages = json_messages(recording(), count, [b"bench/1/vib"], START_MS)
    theirs, ours = in_turn(messages, (count - SAMPLES) // HOP + 1)
    line(
        "CPU time per reading",
        f"plain {theirs.cpu_us:.1f} µs, edged {ours.cpu_us:.1f} µs",
        ours.cpu_us / theirs.cpu_us,
        "≤ 1, aim 0.67",
        1.0,
    )
    line("wall-clock rate", f"plain {theirs.rate:,.0f}/s, edged {ours.rate:,.0f}/s", ours.rate / theirs.rate, "≥ 1", 1.0, above=True)


def bench_packed() -> None:
    """Throughput with 128 packed readings a message, against one JSON reading a message."""
    count = 30_000 if QUICK else 100_000
    single = json_messages(recording(), count, [b"bench/1/vib"], START_MS)
    packed = packed_messages(recording(), count // 5, b"bench/1/vib", 128)
    readings = len(packed) * 128
    slow, fast, theirs = [], [], []
    for _ in range(ROUNDS):
        theirs.append(measure(plain, "plain", single, (count - SAMPLES) // HOP + 1))
        slow.append(measure(edged, "edged", single, (count - SAMPLES) // HOP + 1))
        fast.append(measure(lambda port: edged(port, PACKED), "edged", packed, (readings - SAMPLES) // HOP + 1))
    one, many = median(slow).rate, median(fast).rate * 128
    plainly = median(theirs).rate
    line(
        "128 packed readings a message",
        f"JSON {one:,.0f} readings/s, packed {many:,.0f} readings/s",
        many / one,
        "≥ 20, aim 40",
        20.0,
        above=True,
    )
    line("the same, against the plain script", f"plain JSON {plainly:,.0f}/s, packed {many:,.0f} readings/s", many / plainly, "–")


def bench_keys() -> None:
    """1,000 keys against one key; each key completes one window."""
    keys, each = (200, 270) if QUICK else (1000, 270)
    topics = [b"bench/%d/vib" % i for i in range(keys)]
    many_keys = json_messages(recording(), keys * each, topics, START_MS)
    one_key = json_messages(recording(), keys * each, topics[:1], START_MS)
    one, many = [], []
    for _ in range(ROUNDS):
        one.append(measure(edged, "edged", one_key, (len(one_key) - SAMPLES) // HOP + 1))
        many.append(measure(edged, "edged", many_keys, keys))
    a, b = median(one), median(many)
    line(f"{keys} keys", f"one key {a.rate:,.0f}/s, {keys} keys {b.rate:,.0f}/s", b.rate / a.rate, "≥ 0.8", 0.8, above=True)
    line(f"{keys} keys, CPU per reading", f"one key {a.cpu_us:.1f} µs, {keys} keys {b.cpu_us:.1f} µs", b.cpu_us / a.cpu_us, "–")


def bench_latency() -> None:
    """Latency, message in to result out, at half the plain script's rate."""
    count = 20_000 if QUICK else 60_000
    messages = json_messages(recording(), count, [b"bench/1/vib"], START_MS)
    half = measure(plain, "plain", messages, (count - SAMPLES) // HOP + 1).rate / 2
    p99: dict[str, list[float]] = {"plain": [], "edged": []}
    p50: dict[str, list[float]] = {"plain": [], "edged": []}
    for _ in range(ROUNDS):
        for name, party in (("plain", plain), ("edged", edged)):
            waits = sorted(_latencies(party, name, messages, half))
            p50[name].append(waits[len(waits) // 2])
            p99[name].append(waits[int(len(waits) * 0.99)])
    middle = {name: (statistics.median(p50[name]), statistics.median(p99[name])) for name in p99}
    text = ", ".join(f"{name} p50 {a:.2f} p99 {b:.2f} ms" for name, (a, b) in middle.items())
    added = middle["edged"][1] - middle["plain"][1]
    line(f"latency at {half:,.0f} messages/s", text, added, "added p99 ≤ 5 ms", 5.0)


def _latencies(party: Party, name: str, messages: list[Message], rate: float) -> list[float]:
    with broker() as port, party(port) as _:
        results, sender = Results(port, OUT[name]), Sender(port)
        sent = sender.send(messages, rate)
        completing = list(range(SAMPLES - 1, len(messages), HOP))
        results.wait_for(len(completing))
        waits = [(came - sent[i]) * 1000 for i, came in zip(completing, results.times)]
        results.close()
        sender.close()
    return waits


def bench_memory() -> None:
    """Memory of the daemon with one TFLite pipeline, after 20,000 readings."""
    messages = json_messages(recording(), 20_000, [b"bench/1/vib"], START_MS)
    runs = [measure(edged, "edged", messages, (len(messages) - SAMPLES) // HOP + 1).pss for _ in range(ROUNDS)]
    line("memory of the daemon (PSS)", f"{statistics.median(runs):.1f} MiB", statistics.median(runs), "≤ 75 MiB", 75.0)


def bench_status() -> None:
    """Wall time of `edged status`."""
    with broker() as port, edged(port) as _:
        walls = []
        for _ in range(5 if QUICK else 15):
            start = time.perf_counter()
            subprocess.run([str(EDGED), "status"], capture_output=True, check=True)
            walls.append(time.perf_counter() - start)
    line("edged status", f"{statistics.median(walls):.3f} s, slowest {max(walls):.3f} s", statistics.median(walls), "≤ 0.25 s", 0.25)


def bench_swap() -> None:
    """Another release under full load: how long nothing is served, with one stream and with 1,000."""
    for streams in (1, 1000):
        seen = swap.pauses(streams, 10 if QUICK else swap.SWAPS)
        line(f"swap, {streams:,} streams: not serving", swap.in_words(seen.gap), max(seen.gap) / 1000, "≤ 1 s", 1.0)
        line("the same: from result to result", swap.in_words(seen.results), max(seen.results) / 1000, "≤ 1 s", 1.0)


def bench_trial() -> None:
    """Latency while releases are tried beside the daemon."""
    for what, (p50, p99, missing) in trial_rows(3.0 if QUICK else 10.0).items():
        line(f"trial beside: {what}", f"p50 {p50:.2f} ms, {missing} results missing", p99, "p99, ms")


def bench_push() -> None:
    """A model of 250 MB comes over Mosquitto to a daemon that serves."""
    seen = [push.push(50 if QUICK else 250 / 1.048576) for _ in range(ROUNDS)]
    rate, extra = statistics.median(each.rate for each in seen), max(each.extra for each in seen)
    line("push over Mosquitto", f"{', '.join(f'{each.rate:.0f}' for each in seen)} MB/s", rate, "≥ 40 MB/s", 40.0, above=True)
    line("extra memory of the daemon (PSS)", f"{', '.join(f'{each.extra:.1f}' for each in seen)} MiB", extra, "≤ 60 MiB", 60.0)
    ratio = max(each.ratio for each in seen)
    line("bytes received by size", f"{', '.join(f'{each.ratio:.4f}' for each in seen)}", ratio, "≤ 1.05", 1.05)
    for what, rows in (("without a push", [each.before for each in seen]), ("during it", [each.during for each in seen])):
        p50, p99 = (statistics.median(row[i] for row in rows) for i in (0, 1))
        line(f"readings {what}", f"p50 {p50:.2f} ms, {sum(row[2] for row in rows)} results missing", p99, "p99, ms")


def bench_links() -> None:
    """A model comes over bad links."""
    for what, spoil in links.LINKS.items():
        seconds, ratio = links.over(spoil)
        line(f"12 MiB: {what}", f"{seconds:.1f} s", ratio, "≤ 1.05", 1.05)


def bench_text() -> None:
    """Texts: label scoring, embeddings, new tokens, words; and windows meanwhile."""
    for row in text.rows(QUICK):
        line(row.what, row.text, row.value, row.bar, row.limit, row.above)


def bench_serial() -> None:
    """A serial line: processor time, latency, and how much goes through."""
    for row in serial.rows(QUICK):
        line(row.what, row.text, row.value, row.bar, row.limit, row.above)


def line(what: str, text: str, value: float, bar: str, limit: float | None = None, above: bool = False) -> None:
    """Print one row."""
    verdict = "" if limit is None else "met" if (value >= limit if above else value <= limit) else "MISSED"
    print(f"{what:34} {text:58} {value:8.2f}  {bar:16} {verdict}", flush=True)


BENCHES = {
    "cpu": bench_cpu, "packed": bench_packed, "latency": bench_latency,
    "keys": bench_keys, "memory": bench_memory, "status": bench_status, "swap": bench_swap, "trial": bench_trial,
    "push": bench_push, "links": bench_links, "serial": bench_serial, "text": bench_text, "text-accuracy": lambda: text_accuracy.run(QUICK),
    "text-extract": lambda: text_extract.run(QUICK),
}  # fmt: skip
HELP = f"usage: python -m bench [--quick] [NAME …]: {' '.join(BENCHES)}; without names, all"


def main() -> None:
    """Run what the command line names."""
    if options := {word for word in sys.argv[1:] if word.startswith("-")} - {"--quick"}:
        sys.exit(HELP if options <= {"-h", "--help"} else f"unknown: {', '.join(sorted(options))}\n{HELP}")
    named = [word for word in sys.argv[1:] if not word.startswith("-")] or list(BENCHES)
    if unknown := set(named) - set(BENCHES):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there is {', '.join(BENCHES)}")
    print(f"{processor()}, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}, medians of {ROUNDS}")
    for name in named:
        BENCHES[name]()


if __name__ == "__main__":
    main()
