"""`edged doctor` and the installation: the service, its user, secrets, certificates, configuration, the running daemon."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.board.tree import Tree
from edged.clock import NS
from edged.config.schema import Broker
from edged.doctor.account import READ, Account, own_account, service_account
from edged.doctor.certificates import check_certificates, judge_validity
from edged.doctor.configuration import check_configuration, judge_answer
from edged.doctor.credentials import password_of, tls_context
from edged.doctor.daemon import check_daemon
from edged.doctor.finding import ERROR, HINT, OK, WARNING, Finding, Trouble
from edged.doctor.secrets import check_secrets, judge_config
from edged.doctor.unit import UnitState, check_unit, judge_state
from edged.doctor.unitfile import Unit, find_unit, packaged_unit, parse_unit
from edged.doctor.validity import Malformed, Validity, validities, validity_of
from edged.service.unit import shipped
from tests.broker import Tls
from tests.daemon import HAR, codes, on_topic, pipeline
from tests.test_doctor_board import found, nobody, tree
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

PASSWD = "root:x:0:0:root:/root:/bin/bash\nedged:x:61566:61566::/:/usr/sbin/nologin\n"
GROUPS = "root:x:0:\ndialout:x:20:pi,edged\nedged:x:61566:\n"
UNIT_PLACE = "etc/systemd/system/edged.service"
INSTALLED = {
    "run/systemd/system/x": "",
    "etc/passwd": PASSWD,
    "etc/group": GROUPS,
    "opt/edged/bin/edged": "#!/opt/edged/bin/python\nimport sys\n",
    "opt/edged/bin/python": "",
    UNIT_PLACE: shipped("edged.service").replace("ExecStart=edged", "ExecStart=/opt/edged/bin/edged"),
}
SHOW = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nResult=success\nNRestarts=0\nNeedDaemonReload=no\n"
CONFIG = Path("/etc/edged/edged.toml")


def unit_findings(root: Path, changes: dict[str, str] | None = None, show: str = SHOW, config: Path | None = CONFIG) -> list[Finding]:
    return list(check_unit(tree(root, {**INSTALLED, **(changes or {})}), lambda _: show, config))


def unit_codes(root: Path, changes: dict[str, str] | None = None, show: str = SHOW) -> dict[str, str]:
    return {each.code: each.severity for each in unit_findings(root, changes, show)}


# -- the service ----------------------------------------------------------------------------------


def test_a_sound_service_is_fine(tmp_path: Path) -> None:
    assert unit_codes(tmp_path) == {"ok": OK}


def test_a_machine_without_systemd_gets_no_finding(tmp_path: Path) -> None:
    assert list(check_unit(tree(tmp_path, {UNIT_PLACE: ""}), nobody, None)) == []


def test_a_board_without_the_service_is_told_the_command(tmp_path: Path) -> None:
    (finding,) = check_unit(tree(tmp_path, {"run/systemd/system/x": ""}), nobody, None)
    assert (finding.code, finding.severity, finding.fix) == ("unit-missing", HINT, "sudo edged service install")


@pytest.mark.parametrize(
    ("changed", "code", "severity"),
    [
        ({"active": "failed", "result": "exit-code"}, "unit-failed", ERROR),
        ({"active": "activating", "sub": "auto-restart", "restarts": "41"}, "unit-restarting", ERROR),
        ({"active": "inactive", "sub": "dead"}, "unit-stopped", WARNING),
        ({"enabled": "disabled"}, "unit-not-enabled", WARNING),
        ({"load": "masked", "enabled": "masked"}, "unit-masked", ERROR),
        ({"load": "bad-setting"}, "unit-broken", ERROR),
        ({"stale": True}, "unit-stale", HINT),
    ],
)
def test_what_systemd_says_of_the_service_is_judged(changed: dict[str, str], code: str, severity: str) -> None:
    state = replace(UnitState("loaded", "active", "running", "enabled", "success", "0"), **changed)  # type: ignore[arg-type]
    assert [(each.code, each.severity) for each in judge_state(state)] == [(code, severity)]


def test_a_masked_service_is_said_to_be_masked_and_no_more(tmp_path: Path) -> None:
    seen = tree(tmp_path, {name: text for name, text in INSTALLED.items() if name != UNIT_PLACE})
    (tmp_path / UNIT_PLACE).parent.mkdir(parents=True)
    (tmp_path / UNIT_PLACE).symlink_to("/dev/null")
    assert list(found(check_unit(seen, nobody, None))) == ["unit-masked"]


def test_without_an_answer_of_systemd_the_links_say_whether_it_starts_with_the_board(tmp_path: Path) -> None:
    seen = tree(tmp_path, INSTALLED)
    assert list(found(check_unit(seen, nobody, None))) == ["unit-not-enabled"]
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "edged.service").symlink_to("../edged.service")
    assert list(found(check_unit(seen, nobody, None))) == ["ok"]


def test_a_program_that_is_not_there_is_found(tmp_path: Path) -> None:
    text = INSTALLED[UNIT_PLACE].replace("/opt/edged/bin/edged", "/opt/gone/bin/edged")
    assert unit_codes(tmp_path, {UNIT_PLACE: text}) == {"unit-no-program": ERROR}


def test_an_environment_whose_python_was_removed_is_found(tmp_path: Path) -> None:
    assert unit_codes(tmp_path, {"opt/edged/bin/edged": "#!/opt/edged/bin/python3.9\n"}) == {"unit-no-python": ERROR}


def test_a_service_whose_user_was_never_made_is_found(tmp_path: Path) -> None:
    assert unit_codes(tmp_path, {"etc/passwd": PASSWD.splitlines()[0]}) == {"unit-no-user": ERROR}


def test_the_unit_of_another_version_is_told_with_the_keys_that_differ(tmp_path: Path) -> None:
    text = INSTALLED[UNIT_PLACE].replace("Restart=always", "Restart=on-failure")
    (finding,) = unit_findings(tmp_path, {UNIT_PLACE: text})
    assert (finding.code, finding.severity) == ("unit-outdated", HINT)
    assert finding.text.endswith(": Restart")


def test_a_drop_in_of_the_operators_own_is_no_other_version(tmp_path: Path) -> None:
    assert unit_codes(tmp_path, {f"{UNIT_PLACE}.d/own.conf": "[Service]\nRestart=on-failure\nMemoryMax=1G\n"}) == {"ok": OK}


def test_a_service_that_reads_another_configuration_is_told(tmp_path: Path) -> None:
    (finding,) = unit_findings(tmp_path, config=Path("/home/pi/edged.toml"))
    assert finding.fix == "edged doctor --config /etc/edged/edged.toml"


def test_drop_ins_and_empty_values_are_read_as_systemd_does(tmp_path: Path) -> None:
    files = {
        "usr/lib/systemd/system/edged.service": "[Service]\nExecStart=/a\nExecStart=/b \\\n  --x\n# c=d\n;e=f\n",
        "usr/lib/systemd/system/edged.service.d/20.conf": "[Service]\nUser=vendor\n",
        "etc/systemd/system/edged.service.d/20.conf": "[Service]\nExecStart=\nExecStart=-/c run\n",
    }
    unit = find_unit(tree(tmp_path, files))
    assert unit is not None
    assert (unit.command, unit.value("User")) == (["/c", "run"], "")
    assert parse_unit("") == []
    assert packaged_unit().command[:2] == ["edged", "run"]


# -- its user -------------------------------------------------------------------------------------


def unit_of(text: str) -> Unit:
    return Unit("/x", tuple(parse_unit(text)))


def test_the_service_has_the_groups_of_its_user_and_of_its_unit(tmp_path: Path) -> None:
    seen = tree(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUPS + "gpio:x:997:\n"})
    account = service_account(unit_of("User=edged\nSupplementaryGroups=gpio 44"), seen)
    assert account == Account("edged", 61566, frozenset({61566, 20, 997, 44}), service=True)


def test_a_user_made_at_each_start_has_the_groups_of_the_unit_only(tmp_path: Path) -> None:
    seen = tree(tmp_path, {"etc/passwd": PASSWD.splitlines()[0], "etc/group": GROUPS})
    account = service_account(unit_of("DynamicUser=yes\nSupplementaryGroups=dialout"), seen)
    assert (account.name, account.uid, account.gids) == ("edged", None, frozenset({20}))


def test_a_unit_without_a_user_runs_as_root(tmp_path: Path) -> None:
    account = service_account(unit_of(""), Tree(tmp_path))
    assert account.uid == 0


def test_who_runs_this_is_named_from_the_users_file(tmp_path: Path) -> None:
    seen = tree(tmp_path, {"etc/passwd": f"press:x:{os.geteuid()}:0::/:/bin/sh\nbroken line\n"})
    assert own_account(seen).name == "press"


@pytest.mark.parametrize(("mode", "may"), [(0o600, False), (0o640, True), (0o604, False), (0o044, True)])
def test_the_class_that_a_user_is_in_decides_alone(tmp_path: Path, mode: int, may: bool) -> None:
    """A member of the group is judged by the group's bits, also where all others may more."""
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    member = Account("edged", 54321, frozenset({path.stat().st_gid}), service=True)
    assert member.may(path.stat(), READ) is may


# -- secrets --------------------------------------------------------------------------------------


class Secrets:
    """A configuration with a password file, in a folder that other users may enter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.config, self.password = folder / "edged.toml", folder / "mqtt.password"
        self.config.touch()
        self.password.write_text("geheim\n")
        self.brokers = {"main": Broker(url="mqtt://h", username="u", password_file=str(self.password))}
        monkeypatch.setattr("edged.doctor.secrets._reachable", lambda _: True)  # pytest's own folders are closed

    def findings(self, mode: int, account: Account | None = None) -> dict[str, Finding]:
        self.password.chmod(mode)
        own = account or Account("press", os.geteuid(), frozenset(), service=False)
        return found(check_secrets(self.brokers, self.config, own, Tree(self.config.parent)))


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Secrets:
    return Secrets(monkeypatch, tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_password_that_all_may_read_or_change_is_an_error(secrets: Secrets, mode: int) -> None:
    finding = secrets.findings(mode)["secret-open"]
    assert (finding.severity, finding.fix) == (ERROR, f"sudo chmod 600 {secrets.password}")
    assert "geheim" not in str(finding)


def test_a_closed_password_is_fine(secrets: Secrets) -> None:
    assert list(secrets.findings(0o600)) == ["ok"]


def test_a_password_that_the_service_may_not_read_is_an_error(secrets: Secrets) -> None:
    finding = secrets.findings(0o600, Account("edged", 54321, frozenset({54321}), service=True))["secret-closed-to-service"]
    assert finding.fix == f"sudo chown root:edged {secrets.password} && sudo chmod 640 {secrets.password}"


def test_a_folder_closed_to_others_protects_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "password").write_text("x")
    (folder / "password").chmod(0o644)
    (folder / "edged.toml").touch()
    brokers = {"main": Broker(url="mqtt://h", username="u", password_file=str(folder / "password"))}
    own = Account("press", os.geteuid(), frozenset(), service=False)
    assert list(found(check_secrets(brokers, folder / "edged.toml", own, Tree(tmp_path)))) == ["ok"]


def test_a_group_of_many_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = Secrets(monkeypatch, tmp_path)
    secrets.password.chmod(0o640)
    status = secrets.password.stat()
    foreign = os.stat_result((*status[:5], 100, *status[6:10]))
    monkeypatch.setattr(Path, "stat", lambda self, **_: foreign if self == secrets.password else os.stat(self))
    own = Account("press", os.geteuid(), frozenset(), service=False)
    codes_ = found(check_secrets(secrets.brokers, secrets.config, own, tree(tmp_path, {"etc/group": "users:x:100:\n"})))
    assert codes_["secret-open-to-group"].severity == WARNING
    assert "all of group users" in codes_["secret-open-to-group"].text


def test_a_configuration_that_all_may_change_is_an_error(tmp_path: Path) -> None:
    status = os.stat_result((stat.S_IFREG | 0o666, 1, 1, 1, 0, 0, 1, 0, 0, 0))
    assert [each.code for each in judge_config(tmp_path / "edged.toml", status)] == ["config-open"]


def test_an_encrypted_key_is_told_and_nobody_is_asked_for_its_pass_phrase(tls: Tls, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(tls.key), "-aes256", "-passout", "pass:geheim", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(Trouble) as caught:
        tls_context(Broker(url="mqtts://h", cert_file=str(tls.cert), key_file=str(locked)))
    assert caught.value.finding.code == "key-locked"


def test_tls_files_that_do_not_fit_together_are_told(tls: Tls, tmp_path: Path) -> None:
    with pytest.raises(Trouble) as caught:
        tls_context(Broker(url="mqtts://h", cert_file=str(tls.ca), key_file=str(tls.key)))
    assert caught.value.finding.code == "tls-files"


def test_a_password_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    with pytest.raises(Trouble) as caught:
        password_of(Broker(url="mqtt://h", username="u", password_file=str(tmp_path / "password")))
    assert caught.value.finding.code == "password-unreadable"


# -- certificates ---------------------------------------------------------------------------------

HEAD = "-----BEGIN CERTIFICATE-----\n"
BEGIN, END = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2027, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("now", "code", "severity"),
    [
        (datetime(1970, 1, 1), "certificate-not-yet-valid", ERROR),
        (datetime(2026, 6, 1), "ok", OK),
        (datetime(2026, 12, 10), "certificate-expires", WARNING),
        (datetime(2026, 12, 28), "certificate-expires", ERROR),
        (datetime(2027, 2, 1), "certificate-expired", ERROR),
        (datetime(9999, 1, 1), "certificate-expired", ERROR),
    ],
)
def test_the_days_that_are_left_decide(now: datetime, code: str, severity: str) -> None:
    ns = int(now.replace(tzinfo=timezone.utc).timestamp()) * NS
    (finding,) = judge_validity("it", "main", Validity(BEGIN, END), ns, "look")
    assert (finding.code, finding.severity) == (code, severity)


def test_a_certificate_is_read_as_openssl_reads_it(tls: Tls) -> None:
    said = subprocess.run(["openssl", "x509", "-in", str(tls.cert), "-noout", "-enddate"], check=True, capture_output=True, text=True)
    (validity,) = validities(tls.cert.read_text())
    assert validity.end.timestamp() == ssl.cert_time_to_seconds(said.stdout.strip().removeprefix("notAfter="))


def test_a_certificate_beyond_2050_is_read(tmp_path: Path, tls: Tls) -> None:
    """From 2050 on dates are of another kind."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "20000", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", "k", "-out", "c"], cwd=tmp_path, check=True, capture_output=True)
    (validity,) = validities((tmp_path / "c").read_text())
    assert validity.end.year > 2075


def test_files_of_certificates_are_judged(tls: Tls, tmp_path: Path) -> None:
    """The test's own certificates hold for two days; of a bundle, one that holds is enough."""
    long = tmp_path / "long"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "900", "-subj", "/CN=x", "-keyout", "k", "-out", "long"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    bundle = tmp_path / "bundle"
    bundle.write_text(tls.ca.read_text() + long.read_text())
    brokers = {"main": Broker(url="mqtts://h", ca_file=str(bundle), cert_file=str(tls.cert), key_file=str(tls.key))}
    assert [(each.subject, each.code) for each in check_certificates(brokers, time.time_ns())] == [
        ("mqtt.main.ca_file", "ok"),
        ("mqtt.main.cert_file", "certificate-expires"),
    ]


@pytest.mark.parametrize("text", ["", "no certificate", f"{HEAD}MIIB\n", f"{HEAD}!!\n-----END CERTIFICATE-----"])
def test_a_file_without_a_certificate_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca").write_text(text)
    brokers = {"main": Broker(url="mqtts://h", ca_file=str(tmp_path / "ca"))}
    assert [each.code for each in check_certificates(brokers, 0)] == ["certificate-malformed"]


def test_a_certificate_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    brokers = {"main": Broker(url="mqtts://h", ca_file=str(tmp_path / "ca"))}
    assert [each.code for each in check_certificates(brokers, 0)] == ["certificate-unreadable"]


def test_a_cut_or_changed_certificate_is_malformed_or_read_never_worse(tls: Tls) -> None:
    der = ssl.PEM_cert_to_DER_cert(tls.cert.read_text())
    for end in range(0, len(der), 7):
        with pytest.raises(Malformed):
            validity_of(der[:end])
    for i in range(300):
        with suppress(Malformed):
            validity_of(der[:i] + bytes([der[i] ^ 0xFF]) + der[i + 1 :])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_certificate_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        validity_of(data)


# -- configuration and daemon -----------------------------------------------------------------------


def test_a_sound_configuration_is_fine(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text('[mqtt.main]\nurl = "mqtt://127.0.0.1"\n' + pipeline("pump", on_topic("a/{b}")))
    assert list(found(check_configuration(config))) == ["ok"]


def test_faults_of_the_file_and_missing_models_are_told(tmp_path: Path) -> None:
    broken, without = tmp_path / "broken.toml", tmp_path / "without.toml"
    broken.write_text('[mqtt.main]\nurll = "x"\n')
    text = f'[device]\nstate_dir = "{tmp_path}"\n[mqtt.main]\nurl = "mqtt://127.0.0.1"\n' + pipeline("pump", on_topic("a/{b}"))
    without.write_text(text.replace(f'model_dir = "{HAR}"', 'model = "pump-anomaly"'))
    faults = [*check_configuration(broken)]
    assert {each.code for each in faults} == {"config-fault"}
    assert any("broken.toml:2: mqtt.main.urll:" in each.text for each in faults)
    (fault,) = check_configuration(without)
    assert "no model `pump-anomaly`" in fault.text
    assert fault.fix == f"edged check --config {without}"


def test_of_many_faults_a_few_are_shown() -> None:
    faults = list(judge_answer({"faults": [f"fault {i}" for i in range(9)]}, Path("x")))
    assert [each.text for each in faults] == [*(f"fault {i}" for i in range(5)), "x: 4 more faults"]


def test_an_unreadable_configuration_is_told(tmp_path: Path) -> None:
    assert [each.code for each in check_configuration(tmp_path / "none.toml")] == ["config-fault"]


def test_no_daemon_is_a_hint(tmp_path: Path) -> None:
    assert {each.code: each.severity for each in check_daemon(tmp_path / "s")} == {"daemon-not-running": HINT}


def test_a_socket_left_over_is_told_with_the_way_to_its_log(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    (finding,) = check_daemon(tmp_path / "s")
    assert finding.code == "daemon-not-reachable"
    assert "journalctl" in finding.advice


def test_a_daemon_that_speaks_nonsense_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)  # unread, it would end the connection before the answer
                connection.sendall(msgspec.json.encode({"health": 7}) + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert {each.code: each.severity for each in check_daemon(tmp_path / "s")} == {"snapshot-unreadable": ERROR}
        thread.join()


def test_what_a_running_daemon_says_of_itself_is_passed_on(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon('[mqtt.main]\nurl = "mqtt://127.0.0.1:1"\n' + pipeline("pump", on_topic("a/{b}"))).launch()
    until(lambda: daemon.socket.exists(), "the daemon has its socket")
    daemon.until(lambda status: "broker-unreachable" in codes(status), "the daemon misses its broker")
    finding = found(check_daemon(daemon.socket))["broker-unreachable"]
    assert finding.subject == "main"
    assert finding.text.startswith("the daemon says: ")
    daemon.stop()
