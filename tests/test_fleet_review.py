"""What a hostile review of signed updates found: each test failed once."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from edged.clock import NS, VirtualClock
from edged.errors import BoardError, EdgedError, PeerError
from edged.fleet.aside import Aside
from edged.fleet.instructions import EXPIRED, OK, Instructions
from edged.fleet.mailbox import Mailbox
from edged.fleet.pushes import Pushes
from edged.fleet.repositories import FolderRepository, MqttRepository, Repository, unreachable
from edged.fleet.transfer.budget import Budget
from edged.fleet.transfer.carriers.base import Broken, Errand, Piece
from edged.fleet.transfer.carriers.folder import FolderCarrier
from edged.fleet.transfer.carriers.http import HttpCarrier
from edged.fleet.transfer.carriers.mqtt import MqttCarrier
from edged.fleet.transfer.transfer import Transfer
from edged.mqtt.topics import DeviceTopics, FleetTopics
from edged.publisher.births import BURST, RATE, Births
from edged.service.health import Conditions
from edged.service.judge import Judge
from edged.service.reported import Reporter
from tests.boards import BAD, YOUNG, Releases
from tests.boards import Board as Machine
from tests.broker import Mosquitto
from tests.fleets import Fleet, days
from tests.peer import Peer
from tests.rollouts import update_in
from tests.sites import MIB, QUICK, Site, large, until_fetched, until_update
from tests.stores import tiny
from tests.test_instructions import DEVICE, GROUP, START, Scene
from tests.test_trust_attacks import Board, refused
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_word_that_a_broker_forgets_a_root_is_no_root(scene: Scene) -> None:
    """An empty message clears what is retained; to a board that never had it, it says nothing."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    for name in ("root/2", "snapshot/1", "targets/1", "timestamp"):
        scene.mailbox.put(FleetTopics("plant-a").repo(name).encode(), b"", False)
        assert scene.mailbox.metadata(name) is None
    scene.publish(DEVICE)
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_a_fleet_that_was_founded_anew_is_followed_when_the_operator_puts_its_root_there(tmp_path: Path) -> None:
    """Its versions begin at 1 again, those of the old one had risen. The old root still may not be rolled back."""
    clock = VirtualClock(START)
    old = Fleet(tmp_path / "old", clock=clock)
    old.add(tiny(tmp_path / "one"))
    old.assign(DEVICE, {"twice": 1})
    before = Board(tmp_path / "board", old, clock)
    first = old.keep()
    old.rotate("root")
    old.rotate("timestamp")
    before.refresh()
    before.accept(old.desired(DEVICE))

    new = Fleet(tmp_path / "new", clock=clock)
    new.add(tiny(tmp_path / "two"))
    new.assign(DEVICE, {"twice": 1})
    board = Board(tmp_path / "board", new, clock)
    assert board.refresh().versions["root"] == 1
    assert board.accept(new.desired(DEVICE)).rev == 1

    again = Board(tmp_path / "board", old, clock)
    assert again.refresh().versions["root"] == 3
    old.put_back(first)
    again.forget_cache()
    assert refused(again.refresh).code == "metadata-rollback"


def test_what_other_threads_look_at_is_never_changed_under_them(scene: Scene) -> None:
    """The main thread goes through documents and faults twice a second; one that came meanwhile must not end the daemon."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    beliefs = scene.instructions.beliefs
    documents, faults = iter(beliefs.documents.items()), iter(beliefs.faults.items())
    scene.fleet.assign(GROUP, {"twice": 1})
    scene.publish(DEVICE, GROUP)
    scene.mailbox.put(b"edged/1/plant-a/_grp/hall-1/desired", b"{}", True)
    scene.look()
    assert len(beliefs.documents) == 2
    assert len(beliefs.faults) == 1
    assert (len(list(documents)), len(list(faults))) == (1, 0)


class Slow(FolderCarrier):
    """A folder on a slow line: a blob comes when so many seconds of a virtual clock have passed."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        super().__init__(folder)
        self.clock, self.seconds = clock, 0.0
        self.begun: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        self.begun.append(errand.sha256)
        for _ in range(int(self.seconds * 4)):
            self.clock.advance(NS // 4)
            self.meanwhile()
            yield None
        yield from super().bring(errand)


class Orders:
    """A board with a real store, agent and transfer that takes orders of a fleet whose blobs lie in a folder."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.clock = scene.clock
        self.board = Machine(folder / "state", Releases(folder / "near"))
        self.board.clock = self.clock
        self.board.start()
        self.line = Slow(scene.fleet.public, self.clock)
        self._budget = folder / "budget.json"
        self.begin(scene.instructions)

    def begin(self, instructions: Instructions) -> None:
        agent, rng = self.board.agent, random.Random(1)
        transfer = Transfer(
            [self.line],
            self.board.store.incoming,
            Budget(self._budget, 0, self.clock),
            self.clock,
            rng,
            pause=lambda seconds: self.clock.advance(int(seconds * NS)),
        )
        ports = self.board.ports
        self.pushes = Pushes(instructions, agent, self.board.book, ports.wants, ports.inputs, transfer, self.clock, rng)
        agent.updates.glance = self.pushes.glance

    def turn(self) -> None:
        """Do what the fleet thread does once."""
        if self.board.agent.step() and self.pushes.step():
            self.clock.advance(NS // 2)

    def until(self, there: Callable[[], object], turns: int = 2000) -> None:
        for _ in range(turns):
            if there():
                return
            self.turn()
        raise AssertionError([(job.model, job.state, job.moved.why) for job in self.board.agent.updates.jobs()])

    def state(self, model: str = "twice") -> str:
        update = self.board.book.of(model).update
        return update.state if update else ""


@pytest.fixture
def orders(tmp_path: Path, scene: Scene) -> Orders:
    return Orders(tmp_path / "orders", scene)


def test_a_line_on_which_small_files_take_long_brings_a_release_all_the_same(scene: Scene, orders: Orders) -> None:
    """To give up after the same few seconds each time would spend bytes for ever and bring nothing."""
    scene.fleet.assign(DEVICE, {"twice": 1}, windows=0, seconds=0.0)
    scene.publish(DEVICE)
    orders.line.seconds = 12.0
    orders.until(lambda: orders.state() == "committed")
    assert len(orders.line.begun) < 12


def test_a_release_in_service_that_goes_bad_does_not_wait_until_small_files_came(scene: Scene, orders: Orders) -> None:
    orders.board.ports.seen["other"] = YOUNG
    orders.board.install(1, "other")
    orders.until(lambda: orders.state("other") == "confirm")
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    orders.line.seconds = 4.0
    orders.line.meanwhile = lambda: orders.board.ports.seen.update(other=BAD)
    orders.until(lambda: orders.line.begun)
    began = orders.clock.mono()
    orders.until(lambda: orders.state("other") == "rolled_back")
    assert orders.clock.mono() - began < 2 * NS


def test_one_release_is_looked_up_at_a_time(scene: Scene, orders: Orders) -> None:
    """While small files are waited for nothing else is done: not for all orders one after the other."""
    for model in ("one", "two", "three"):
        scene.fleet.add(orders.board.releases(1, model))
    scene.fleet.assign(DEVICE, {"one": 1, "two": 1, "three": 1})
    scene.publish(DEVICE)
    orders.line.seconds = 100.0
    orders.until(lambda: orders.line.begun)
    assert len(orders.line.begun) == 1
    orders.until(lambda: len({*orders.line.begun}) == 3)


def test_a_board_of_another_name_does_not_wait_for_an_order_to_the_old_one(scene: Scene, orders: Orders) -> None:
    """It would wait for ever, and nothing in the store would be cleared away while it does."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    orders.until(orders.state)
    orders.board.restart()
    scene.instructions = scene.begin([MqttRepository(scene.mailbox)])
    scene.instructions.audiences = ["dev:press-8", *scene.instructions.audiences[1:]]
    orders.begin(scene.instructions)
    orders.until(lambda: orders.state() == "rejected", 20)
    assert orders.board.agent.updates.jobs() == []


class Held(FolderRepository):
    """A repository that answers when it is let: a web server far away, or one that lies about being there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.answers, self.asked = threading.Semaphore(0), 0

    def _read(self, path: Path, most: int) -> bytes | None:
        self.asked += 1
        self.answers.acquire()
        return super()._read(path, most)


def aside(scene: Scene, *before: Repository) -> tuple[Held, threading.Event]:
    """Begin anew with a repository that is asked aside; give it, and what is set when it has answered."""
    held, answered = Held(scene.fleet.public), threading.Event()
    scene.instructions = scene.begin([*before, Aside(held, scene.clock, answered.set)])
    return held, answered


def test_a_repository_that_does_not_answer_holds_up_nobody(scene: Scene) -> None:
    """The thread that looks also judges releases in service: it must not stand before a web server for a minute."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    held, _ = aside(scene, MqttRepository(scene.mailbox))
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})
    for _ in range(200):
        scene.look(1.0)
    assert held.asked == 1, "a thread that hangs is one too many already"
    assert scene.instructions.beliefs.faults == {}, "another one gives what is wanted"
    held.answers.release()


def test_a_repository_that_never_answers_is_told(scene: Scene) -> None:
    held, _ = aside(scene)
    scene.look()
    assert scene.instructions.beliefs.fault is None
    for _ in range(100):
        scene.look(1.0)
    assert scene.instructions.beliefs.fault is not None
    assert scene.instructions.beliefs.fault.code == "repository-unreachable"
    assert held.asked == 1
    held.answers.release()


def test_a_slow_repository_is_followed_answer_by_answer_and_asked_anew_at_the_next_look(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    held, answered = aside(scene)

    def until_wanted(release: int) -> None:
        for _ in range(40):
            if scene.wanted() == {"twice": (release, DEVICE)}:
                return
            scene.look(0.5)
            held.answers.release()
            answered.wait(5)
            answered.clear()
        raise AssertionError(scene.instructions.beliefs)

    scene.look()
    until_wanted(1)
    scene.fleet.add(tiny(scene.folder / "two", 2))
    scene.fleet.assign(DEVICE, {"twice": 2})
    for _ in range(8):  # what is still asked of the first look
        scene.look(0.5)
        held.answers.release()
    scene.look(61)
    until_wanted(2)


@pytest.fixture
def trickle() -> Iterator[str]:
    """A web server that gives a byte of its header now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def give(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not over.wait(0.01):
                    connection.sendall(b"a")

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=give, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        server.shutdown(socket.SHUT_RDWR)


def test_slow_retrieval_by_header_bytes_leaves_one_thread_and_not_one_for_each_try(trickle: str) -> None:
    carrier, clock, before = HttpCarrier(trickle), VirtualClock(START), set(threading.enumerate())
    for number in range(4):
        errand = Errand("a" * 64, 1000, clock, partial(next, iter([0]), None), lambda _size, _kept: None, lambda: False)
        bringing = carrier.bring(errand)
        if number:
            with pytest.raises(Broken):
                next(bringing)
        else:
            assert next(bringing) is None
        bringing.close()
    assert [thread.name for thread in set(threading.enumerate()) - before].count("transfer-http") == 1


def answers(births: Births, clock: VirtualClock, devices: list[str], size: int, hours: float = 24.0) -> int:
    """Let devices come every five seconds; count the answers, each of so many bytes to all boards of the fleet."""
    count = 0
    for _ in range(int(hours * 720)):
        for device in devices:
            births.take(device)
        if births.due:
            births.answered(size, 5 * NS)
            count += 1
        clock.advance(5 * NS)
    return count


def test_a_board_that_comes_again_and_again_does_not_spend_the_data_of_all_others() -> None:
    """One board with its own credentials, or with a bad line, had the whole metadata sent to every board each five seconds."""
    clock = VirtualClock(START)
    assert answers(Births(clock), clock, ["press-7"], 20_000) <= 160


def test_many_boards_that_come_again_and_again_spend_no_more_than_the_rate() -> None:
    clock = VirtualClock(START)
    births = Births(clock)
    sent = 0
    for number in range(17_280):
        births.take(f"press-{number % 1000}")
        if births.due:
            births.answered(500_000, 5 * NS)
            sent += 500_000
        clock.advance(5 * NS)
    assert sent <= BURST + 500_000 + 86_400 * RATE


def test_a_board_that_comes_now_and_then_is_answered_at_once() -> None:
    clock = VirtualClock(START)
    births = Births(clock)
    for number in range(100):
        births.take("press-7")
        births.take(f"press-{number + 8}")
        assert births.due
        assert births.answered(20_000, 5 * NS) == {"press-7", f"press-{number + 8}"}
        clock.advance(1300 * NS)


def judged(fault: EdgedError) -> dict[str, str]:
    """Give the conditions of a board whose instructions stand so, with what to do about each."""
    now = VirtualClock(START)
    beliefs = SimpleNamespace(fault=fault, faults={})
    pushes = SimpleNamespace(instructions=SimpleNamespace(beliefs=beliefs, clock_state="synced", now=now.wall), pursuits={})
    updates = SimpleNamespace(pushes=pushes, pushes_fault=None, fault=None, bug=None, bad_lines=0, stale={}, stuck="", fleet_dropped={})
    parts = SimpleNamespace(lanes=[], links={}, serial_lines={}, clock=now, topics=None, delivery=None, selection=None, around=None)
    conditions = Conditions(now)
    Judge(parts, conditions, updates).look()  # type: ignore[arg-type]
    return {each.code: each.hint for each in conditions.list()}


def test_a_time_server_that_was_wrong_once_ends_nothing(scene: Scene) -> None:
    """The floor is lifted only to a time at which the metadata held; so the renewal of that outlives it."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.clock.set_wall(START + days(7000))
    scene.instructions.refresh_now()
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (EXPIRED, {})
    scene.clock.set_wall(START)
    scene.instructions.refresh_now()
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_a_disk_that_keeps_nothing_of_the_fleet_is_told() -> None:
    assert judged(BoardError("trust-unwritable", "no space", "make room")) == {"fleet-not-trusted": "make room"}
    assert judged(PeerError("metadata-missing", "not yet", "wait")) == {}


def test_who_asks_for_a_report_while_one_is_made_gets_another() -> None:
    """The one that is made may go to the broker that is left just now."""
    reporter = Reporter(DeviceTopics("plant-a", "press-7"), VirtualClock(START))
    content: dict[str, object] = {"models": {}}

    def make() -> dict[str, object]:
        reporter.again()
        return content

    assert reporter.look(make, 1) is not None
    assert reporter.look(lambda: content, 2) is not None
    assert reporter.look(lambda: content, 2) is None


@pytest.fixture
def site(tmp_path: Path, broker: Mosquitto, make_daemon: MakeDaemon) -> Iterator[Site]:
    made = Site(tmp_path, make_daemon, broker.port)
    yield made
    made.close()


def test_a_command_is_answered_while_a_model_comes(site: Site) -> None:
    """That may take days; a command that waits for its end has expired by then."""
    site.fleet.add(large(site.folder, 1, 12))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    site.link.set(rate=MIB)
    board = site.board().start()
    with Peer(site.port, board.topic("res/+/+")) as peer:
        until_fetched(board, 1, MIB)
        peer.publish(board.topic("cmd/rebirth/now"), b'{"expires":"2999-01-01T00:00:00Z"}')
        peer.wait(board.topic("res/rebirth/now"))
        assert update_in(board.status())["state"] == "fetch"


def test_a_board_that_has_left_its_fleet_does_not_wait_for_its_orders(site: Site) -> None:
    """While it would, nothing in its store is cleared away."""
    site.fleet.add(large(site.folder, 1, 12))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    site.link.set(rate=MIB)
    board = site.board().start()
    until_fetched(board, 1, MIB)
    board.stop()
    board.file.write_text(board.file.read_text().partition("[fleet]")[0])
    board.start()
    assert until_update(board, 1, "rejected")["code"] == "cancelled"


def test_bytes_that_are_no_fragment_are_counted_as_received() -> None:
    """Whoever may write there spends the board's data with them as well."""
    carrier = MqttCarrier(DeviceTopics("plant-a", "press-7"), lambda _message: None, lambda: True, random.Random(1))
    came: list[int] = []
    errand = Errand(
        "a" * 64, 1000, VirtualClock(START), partial(next, iter([0]), None), lambda size, _kept: came.append(size), lambda: False
    )
    bringing = carrier.bring(errand)
    next(bringing)
    carrier.received(bytes(1_000_000))
    next(bringing)
    assert sum(came) == 1_000_000
    assert carrier.dropped == {"malformed": 1}


def test_a_broker_that_holds_a_boards_own_orders_back_does_not_choose_those_of_its_group(scene: Scene) -> None:
    """Both are signed and hold; which of them counts is not the broker's to say, not even after a restart."""
    scene.fleet.add(tiny(scene.folder / "two", 2))
    scene.fleet.assign(DEVICE, {"twice": 1}, days=30)
    scene.fleet.assign(GROUP, {"twice": 2}, days=90)
    scene.publish(DEVICE, GROUP)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}

    scene.mailbox = Mailbox(DeviceTopics("plant-a", "press-7"), scene.groups, scene.clock, lambda: None)
    scene.instructions = scene.begin([MqttRepository(scene.mailbox)])
    scene.publish(GROUP)
    before = scene.asked
    for _ in range(5):
        scene.look(61)
    assert scene.wanted() == {}
    assert scene.instructions.beliefs.faults[DEVICE].code == "desired-missing"
    assert scene.asked >= before + 5
    scene.publish(DEVICE, GROUP)
    scene.look()
    assert (scene.wanted(), scene.instructions.beliefs.faults) == ({"twice": (1, DEVICE)}, {})


def test_orders_that_would_have_expired_by_now_are_not_waited_for(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1}, days=3)
    scene.fleet.assign(GROUP, {"twice": 1}, days=20)
    scene.publish(DEVICE, GROUP)
    scene.look()
    scene.mailbox = Mailbox(DeviceTopics("plant-a", "press-7"), scene.groups, scene.clock, lambda: None)
    scene.instructions = scene.begin([MqttRepository(scene.mailbox)])
    scene.publish(GROUP)
    scene.look()
    assert scene.wanted() == {}
    scene.look(4 * 86_400)
    assert scene.wanted() == {"twice": (1, GROUP)}


def test_a_fault_that_lasts_does_not_have_all_metadata_sent_each_minute(scene: Scene) -> None:
    """Metadata that expired while nobody served: on a metered line each repetition of all of it costs money."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.look(60 * 86_400)
    assert scene.instructions.state == EXPIRED
    before = scene.asked
    for _ in range(24 * 60):
        scene.look(60)
    assert scene.asked - before <= 80
    scene.clock.set_wall(START)
    scene.look(60)
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)}), "but it looks each minute"


class Flaky(FolderRepository):
    """A web server on a line that is down at first."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.up, self.asked = False, 0

    def _read(self, path: Path, most: int) -> bytes | None:
        self.asked += 1
        if not self.up:
            raise unreachable(f"{path} is not there")
        return super()._read(path, most)


def test_a_repository_that_failed_is_asked_anew_at_the_next_look_and_not_without_a_pause(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    flaky, answered = Flaky(scene.fleet.public), threading.Event()

    def look(seconds: float) -> None:
        answered.clear()
        before = flaky.asked
        scene.look(seconds)
        if flaky.asked > before:
            assert answered.wait(PATIENCE_S)

    scene.instructions = scene.begin([Aside(flaky, scene.clock, answered.set)])
    for _ in range(240):
        look(0.25)
    assert scene.instructions.beliefs.fault is not None
    assert 3 <= flaky.asked <= 12, "in a minute"
    flaky.up = True
    for _ in range(40):
        look(2.0)
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_a_repository_that_fails_beside_one_that_serves_is_not_asked_without_a_pause(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    flaky, answered = Flaky(scene.fleet.public), threading.Event()
    scene.instructions = scene.begin([MqttRepository(scene.mailbox), Aside(flaky, scene.clock, answered.set)])
    for _ in range(240):
        before = flaky.asked
        answered.clear()
        scene.look(0.25)
        if flaky.asked > before:
            assert answered.wait(PATIENCE_S)
    assert scene.wanted() == {"twice": (1, DEVICE)}
    assert flaky.asked <= 6, "each of three documents once a minute"


def test_metadata_of_a_fleet_that_was_founded_anew_says_what_is_to_be_put_on_the_board(tmp_path: Path) -> None:
    clock = VirtualClock(START)
    old, new = (Fleet(tmp_path / name, clock=clock) for name in ("old", "new"))
    board = Board(tmp_path / "board", old, clock)
    board.refresh()
    board.fetch = FolderRepository(new.public).metadata
    error = refused(board.refresh)
    assert error.code == "metadata-unsigned"
    assert "1.root.json" in error.hint


@pytest.mark.parametrize("root", [b"{}", b'{"signed":', b"[" * 60_000, b'{"signatures":[],"signed":{"_type":"root"}}', "another role"])
def test_a_root_file_that_is_none_is_the_operators(tmp_path: Path, root: bytes | str) -> None:
    """To look at the repository, as the hint of metadata that is none says, would help nobody."""
    clock = VirtualClock(START)
    fleet = Fleet(tmp_path / "fleet", clock=clock)
    board = Board(tmp_path / "board", fleet, clock)
    board.root = fleet.metadata("timestamp") if isinstance(root, str) else root
    error = refused(board.refresh)
    assert (error.code, error.family) == ("root-unreadable", "operator")
    assert "[fleet]" in error.hint
