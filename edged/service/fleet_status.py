"""How it is with the fleet, for the snapshot: trust, revisions, orders, what was dropped."""

from __future__ import annotations

from collections.abc import Mapping

from edged.clock import NS, iso
from edged.errors import EdgedError
from edged.fleet.desired import Wanted
from edged.fleet.instructions import EXPIRED, FAILING, OK, WAITING
from edged.fleet.machine import EXITS
from edged.fleet.pushes import Pushes
from edged.models.entries import Held, Refusal
from edged.service.snapshot import FleetStatus, OrderStatus

NONE = "none"
_WORDS = {OK: "trusted", WAITING: "waiting for the fleet", EXPIRED: "metadata has expired", FAILING: "not trusted"}


def fleet_status(
    name: str, pushes: Pushes | None, fault: EdgedError | None, held: Mapping[str, Held], dropped: Mapping[str, int]
) -> FleetStatus:
    """Make it; `fault` says why there are no pushes although they are configured."""
    status = FleetStatus(name, dropped=dict(dropped))
    if fault is not None:
        status.trust, status.updates = FAILING, "off"
        _say(status, fault)
    if pushes is None:
        return status
    beliefs = pushes.instructions.beliefs
    status.trust, status.clock = pushes.instructions.state, pushes.instructions.clock_state
    status.updates = _WORDS[status.trust]
    fault = beliefs.fault or next(iter(beliefs.faults.values()), None)
    if fault is not None:
        _say(status, fault)
    if beliefs.trusted is not None:
        status.versions = dict(beliefs.trusted.versions)
        status.expires = iso(int(beliefs.trusted.expires.timestamp()) * NS)
    status.revs = {audience: each.rev for audience, each in beliefs.documents.items()}
    status.rev = max(status.revs.values(), default=None)
    status.orders = [_order(each, pushes, held.get(each.model) or Held()) for each in pushes.instructions.wanted.values()]
    status.received = pushes.received
    return status


def _order(wanted: Wanted, pushes: Pushes, held: Held) -> OrderStatus:
    status = OrderStatus(wanted.model, wanted.order.release, wanted.audience, "under way")
    settled, pursuit = pushes.settled(wanted.model), pushes.pursuits.get(wanted.model)
    if pursuit is not None and pursuit.refused.code:
        return _because(status, "refused", pursuit.refused)
    if settled is not None and settled.order == wanted.key:
        return _because(status, "done" if settled.committed else "refused", settled.why)
    if pursuit is not None and pursuit.blocked.code and (held.update is None or held.update.state in EXITS):
        return _because(status, "blocked", pursuit.blocked)
    return status


def _because(status: OrderStatus, state: str, why: Refusal) -> OrderStatus:
    status.state, status.code, status.text, status.hint = state, why.code, why.text, why.hint
    return status


def _say(status: FleetStatus, error: EdgedError) -> None:
    status.code, status.text, status.hint = error.code, error.text, error.hint
