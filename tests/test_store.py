"""The store of releases: installing, numbers that rise, damage, hostile names."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from edged.errors import BoardError, EdgedError, OperatorError, PublisherError, ReleaseFaults
from edged.models.costs import costs_of_file
from edged.models.manifest import load_release
from edged.models.packed import PACKED, FileSeal, Packed, names_of, parse_packed, seal_file
from edged.models.store import Store

HAR = Path(__file__).parent.parent / "edged" / "demo" / "har"


def seal(folder: Path) -> Path:
    """Write release.json as `edged pack` does, without running anything."""
    manifest = load_release(folder).manifest
    packed = Packed(
        name=manifest.name,
        version=manifest.version,
        release=manifest.release,
        task=manifest.task,
        files={name: seal_file(folder / name) for name in names_of(manifest)},
        costs={variant.name: costs_of_file(folder / variant.file) for variant in manifest.variants},
    )
    (folder / PACKED).write_bytes(packed.encode())
    return folder


def make(tmp_path: Path, release: int = 1, comment: str = "") -> Path:
    """Make a packed release folder."""
    folder = tmp_path / f"har-{release}{comment}"
    shutil.copytree(HAR, folder)
    text = (folder / "model.toml").read_text().replace("release = 1\n", f"release = {release}\n")
    (folder / "model.toml").write_text(text + comment)
    return seal(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def blobs(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / "state" / "models" / "blobs" / "sha256"))


def test_an_installed_release_is_active_and_reads_as_its_folder_did(store: Store, tmp_path: Path):
    folder = make(tmp_path)
    installed = store.install(folder)
    assert (installed.name, installed.release, installed.active, installed.variants) == ("har", 1, True, ("fp32",))
    assert installed.size == sum((folder / name).stat().st_size for name in names_of(load_release(folder).manifest))
    release, original = store.active("har"), load_release(folder)
    assert (release.manifest, release.digest) == (original.manifest, original.digest)
    for variant in release.manifest.variants:
        assert release.path_of(variant).read_bytes() == original.path_of(variant).read_bytes()


def test_the_folder_is_not_needed_afterwards(store: Store, tmp_path: Path):
    shutil.rmtree(store.install(make(tmp_path)) and tmp_path / "har-1")
    assert store.active("har").path_of(store.active("har").variant("fp32")).stat().st_size == 531_296


def test_blobs_are_named_by_their_content_and_read_only(store: Store, tmp_path: Path):
    store.install(make(tmp_path))
    for name in blobs(tmp_path):
        path = tmp_path / "state" / "models" / "blobs" / "sha256" / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
        assert path.stat().st_mode & 0o222 == 0


def test_two_releases_share_the_files_that_are_the_same(store: Store, tmp_path: Path):
    store.install(make(tmp_path, 1))
    before = blobs(tmp_path)
    store.install(make(tmp_path, 2))
    assert len(blobs(tmp_path) - before) == 1  # model.toml
    assert [(each.release, each.active) for each in store.list()] == [(2, True), (1, False)]


def test_the_same_release_again_changes_nothing(store: Store, tmp_path: Path):
    store.install(make(tmp_path, 1))
    store.install(make(tmp_path, 2))
    assert store.install(tmp_path / "har-1").active is False
    assert store.active("har").manifest.release == 2
    assert len(store.list()) == 2


def test_other_content_under_a_number_that_does_not_rise_is_refused(store: Store, tmp_path: Path):
    store.install(make(tmp_path, 2))
    for folder in (make(tmp_path, 1), make(tmp_path, 2, "# other")):
        with pytest.raises(PublisherError) as caught:
            store.install(folder)
        assert caught.value.code == "release-not-rising"
    assert [each.release for each in store.list()] == [2]


def test_a_faulty_or_unpacked_release_is_refused(store: Store, tmp_path: Path):
    folder = make(tmp_path)
    (folder / PACKED).unlink()
    with pytest.raises(PublisherError) as caught:
        store.install(folder)
    assert caught.value.code == "not-packed"
    (folder / "har_float.tflite").unlink()
    with pytest.raises(ReleaseFaults):
        store.install(folder)
    assert store.list() == ()


@pytest.mark.parametrize("name", ["har_float.tflite", "golden-fp32.npz", "model.toml"])
@pytest.mark.parametrize("change", ["flip", "grow", "cut"])
def test_a_file_changed_after_packing_is_refused(store: Store, tmp_path: Path, name: str, change: str):
    folder = make(tmp_path)
    path = folder / name
    data = bytearray(path.read_bytes())
    path.unlink()
    if change == "flip":
        # In model.toml the first byte of a comment, so that it stays a sound manifest.
        at = data.index(b"# acceleration") + 2 if name == "model.toml" else len(data) // 2
        data[at] ^= 1
    path.write_bytes({"flip": data, "grow": data + b"\n", "cut": data.rstrip(b"\n") if name == "model.toml" else data[:-1]}[change])
    with pytest.raises(PublisherError) as caught:
        store.install(folder)
    assert caught.value.code == "file-changed"
    assert store.list() == ()
    assert os.listdir(tmp_path / "state" / "models" / "incoming") == [] if (tmp_path / "state").exists() else True


def test_a_release_json_of_another_manifest_is_refused(store: Store, tmp_path: Path):
    folder = make(tmp_path)
    shutil.copy(make(tmp_path, 2) / PACKED, folder / PACKED)
    with pytest.raises(PublisherError) as caught:
        store.install(folder)
    assert caught.value.code == "packed-stale"


def test_a_release_that_does_not_fit_the_disk_is_refused_before_the_first_byte(store: Store, tmp_path: Path):
    """A sparse file larger than any disk here: reading it would take for ever."""
    folder = make(tmp_path)
    size = shutil.disk_usage(tmp_path).free + (1 << 30)
    (folder / "har_float.tflite").chmod(0o644)
    try:
        os.truncate(folder / "har_float.tflite", size)
    except OSError as error:
        pytest.skip(f"this file system makes no sparse file of {size} bytes: {error}")
    packed = parse_packed((folder / PACKED).read_bytes(), "")
    files = {**packed.files, "har_float.tflite": FileSeal("0" * 64, size)}
    (folder / PACKED).write_bytes(msgspec.structs.replace(packed, files=files).encode())
    with pytest.raises(BoardError) as caught:
        store.install(folder)
    assert caught.value.code == "no-space"
    assert blobs(tmp_path) == set()


def test_a_lost_or_cut_blob_is_noticed_and_mended_by_installing_again(store: Store, tmp_path: Path):
    store.install(make(tmp_path))
    path = store.active("har").path_of(store.active("har").variant("fp32"))
    for damage in (path.unlink, lambda: path.chmod(0o644) or os.truncate(path, 10)):
        damage()
        with pytest.raises(BoardError) as caught:
            store.active("har")
        assert caught.value.code == "store-damaged"
        store.install(tmp_path / "har-1")
        assert store.active("har").path_of(store.active("har").variant("fp32")).stat().st_size == 531_296


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("active", b""),
        ("active", b"2"),
        ("active", b"../../etc"),
        ("active", b"\xff"),
        ("1/release.json", b"{}"),
        ("1/release.json", b"\xff"),
        ("1/release.json", b"[" * 100_000),
        ("1/model.toml", b"name = 1"),
        ("1/model.toml", b""),
    ],
)
def test_damage_in_the_store_is_said_to_be_damage(store: Store, tmp_path: Path, file: str, content: bytes):
    store.install(make(tmp_path))
    (tmp_path / "state" / "models" / "releases" / "har" / file).write_bytes(content)
    with pytest.raises(BoardError) as caught:
        store.active("har")
    assert caught.value.code == "store-damaged"


def test_an_install_cut_off_before_its_last_step_is_finished_by_the_next(store: Store, tmp_path: Path):
    store.install(make(tmp_path, 1))
    store.install(make(tmp_path, 2))
    (tmp_path / "state" / "models" / "releases" / "har" / "active").write_text("1")
    assert store.active("har").manifest.release == 1
    assert store.install(tmp_path / "har-2").active


def test_leftovers_of_a_crash_are_no_obstacle(store: Store, tmp_path: Path):
    folder = make(tmp_path)
    models = tmp_path / "state" / "models"
    for name in names_of(load_release(folder).manifest):
        (models / "incoming").mkdir(parents=True, exist_ok=True)
        (models / "incoming" / seal_file(folder / name).sha256).write_bytes(b"half of")
    (models / "releases" / "har" / ".1.part").mkdir(parents=True)
    (models / "releases" / "har" / ".1.part" / "model.toml").write_bytes(b"half of")
    store.install(folder)
    assert store.active("har").manifest.release == 1
    assert os.listdir(models / "incoming") == []


@pytest.mark.parametrize("name", ["", ".", "..", "../releases/har", "/etc", "Har", "har\n", "har/1", "\x00", "x" * 500, "har\x1b[31m"])
def test_hostile_names_are_no_models(store: Store, tmp_path: Path, name: str):
    store.install(make(tmp_path))
    with pytest.raises(OperatorError) as caught:
        store.active(name)
    assert caught.value.code == "no-such-model"
    assert caught.value.text.isprintable()
    with pytest.raises(OperatorError):
        store.remove(name, 1)


def test_a_model_that_is_not_there_names_those_that_are(store: Store, tmp_path: Path):
    with pytest.raises(OperatorError) as caught:
        store.active("har")
    assert "edged models install" in caught.value.hint
    store.install(make(tmp_path))
    with pytest.raises(OperatorError) as caught:
        store.active("pump")
    assert "har" in caught.value.hint


def test_remove_takes_a_release_and_what_only_it_needed(store: Store, tmp_path: Path):
    store.install(make(tmp_path, 1))
    one = blobs(tmp_path)
    store.install(make(tmp_path, 2))
    store.remove("har", 1)
    assert [each.release for each in store.list()] == [2]
    assert len(one - blobs(tmp_path)) == 1
    assert store.active("har").manifest.release == 2


def test_the_active_release_and_one_that_is_not_there_are_not_removed(store: Store, tmp_path: Path):
    store.install(make(tmp_path))
    for release, code in ((1, "release-active"), (7, "no-such-release"), (-1, "no-such-release")):
        with pytest.raises(OperatorError) as caught:
            store.remove("har", release)
        assert caught.value.code == code
    assert store.active("har").manifest.release == 1


def test_a_store_that_cannot_be_written_is_the_boards_fault(tmp_path: Path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(BoardError) as caught:
        Store(tmp_path / "state").install(make(tmp_path))
    assert caught.value.code == "store-unwritable"


# release.json


def test_release_json_is_canonical(tmp_path: Path):
    data = (make(tmp_path) / PACKED).read_bytes()
    assert data == parse_packed(data, "").encode()
    assert b" " not in data
    assert list(msgspec.json.decode(data)) == ["costs", "files", "name", "release", "task", "v", "version"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda packed: {**packed, "v": 2},
        lambda packed: {**packed, "name": "../x"},
        lambda packed: {**packed, "release": 0},
        lambda packed: {**packed, "extra": 1},
        lambda packed: {**packed, "files": {"../x": {"sha256": "0" * 64, "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "../../etc/passwd", "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64 + "\n", "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64, "size": -1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64, "size": 1e300}}},
        lambda packed: [packed],
    ],
)
def test_a_hostile_release_json_is_malformed(tmp_path: Path, edit):
    packed = msgspec.json.decode((make(tmp_path) / PACKED).read_bytes())
    with pytest.raises(PublisherError) as caught:
        parse_packed(msgspec.json.encode(edit(packed)), "release.json")
    assert caught.value.code == "packed-malformed"


@pytest.mark.parametrize("at", range(0, 400, 9))
def test_a_release_json_with_a_wrong_byte_raises_nothing_but_our_errors(store: Store, tmp_path: Path, at: int):
    folder = make(tmp_path)
    data = bytearray((folder / PACKED).read_bytes())
    data[at] = 0x22
    (folder / PACKED).write_bytes(data)
    try:
        store.install(folder)
    except EdgedError:
        assert store.list() == ()
