"""Hand the streams of a pipeline from one run to the next: `dump` after its last batch, `restore` before its first.

Results are then those of one run without a stop, with one exception: of a graph with state
nobody can save what it remembers, so its windows and its smoothing begin anew, as after a gap.
"""

from __future__ import annotations

from edged.stream.assembly import LET_GO, Assembly
from edged.stream.carried import CARRY_DAMAGED, CARRY_TOO_LARGE, GRAPH_STATE, Carried, CarriedStream, Identity, Restored
from edged.stream.streams import Stream


def dump(assembly: Assembly, identity: Identity) -> Carried:
    """Give what another run needs to go on. Not while a batch is worked on."""
    streams = assembly.streams
    carried = [_dump_stream(assembly, slot, stream, turn) for slot, (stream, turn) in enumerate(zip(streams.streams, streams.turns()))]
    return Carried(identity, assembly.windows.all_unfinished(), carried)


def restore(assembly: Assembly, carried: Carried, identity: Identity) -> Restored:
    """Go on with what `dump` gave, in an assembly that has seen no batch; raises nothing, whatever was carried.

    Where there are fewer slots than streams, those go on that were used last.
    """
    reason = identity.differs(carried.identity) or ("" if carried.streams else CARRY_TOO_LARGE)
    if reason:
        return Restored(0, _counted(reason, carried.readings))
    try:
        _take_over(assembly, _latest(carried.streams, assembly.streams.limit), identity.scores)
    except ValueError:
        _clear(assembly)
        return Restored(0, _counted(CARRY_DAMAGED, carried.readings))
    readings = assembly.windows.all_unfinished()
    dropped = _counted(LET_GO, carried.readings - readings)
    if assembly.given.stateful:
        return Restored(0, {**dropped, **_counted(GRAPH_STATE, begin_anew(assembly))})
    return Restored(readings, dropped)


def begin_anew(assembly: Assembly) -> int:
    """Begin the windows and the smoothing of all streams anew, as after a gap; give the number of readings that were in no window yet."""
    lost = 0
    for slot, stream in enumerate(assembly.streams.streams):
        lost += assembly.windows.reset(slot)
        stream.state.gap()
    return lost


def _dump_stream(assembly: Assembly, slot: int, stream: Stream, turn: int) -> CarriedStream:
    topic, labels = (stream.name, None) if isinstance(stream.name, bytes) else stream.name
    window, mark = assembly.windows.dump(slot), assembly.timeline.dump(slot)
    return CarriedStream(topic, labels, turn, stream.results, window, mark, stream.state.dump())


def _latest(streams: list[CarriedStream], most: int) -> list[CarriedStream]:
    """Give the streams that were used last, in their order. Of equal turns the first goes, as in a table that is full."""
    if len(streams) <= most:
        return streams
    ranked = sorted(range(len(streams)), key=lambda i: streams[i].turn)
    return [streams[i] for i in sorted(ranked[len(streams) - most :])]


def _take_over(assembly: Assembly, carried: list[CarriedStream], width: int) -> None:
    streams, channels = assembly.streams, assembly.windows.channels
    streams.restore([each.name for each in carried], [each.turn for each in carried])
    for slot, (stream, each) in enumerate(zip(streams.streams, carried)):
        stream.results = each.results
        stream.state.restore(each.memory, width)
        assembly.windows.restore(slot, each.tail)
        assembly.timeline.restore(slot, each.mark, channels)


def _clear(assembly: Assembly) -> None:
    for slot in range(len(assembly.streams.streams)):
        assembly.windows.reset(slot)
    assembly.streams.clear()


def _counted(reason: str, readings: int) -> dict[str, int]:
    return {reason: readings} if readings > 0 else {}
