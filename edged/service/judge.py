"""What is not as it should be: read the parts, set and clear conditions. Called by each tick."""

from __future__ import annotations

from collections import deque

from edged.clock import NS, Clock
from edged.config import schema
from edged.errors import BoardError, EdgedError, OperatorError, Untrusted
from edged.fleet.timekeeping import UNSYNCED
from edged.service.control_path import ControlPath
from edged.service.health import Conditions
from edged.service.parts import MAIN, Lane, Parts
from edged.service.progress import is_stuck
from edged.service.report import dropped_of
from edged.service.serial_health import SerialHealth
from edged.service.snapshot import ERROR, INFO, WARNING

_GRACE_NS = 5 * NS  # a broker that closed a connection may be back at once
_ERROR_NS = 60 * NS  # an error of a pipeline is over when no batch met one for so long
_MINUTES = 60
SPOOL = "spool"
STORE = "models"
BOARD = "board"
FLEET = "fleet"


class LastHour:
    """How much counters rose in the last hour, minute by minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: deque[tuple[int, dict[str, int]]] = deque([(clock.mono(), {})])

    def rise(self, totals: dict[str, int]) -> dict[str, int]:
        """Note the totals; give by how much each rose within the last hour, zeros left out."""
        now = self._clock.mono()
        if now - self._marks[-1][0] >= 60 * NS:
            self._marks.append((now, dict(totals)))
        while len(self._marks) > _MINUTES:
            self._marks.popleft()
        before = self._marks[0][1]
        return {reason: total - before.get(reason, 0) for reason, total in totals.items() if total > before.get(reason, 0)}


class Judge:
    """Keeps the conditions of one daemon in step with what its parts show."""

    def __init__(self, parts: Parts, conditions: Conditions, updates: ControlPath) -> None:
        self._parts = parts
        self._updates = updates
        self._conditions = conditions
        self._serial = SerialHealth(parts, conditions)
        self._rejected = {lane.options.name: LastHour(parts.clock) for lane in parts.lanes}
        self._dropped = {lane.options.name: LastHour(parts.clock) for lane in parts.lanes}
        self._where_samples_are = f"see {parts.topics.event('rejected')}" if MAIN in parts.links else ""
        self._late = {lane.options.name: LastHour(parts.clock) for lane in parts.lanes}
        self._lost = LastHour(parts.clock)
        self._spool_fault = ""
        self._not_loaded: set[tuple[str, str]] = set()
        self._aside: set[tuple[str, str]] = set()
        self._refused_orders: set[str] = set()
        self._fleet_dropped = LastHour(parts.clock)
        self._messages = {name: LastHour(parts.clock) for name in parts.links}

    def look(self) -> None:
        """Set what holds, clear what is over."""
        for name in self._parts.links:
            self._link(name)
        for lane in self._parts.lanes:
            self._lane(lane)
        self._serial.look()
        self._spool()
        self._control_path()
        self._fleet()
        self._choice()
        self._crashes()
        if self._parts.around:
            self._variants(self._parts.around.not_loaded.copy())

    def _variants(self, not_loaded: dict[tuple[str, str], EdgedError]) -> None:
        """Tell of variants that do not load, until their pipeline runs another release."""
        for pipeline, variant in self._not_loaded - not_loaded.keys():
            self._conditions.clear("variant-not-loaded", f"{pipeline}/{variant}")
        for (pipeline, variant), error in not_loaded.items():
            self._note("variant-not-loaded", f"{pipeline}/{variant}", WARNING, f"variant {variant} does not load: {error.text}", error.hint)
        self._not_loaded = set(not_loaded)

    def _crashes(self) -> None:
        """Tell of variants that are put aside, until their pipeline runs another release."""
        selection = self._parts.selection
        lanes = [(lane.options.name, lane.release) for lane in self._parts.lanes if lane.release is not None]
        aside = {(name, variant): error for name, release in lanes if selection for variant, error in selection.aside(release).items()}
        for pipeline, variant in self._aside - aside.keys():
            self._conditions.clear("variant-crashes", f"{pipeline}/{variant}")
        for (pipeline, variant), error in aside.items():
            text = f"variant {variant} is put aside: {error.text} ({error.code})"
            self._note("variant-crashes", f"{pipeline}/{variant}", WARNING, text, error.hint)
        self._aside = set(aside)

    def _choice(self) -> None:
        """Tell of pipelines whose variant misses a goal, and of pressure that no smaller variant relieves."""
        late = dict(self._parts.selection.late) if self._parts.selection else {}
        for name in (lane.options.name for lane in self._parts.lanes):
            hint = "it may be late, or fall behind; `edged why` shows all variants, `edged board calibrate` measures this board"
            self._hold("variant-too-slow", name, WARNING, name in late, late.get(name, ""), hint)
        stuck = self._updates.stuck
        self._hold(
            "board-under-pressure", BOARD, WARNING, bool(stuck), stuck, "give this board less to do, cool it, or stop other programs"
        )

    def _control_path(self) -> None:
        updates, fault = self._updates, self._updates.fault
        self._hold("updates-off", STORE, WARNING, fault is not None, fault.text if fault else "", fault.hint if fault else "")
        bug = updates.bug
        hint = "it is tried again every ten seconds; please report this"
        self._hold("updates-bug", STORE, ERROR, bug is not None, bug.text if bug else "", hint)
        text = f"{updates.bad_lines} lines of the store's journal could not be read; what they said of releases is lost"
        self._hold(
            "journal-damaged", STORE, WARNING, bool(updates.bad_lines), text, "check the disk; `edged models list` shows what is known"
        )
        stale = updates.stale
        text = "; ".join(f"{model} does not go back to its good release: {why}" for model, why in stale.items() if why)
        self._hold(
            "rollback-failing",
            STORE,
            ERROR,
            bool(text),
            text,
            "it is tried again every ten seconds; `edged models list` shows what there is",
        )

    def _fleet(self) -> None:
        updates, pushes = self._updates, self._updates.pushes
        fault = updates.pushes_fault
        self._hold("pushes-off", FLEET, WARNING, fault is not None, fault.text if fault else "", fault.hint if fault else "")
        if pushes is None:
            return
        beliefs = pushes.instructions.beliefs
        doubt = (
            beliefs.fault
            if isinstance(beliefs.fault, (Untrusted, BoardError, OperatorError))
            else next(iter(beliefs.faults.values()), None)
        )
        text = f"nothing new is installed, what runs goes on: {doubt.text} ({doubt.code})" if doubt else ""
        self._hold("fleet-not-trusted", FLEET, WARNING, doubt is not None, text, doubt.hint if doubt else "")
        unsynced = pushes.instructions.clock_state == UNSYNCED
        text = "nothing keeps the clock right: whether what the fleet signed has expired is judged by the latest time that was known"
        self._hold("fleet-clock-unsynced", FLEET, INFO, unsynced, text, "`timedatectl` says more; give the board a time server")
        self._counts("fleet-messages-dropped", FLEET, "messages of the fleet dropped", self._fleet_dropped.rise(updates.fleet_dropped), "")
        refused = {model: each.refused for model, each in pushes.pursuits.items() if each.refused.code not in ("", "not-wanted")}
        for model in self._refused_orders - refused.keys():
            self._conditions.clear("order-refused", model)
        for model, why in refused.items():
            self._note("order-refused", model, WARNING, f"the fleet's order is not followed: {why.text} ({why.code})", why.hint)
        self._refused_orders = set(refused)

    def _link(self, name: str) -> None:
        link, state = self._parts.links[name], self._parts.links[name].state
        young = self._parts.clock.mono() - state.since < _GRACE_NS
        for code in _BROKER_HINTS:
            if state.code == code and not (code == "broker-disconnected" and young):
                self._note(code, name, ERROR, f"{link.broker.url}: {state.text}", _BROKER_HINTS[code])
            else:
                self._conditions.clear(code, name)
        text = f"{link.broker.url} acknowledges nothing; results go to disk"
        hint = "is the broker overloaded, or its disk full? edged connects anew now and then"
        self._hold("broker-mute", name, ERROR, link.outbox.mute, text, hint)
        lost = self._messages[name].rise(link.dropped.copy())
        self._counts("messages-dropped", name, "messages for the broker dropped", lost, "")

    def _spool(self) -> None:
        delivery = self._parts.delivery
        if delivery is None or delivery.writer is None:
            return
        writer, fault, status = delivery.writer, delivery.writer.fault, delivery.status()
        if self._spool_fault and self._spool_fault != (fault.code if fault else ""):
            self._conditions.clear(self._spool_fault, SPOOL)
        self._spool_fault = fault.code if fault else ""
        if fault:
            text = f"results that the broker does not take cannot be written to disk, and wait in memory: {fault.text}"
            self._note(fault.code, SPOOL, ERROR, text, fault.hint)
        if writer.moved:
            moved = writer.moved[-1]
            lost = "the results in it" if moved.rows is None else f"{moved.rows:,} results"
            text = f"the spool's file could not be read ({moved.why}) and was moved to {moved.to} with {lost}; a new one was begun"
            self._note("spool-moved-aside", SPOOL, WARNING, text, "delete it when nobody wants to look into it; check the disk")
        left = f", about {status.drain_left_s:.0f} s left" if status.drain_left_s else ""
        text = f"{status.results:,} results from an outage are on their way, {status.drain_rate:,.0f} a second{left}"
        self._hold("spool-draining", SPOOL, INFO, status.state == "draining", text)
        text = f"{writer.orphans:,} results on disk are for brokers that are not in the configuration"
        self._hold("spool-orphans", SPOOL, WARNING, bool(writer.orphans), text, "name the broker as before, until they are out")
        self._counts("spool-dropping", SPOOL, "results on disk lost", self._lost.rise(writer.dropped.copy()), "")

    def _lane(self, lane: Lane) -> None:
        name, pipeline = lane.options.name, lane.pipeline
        error = lane.error or (pipeline.fault if pipeline else None)
        awaited = error is not None and error.code == "no-such-model" and self._updates.pushes is not None
        text = f"there is no model `{lane.options.model}` on this board yet: the fleet's order brings it"
        self._hold("model-awaited", name, INFO, awaited, text, "the fleet manager runs `edged fleet assign`")
        failed = None if awaited else error
        self._hold("pipeline-failed", name, ERROR, failed is not None, failed.text if failed else "", failed.hint if failed else "")
        if pipeline is None:
            return
        self._counts(
            "readings-rejected", name, "rejected", self._rejected[name].rise(pipeline.counters.rejected.copy()), self._where_samples_are
        )
        self._counts("dropping", name, "dropped", self._dropped[name].rise(dropped_of(pipeline)), "")
        late = self._late[name].rise({"late": pipeline.counters.late_results}).get("late", 0)
        text = f"{late:,} results in the last hour came more than {lane.options.deadline_ms:g} ms after their last reading"
        self._hold("deadline-missed", name, WARNING, bool(late), text, "lighten the load, or raise deadline_ms")
        text = "one batch has been worked on for too long; the model may hang"
        self._hold("pipeline-stuck", name, ERROR, is_stuck(lane, self._parts.clock), text)
        inbox = pipeline.inbox
        text = f"{inbox.waiting:,} messages wait; it takes less than comes, and a broker may drop what waits there without telling"
        self._hold("falling-behind", name, WARNING, inbox.waiting > inbox.size, text, "lighten the load, or raise the broker's queue limit")
        # What is wrong with a serial port is told once for the port, not for each pipeline on it.
        failing = "" if isinstance(lane.options.source, schema.SerialSource) else lane.source.error
        self._hold("source-failing", name, ERROR, bool(failing), failing)
        failing = "; ".join(sink.output.failing for sink in pipeline.sinks if sink.output.failing)
        self._hold("output-failing", name, ERROR, bool(failing), failing)
        last = pipeline.last_error
        if last and self._parts.clock.mono() - pipeline.last_error_mono < _ERROR_NS:
            self._note("pipeline-error", name, ERROR, last.text, last.hint)
        else:
            self._conditions.clear("pipeline-error", name)
        evicted = pipeline.assembly.streams.evicted
        limit = pipeline.assembly.streams.limit
        text = f"more than {limit:,} streams: {evicted:,} times the one silent longest was let go"
        self._hold("streams-let-go", name, INFO, bool(evicted), text, "raise max_streams if these keys are real")

    def _counts(self, code: str, subject: str, what: str, counts: dict[str, int], hint: str) -> None:
        total = sum(counts.values())
        most = sorted(counts, key=lambda reason: -counts[reason])
        text = f"{total:,} {what} in the last hour ({', '.join(most[:3])}{', …' if len(most) > 3 else ''})"
        self._hold(code, subject, WARNING, bool(total), text, hint)

    def _hold(self, code: str, subject: str, severity: str, holds: bool, text: str, hint: str = "") -> None:
        if holds:
            self._note(code, subject, severity, text, hint)
        else:
            self._conditions.clear(code, subject)

    def _note(self, code: str, subject: str, severity: str, text: str, hint: str) -> None:
        self._conditions.set(code, severity, text, subject=subject, hint=hint)


_BROKER_HINTS = {
    "broker-unreachable": "is the broker running, and is the address right? edged goes on trying",
    "broker-disconnected": "edged goes on trying",
    "broker-protocol": "is this an MQTT broker, and the right port? if it is, please report this",
    "overfull": "lighten the load; nothing is lost that the broker keeps",
    "broker-refused": "check username and password_file of this broker",
    "broker-version": "set `version` of this broker to what it speaks",
    "subscription-refused": "the broker's access rules must let this user read the pipeline's topic",
}
