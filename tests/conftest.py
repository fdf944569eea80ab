"""What every test may use."""

from contextlib import closing

import pytest
from hypothesis import settings
from support.postgres import Server

from qserv.catalog.backends import SQLITE, backend
from qserv.catalog.database import Database

# A slow machine is no failure; a failing example is printed so that it can be replayed.
settings.register_profile("qserv", deadline=None, print_blob=True)
settings.load_profile("qserv")


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what golden files should say into them; review the difference",
    )
    parser.addoption(
        "--everywhere",
        action="store_true",
        help="run each SQL file on every tree, in batches of one chunk, a few, and all",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run tests that share something costly in one process, so that it is made once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None and (group := _group(item)):
            item.add_marker(pytest.mark.xdist_group(group))


def _group(item):
    """Return what a test shares: what its own file sets up, or else the cluster."""
    known = item._fixtureinfo.name2fixturedefs
    used = [known[name][-1] for name in item.fixturenames if name in known]
    shared = [f for f in used if f.scope in {"module", "session"}]
    file, _, _ = item.nodeid.partition("::")
    if any(fixture.baseid == file for fixture in shared):
        return file.replace("/", ".")
    return "cluster" if any(f.argname == "cluster" for f in shared) else None


@pytest.fixture
def rewrite(request) -> bool:
    """Whether golden files are to be written instead of compared."""
    return request.config.getoption("--rewrite")


@pytest.fixture(scope="session")
def postgres():
    """Start a PostgreSQL server."""
    with closing(Server()) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def metadata_template(postgres):
    """Make the metadata once, so that a test only copies it."""
    url = postgres.database()
    Database(backend(postgres.directory, url)).close()
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def metadata_place(request):
    """Say where a test keeps its metadata: each test that asks runs on both."""
    if request.param == "sqlite":
        yield SQLITE
        return
    server = request.getfixturevalue("postgres")
    url = server.database(request.getfixturevalue("metadata_template"))
    yield url
    server.drop(url)
