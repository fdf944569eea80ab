"""A cluster that cases share until one of them fails."""

import pytest
from support.chaos import Cluster
from support.twoloads import two_loads

ENOUGH = 40
"""Cases of a cluster: what they loaded stays there."""
FAILED = pytest.StashKey[bool]()
SHARED = pytest.StashKey["Shared"]()


class Shared:
    """Gives each case a cluster that is whole: the last one's, or a new one.

    Parameters
    ----------
    places
        Makes directories.
    """

    def __init__(self, places):
        self._places = places
        self._cluster = None
        self._cases = 0

    def give(self, anew):
        """Return the cluster for the next case."""
        self._cases += 1
        if anew or self._cases > ENOUGH:
            self.close()
        if self._cluster is None:
            self._cases = 1
            self._cluster = Cluster(self._places.mktemp("chaos"))
            self._cluster.__enter__()
        self._cluster.clean()
        return self._cluster

    def close(self):
        """Stop the cluster."""
        if self._cluster is not None:
            self._cluster.__exit__()
            self._cluster = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        item.session.stash[FAILED] = True
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Stop the cluster once other tests follow, whose machine is theirs."""
    last = nextitem is None or not nextitem.path.is_relative_to(item.path.parent)
    if last and (shared := item.session.stash.get(SHARED, None)) is not None:
        shared.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory, request):
    shared = Shared(tmp_path_factory)
    request.session.stash[SHARED] = shared
    yield shared
    shared.close()


@pytest.fixture
def cluster(shared, request):
    """Give a whole cluster: a new one if the case before failed."""
    failed = request.session.stash.get(FAILED, False)
    request.session.stash[FAILED] = False
    return shared.give(anew=failed)


@pytest.fixture(scope="session")
def loads(tmp_path_factory):
    """Make the files of two loads into few chunks."""
    return two_loads(tmp_path_factory.mktemp("two-loads"))


@pytest.fixture(scope="session")
def replacing(tmp_path_factory):
    """Make the files of two loads, the second in place of the first."""
    return two_loads(tmp_path_factory.mktemp("replacing"), replaces=True)
