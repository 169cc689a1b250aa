"""A fleet as its messages show it: stale Wills, verdicts, and every payload that is none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.cli.columns import wide
from edged.cli.fleet.watch import plain, screen
from edged.publisher.reports import MAX_BYTES
from edged.publisher.view import MOST_DEVICES, Row, View, rows_of


def take(view: View, device: str, rest: str, content: Any) -> bool:
    return view.take(device, rest, json.dumps(content).encode()) is not None


def reported(running: int | None = None, good: int | None = None, wanted: int | None = None, **more: Any) -> dict[str, Any]:
    runs = None if running is None else {"release": running, "version": "1", "variant": "int8", "engine": "x", "since": ""}
    model = {"running": runs, "last_good": good, "wanted": wanted, "verified": False, "update": None, "refused": None, **more}
    return {"v": 1, "time": "", "session": 5, "seq": 1, "state": "running", "revs": {"dev:a": 4}, "models": {"har": model}}


def update(release: int, state: str, **more: Any) -> dict[str, Any]:
    return {"release": release, "state": state, "attempt": 1, "pct": 41.0, "bytes_left": 123, "blocked_by": "", **more}


def one(view: View) -> Row:
    (row,) = view.rows()
    return row


def test_a_lost_status_of_an_earlier_session_is_old_news() -> None:
    view = View()
    assert take(view, "a", "status", {"state": "online", "session": 9, "time": ""})
    assert not take(view, "a", "status", {"state": "lost", "session": 8, "time": ""})
    assert one(view).state == "online"
    assert take(view, "a", "status", {"state": "lost", "session": 9, "time": ""})
    assert one(view).state == "lost"
    assert take(view, "a", "status", {"state": "online", "session": 1, "time": ""})  # a board that was set up anew


def test_a_row_says_what_runs_what_is_wanted_how_far_it_is_and_what_went_wrong() -> None:
    view = View()
    take(view, "a", "birth", {"v": 1, "board": "Raspberry Pi 4B", "profile": "raspberry-pi-4b-4gb"})
    take(view, "a", "reported", reported(2, 2, 3, update=update(3, "fetch")))
    row = one(view)
    assert (row.board, row.running, row.wanted, row.stage, row.progress) == ("Raspberry Pi 4B", "2 int8", "3", "3 fetch", "41 %")
    take(view, "a", "reported", {**reported(2, 2, 3, update=update(3, "rejected", code="golden", text="differs")), "seq": 2})
    assert one(view).error == "differs [golden]"
    assert one(view).progress == ""
    take(view, "a", "reported", {**reported(2, 2, 3, refused={"code": "release-unknown", "text": "no such", "hint": ""}), "seq": 3})
    assert one(view).error == "no such [release-unknown]"


def test_what_went_wrong_is_shown_whole_on_a_narrow_terminal() -> None:
    view = View()
    take(view, "press-7", "reported", reported(2, 2, 3, update=update(3, "rejected", code="golden-differs", text="8 of 40 rows differ")))
    shown = " ".join(" ".join(screen(view, "", 40, False)).split())
    assert "✗ press-7 har: 8 of 40 rows differ [golden-differs]" in shown


def test_an_older_report_of_the_same_session_is_not_taken() -> None:
    view = View()
    take(view, "a", "reported", {**reported(3, 3, 3), "seq": 7})
    assert not take(view, "a", "reported", {**reported(2, 2, 3), "seq": 6})
    assert one(view).running == "3 int8"


def test_an_event_of_a_failure_is_kept_until_something_is_committed() -> None:
    view = View()
    take(view, "a", "reported", reported(2, 2, 3))
    take(view, "a", "evt/update", {"model": "har", "release": 3, "state": "rolled_back", "code": "late", "text": "too slow"})
    assert one(view).error == "3 rolled_back: too slow [late]"
    take(view, "a", "reported", {**reported(4, 4, 4, update=update(4, "committed")), "seq": 2})
    assert one(view).error == ""


def test_a_release_is_done_when_every_device_that_reports_the_model_has_committed_it() -> None:
    view = View()
    assert view.verdict("har", 3) == ([], [], [])
    take(view, "a", "reported", reported(3, 3, 3))
    take(view, "b", "reported", reported(3, 2, 3, update=update(3, "confirm")))
    take(view, "c", "reported", {**reported(), "models": {}})
    assert view.verdict("har", 3) == (["a"], [], ["b"])
    take(view, "b", "reported", {**reported(2, 2, 3, update=update(3, "rolled_back", code="late")), "seq": 2})
    assert view.verdict("har", 3) == (["a"], ["b"], [])
    take(view, "b", "reported", {**reported(2, 2, 3, update=update(3, "evaluate", blocked_by="no broker", code="offline")), "seq": 3})
    assert view.verdict("har", 3) == (["a"], [], ["b"])
    assert (rows_of(view.devices["b"])[0].progress, rows_of(view.devices["b"])[0].error) == ("waits: no broker", "")
    take(view, "b", "reported", {**reported(None, 3, 3, verified=True), "seq": 4})  # in its store, and no pipeline runs it
    assert view.verdict("har", 3) == (["a", "b"], [], [])
    take(view, "b", "reported", {**reported(2, 2, 3, refused={"code": "expired", "text": "", "hint": ""}), "seq": 5})
    assert view.verdict("har", 3) == (["a"], ["b"], [])


def test_a_device_that_is_lost_has_not_come_to_an_end_whatever_it_said_last() -> None:
    view = View()
    take(view, "a", "reported", reported(2, 2, 2, verified=True))
    take(view, "a", "status", {"state": "lost", "session": 9, "time": ""})
    assert view.verdict("har", 2) == ([], [], ["a"])
    take(view, "a", "status", {"state": "online", "session": 10, "time": ""})
    assert view.verdict("har", 2) == (["a"], [], [])


def test_what_failed_before_is_not_shown_where_what_is_wanted_now_serves() -> None:
    view = View()
    failed = update(4, "rolled_back", code="crash-loop", text="the daemon ended 2 times")
    take(view, "a", "evt/update", {"model": "har", "release": 4, "state": "rolled_back", "code": "crash-loop", "text": "it ended"})
    take(view, "a", "reported", reported(2, 2, 4, update=failed))
    assert "crash-loop" in one(view).error
    take(view, "a", "reported", {**reported(2, 2, 2, verified=True, update=failed), "seq": 2})
    assert (one(view).stage, one(view).error) == ("", "")


def test_a_board_that_waits_for_its_first_metadata_shows_no_error() -> None:
    view = View()
    trust = {"state": "waiting", "code": "metadata-missing", "text": "nothing came yet"}
    take(view, "a", "reported", {**reported(), "trust": trust})
    assert one(view).error == ""
    take(view, "a", "reported", {**reported(), "trust": {**trust, "state": "failing"}, "seq": 2})
    assert "metadata-missing" in one(view).error


def test_a_device_whose_status_is_cleared_is_gone() -> None:
    view = View()
    take(view, "a", "status", {"state": "offline", "session": 1, "time": ""})
    view.take("a", "status", b"")
    assert not view.devices


def test_devices_are_bounded_and_their_names_checked() -> None:
    view = View()
    for name in ("_repo", "A", "a/b", "a" * 65, "", "a\n"):
        assert not take(view, name, "status", {"state": "online", "session": 1})
    view.devices = dict.fromkeys(map(str, range(MOST_DEVICES)))  # type: ignore[assignment]
    assert not take(view, "another", "status", {"state": "online", "session": 1})
    assert view.ignored == 7


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
FIELD = st.sampled_from(["state", "session", "models", "trust", "board", "model", "text", "code", "seq", "revs", "release"])


@settings(max_examples=400, deadline=None)
@given(
    rest=st.sampled_from(["status", "birth", "reported", "evt/update", "other"]),
    payload=st.one_of(st.none(), st.binary(max_size=200), st.dictionaries(FIELD, ANY, max_size=6).map(lambda x: json.dumps(x).encode())),
    width=st.integers(20, 160),
)
def test_whatever_a_device_publishes_nothing_breaks_and_nothing_steers_the_terminal(rest: str, payload: bytes | None, width: int) -> None:
    view = View()
    view.take("a", rest, payload)
    take(
        view,
        "b",
        "reported",
        {**reported(1), "models": {"\x1b[2J": {"wanted": 1}, "m": {"refused": {"code": "\r\x07", "text": "\x1b]0;x\x07"}}}},
    )
    view.take("c", rest, b"[" * MAX_BYTES)
    view.take("c", rest, b" " * (MAX_BYTES + 1))
    lines = [*screen(view, "trouble\x1b[1m", width, False), *map(plain, view.rows())]
    assert all(line.isprintable() for line in lines)
    assert all(wide(line) <= width for line in screen(view, "", width, False))
