"""A backup holds all metadata, and either database can be made of it again."""

import json
import zipfile
from contextlib import closing

import pytest
import sqlalchemy as sa
from support import metadata
from support.dump import dump

from qserv import sqltext
from qserv.catalog import backup, checkpoint, checkpointrows
from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database
from qserv.catalog.store import Store
from qserv.catalog.views import View
from qserv.errors import Conflict, CorruptData, InvalidRequest

BRIGHT = View("Bright", "SELECT objectId FROM Object", 'The "bright", Δ.')


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path / "czar", metadata_place)) as opened:
        metadata.publish(opened)
        opened.create_view("hip", BRIGHT)
        files = metadata.files("load-2", metadata.family(), 3)
        metadata.publish(opened, "load-2", files=files)
        yield opened


ONCE = pytest.mark.parametrize("metadata_place", ["sqlite"], indirect=True)


def save(directory, path, **how):
    with closing(backend(directory)) as source:
        return backup.backup(source, path, **how)


def restore(path, directory, place="", **how):
    with closing(backend(directory, place)) as target:
        return backup.restore(path, target, **how)


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request, tmp_path):
    """Give another place, of either kind, that is empty."""
    place = SQLITE
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres").database()
    return backend(tmp_path / "other", place)


@pytest.fixture
def file(store, tmp_path):
    path = tmp_path / "saved.qserv"
    save(tmp_path / "czar", path)
    return path


def test_what_is_restored_is_what_was_saved(store, file, other, tmp_path):
    with closing(other):
        backup.restore(file, other)
    with closing(Store(Database(other))) as again:
        assert again.cluster_id == store.cluster_id
        assert again.epoch > store.epoch + 1_000_000, "newer than any that ran since"
        assert again.allocate() > store.allocate()
        assert dump(again) == dump(store)
        assert again.snapshot().id == 3
        assert again.snapshot().view("hip", "bright").text == BRIGHT.text
        then = again.snapshot(1)
        assert then.table("hip", "Object").rows == 20
        layout = metadata.family()
        files = metadata.files("load-3", layout, 4)
        assert metadata.publish(again, "load-3", files=files).id > 3


def test_a_backup_is_of_one_moment(store, tmp_path):
    steps = []

    def seen(part):
        if not steps:
            store.join("w9", "127.0.0.1:9")
            store.create_view("hip", View("Late", "SELECT ra FROM Object", ""))
        steps.append(part.table)

    path = tmp_path / "saved.qserv"
    save(tmp_path / "czar", path, seen=seen)
    with backup.opened(path) as (made, read):
        texts = b"".join(read(part.sha256) for part in made.parts)
    assert b"Bright" in texts
    assert b"Late" not in texts
    assert b"127.0.0.1:9" not in texts


def test_what_is_there_is_replaced_only_by_force(store, file, tmp_path):
    place = (tmp_path / "czar" / "metadata.place").read_text().strip()
    store.drop_view("hip", "bright")
    store.close()
    with pytest.raises(Conflict, match=r"holds metadata already \(1 releases, 3"):
        restore(file, tmp_path / "czar", place)
    restore(file, tmp_path / "czar", place, force=True)
    with closing(Store.open(tmp_path / "czar")) as again:
        assert again.snapshot().view("hip", "bright").text == BRIGHT.text


def test_metadata_of_a_running_czar_is_never_replaced(
    store, file, tmp_path, monkeypatch
):
    monkeypatch.setattr("qserv.patience.OWNER", 0.0)
    with pytest.raises(Conflict, match="another czar is running"):
        restore(file, tmp_path / "czar", force=True)
    assert store.snapshot().id == 3


def test_a_restore_that_fails_leaves_what_was_there(store, file, tmp_path, monkeypatch):
    before = dump(store)
    store.close()

    def broken(*_):
        raise CorruptData("half way")

    monkeypatch.setattr(checkpointrows, "_move_on", broken)
    with pytest.raises(CorruptData, match="half way"):
        restore(file, tmp_path / "czar", force=True)
    with closing(Store.open(tmp_path / "czar")) as again:
        assert dump(again) == before


def rewritten(file, change):
    """Change what an archive holds: name -> text."""
    with zipfile.ZipFile(file) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    change(texts)
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


@ONCE
@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (lambda file: file.write_bytes(b""), CorruptData, "damaged, or no backup"),
        (lambda file: file.write_bytes(b"PK"), CorruptData, "damaged, or no backup"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-200]),
            CorruptData,
            "damaged, or no backup",
        ),
        (lambda file: file.unlink(), InvalidRequest, "cannot read .*No such file"),
        (
            lambda file: rewritten(file, lambda t: t.pop("checkpoint.json")),
            InvalidRequest,
            "is no backup of metadata",
        ),
        (
            lambda file: rewritten(file, lambda t: t.update({min(t): b"[]\n"})),
            CorruptData,
            "has another content",
        ),
        (
            lambda file: rewritten(
                file,
                lambda t: t.update(
                    {
                        "checkpoint.json": t["checkpoint.json"].replace(
                            b"epoch", b"epocH"
                        )
                    }
                ),
            ),
            CorruptData,
            "does not match its checksum",
        ),
    ],
)
def test_a_damaged_backup_is_refused(damage, error, match, file, tmp_path):
    damage(file)
    with pytest.raises(error, match=match):
        restore(file, tmp_path / "fresh", SQLITE)
    with closing(Store.open(tmp_path / "fresh")) as fresh:
        assert fresh.snapshot().id == 0


@ONCE
def test_every_flipped_byte_is_noticed(file, tmp_path):
    good = file.read_bytes()
    unnoticed = []
    for at in range(0, len(good), max(1, len(good) // 150)):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            with backup.opened(file) as (made, read):
                for part in made.parts:
                    checkpoint.checked(part, read(part.sha256))
        except (CorruptData, InvalidRequest):
            continue
        with backup.opened(file) as (again, _):
            unnoticed += [] if again == made else [at]
    assert unnoticed == []


def test_a_backup_of_an_older_format_is_brought_forward(tmp_path, metadata_place):
    scripts = sqltext.migrations()
    with closing(Store.open(tmp_path / "czar", metadata_place)) as store:
        metadata.publish(store)
    newer = [*scripts, (1000, "ALTER TABLE worker ADD COLUMN rack TEXT;\n")]
    path = tmp_path / "saved.qserv"
    save(tmp_path / "czar", path)
    with (
        closing(backend(tmp_path / "other", SQLITE)) as target,
        backup.opened(path) as (made, read),
        backup.emptied(target, force=False) as connection,
    ):
        checkpointrows.fill(connection, made, read, newer)
        found = connection.execute(sa.text("SELECT id, rack FROM worker"))
        assert set(found) == {("w1", None), ("w2", None), ("w3", None)}


@ONCE
def test_a_backup_of_a_newer_qserv_is_refused(file, tmp_path):
    def newer(texts):
        body = json.loads(texts["checkpoint.json"].splitlines()[0])
        body["formats"].append(1000)
        found = checkpoint.Checkpoint(
            **body
            | {"parts": tuple(checkpoint.PartName(**part) for part in body["parts"])}
        )
        texts["checkpoint.json"] = found.encode()

    rewritten(file, newer)
    with pytest.raises(InvalidRequest, match="format 1000, but this qserv knows"):
        restore(file, tmp_path / "fresh", SQLITE)


def test_nothing_to_save_is_said(tmp_path, postgres):
    source = backend(tmp_path, postgres.database())
    with (
        closing(source),
        pytest.raises(InvalidRequest, match="there is no metadata in postgresql:"),
    ):
        backup.backup(source, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_backup_that_cannot_be_written_is_refused(store, tmp_path):
    with pytest.raises(InvalidRequest, match=r"cannot write .*No such file"):
        save(tmp_path / "czar", tmp_path / "nowhere" / "file")
