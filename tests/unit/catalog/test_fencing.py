"""One czar writes: a paused old one cannot, and a lost answer is asked for again."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from support import metadata
from support.postgres import Server

from qserv.catalog import backends
from qserv.catalog.database import Database
from qserv.catalog.store import Store
from qserv.errors import Conflict, CzarReplaced, InvalidRequest, MetadataUnavailable


@pytest.fixture
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path, metadata_place)) as opened:
        yield opened


@contextmanager
def taken_over(store, tmp_path, monkeypatch):
    """A newer czar on the metadata of one that does not know that it lost them."""
    backend = store._database._backend
    if backend.engine.name == "sqlite":
        monkeypatch.setattr(backends, "_locked", lambda _: None)
    else:
        # As when its network was cut: the server gave its lock away.
        pid = backend._owner.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with backend.engine.connect() as connection:
            connection.execute(sa.text(f"SELECT pg_terminate_backend({pid})"))
    with monkeypatch.context() as patched:
        patched.setattr(backends.Sqlite, "close", lambda self: self.engine.dispose())
        with closing(Store.open(tmp_path)) as newer:
            yield newer


def test_a_czar_that_was_replaced_writes_nothing(store, tmp_path, monkeypatch):
    metadata.publish(store)
    with taken_over(store, tmp_path, monkeypatch) as newer:
        assert newer.epoch == store.epoch + 1
        for write in (
            lambda: store.join("w9", "127.0.0.1:9"),
            lambda: metadata.publish(store, "load-2"),
            store.allocate,
            store.confirm,
        ):
            with pytest.raises(
                CzarReplaced, match=f"newer czar with epoch {newer.epoch}"
            ):
                write()
        assert newer.allocate() == 2
        assert store.snapshot().id == newer.snapshot().id == 1


def test_without_the_fence_a_replaced_czar_writes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Database, "_fence", lambda *_: None)
    with taken_over(store, tmp_path, monkeypatch):
        assert metadata.publish(store).id == 1


def test_two_writers_never_get_one_number(store):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: store.allocate(), range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_a_reader_sees_one_state(store):
    metadata.publish(store)
    count = sa.select(sa.func.count()).select_from(store.tables["snapshot"])
    with store.reading() as connection:
        before = connection.execute(count).scalar_one()
        files = metadata.files("load-2", metadata.family(), 2)
        metadata.publish(store, "load-2", files=files)
        assert connection.execute(count).scalar_one() == before


@contextmanager
def answers_lost(store, count):
    """Commit, and then say that the connection was lost."""
    dialect = store._database._backend.engine.dialect
    lost = iter(range(count))

    def commit(connection):
        type(dialect).do_commit(dialect, connection)
        if next(lost, None) is not None:
            raise dialect.loaded_dbapi.OperationalError("the connection was lost")

    dialect.do_commit = commit
    yield
    del dialect.do_commit
    assert next(lost, None) is None


def published(store, monkeypatch, load, around):
    """Publish a load; only the publication itself is inside `around`."""
    publish = store.publish

    def hurt(publication):
        with around:
            return publish(publication)

    monkeypatch.setattr(store, "publish", hurt)
    return metadata.publish(store, load)


def test_a_lost_answer_to_a_commit_is_asked_for_again(store, monkeypatch):
    snapshot = published(store, monkeypatch, "load-1", answers_lost(store, 2))
    assert (snapshot.id, snapshot.table("hip", "Object").rows) == (1, 20)


def test_a_table_is_dropped_though_the_answer_is_lost(store):
    metadata.publish(store)
    with answers_lost(store, 1):
        gone = store.drop_tables("hip", ["Source"])
    assert set(gone.release("hip").tables) == {"object", "filter"}
    assert store.snapshot() is gone


def test_asked_once_only_a_committed_load_would_fail(store, monkeypatch):
    monkeypatch.setattr("qserv.patience.METADATA", 0.0)
    with pytest.raises(MetadataUnavailable, match="the connection was lost"):
        published(store, monkeypatch, "load-1", answers_lost(store, 1))
    assert store.refreshed().id == 1, "and it is committed all the same"


def test_a_committed_load_is_never_aborted(store):
    metadata.publish(store)
    with pytest.raises(Conflict, match="load-1 is committed"):
        store.abort("load-1", "its loader went away", ["w1"])
    assert store.discards("w1") == ()


@pytest.fixture
def server():
    with closing(Server()) as started:
        started.start()
        yield started


def test_a_database_that_goes_away_and_comes_back(server, tmp_path):
    with closing(Store.open(tmp_path, server.database())) as store:
        metadata.publish(store)
        server.stop()
        with pytest.raises(MetadataUnavailable, match="postgresql://qserv@/t1"):
            store.join("w9", "127.0.0.1:9")
        assert store.snapshot().table("hip", "Object").rows == 20, "queries go on"
        server.start()
        store.join("w9", "127.0.0.1:9")
        files = metadata.files("load-2", metadata.family(), 2)
        assert metadata.publish(store, "load-2", files=files).id == 2
        with pytest.raises(Conflict, match="another czar is running on postgresql://"):
            Store.open(tmp_path / "other", store._database._backend.place)


def test_a_publication_waits_for_a_database_that_restarts(
    server, tmp_path, monkeypatch
):
    with closing(Store.open(tmp_path, server.database())) as store:
        snapshot = published(store, monkeypatch, "load-1", restarted(server, store))
        assert snapshot.table("hip", "Object").rows == 20


@contextmanager
def restarted(server, store):
    """Restart the server between the last statement and the commit."""
    engine = store._database._backend.engine
    sa.event.listen(engine, "commit", lambda _: server.restart(), once=True)
    yield


def test_a_place_is_remembered_without_its_password(postgres, tmp_path):
    place = postgres.database()
    secret = place.replace("qserv@", "qserv:secret@")
    Store.open(tmp_path, secret).close()
    said = (tmp_path / "metadata.place").read_text()
    assert "secret" not in said
    with closing(Store.open(tmp_path)) as again:
        assert again._database._backend.engine.name == "postgresql"


@pytest.mark.parametrize("place", ["mysql://x/y", "nothing", "postgresql://host"])
def test_a_place_that_is_none_is_refused(place, tmp_path):
    with pytest.raises(InvalidRequest, match="postgresql://USER@HOST/"):
        Store.open(tmp_path, place)


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MetadataUnavailable, match="postgresql://qserv@localhost:1/sky"):
        Store.open(tmp_path, "postgresql://qserv@localhost:1/sky")
