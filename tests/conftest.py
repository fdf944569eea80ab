"""What every test may use."""

import pytest
from hypothesis import settings

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
        help="run each SQL file on every tree, in batches of one chunk and of all",
    )


@pytest.fixture
def rewrite(request) -> bool:
    """Whether golden files are to be written instead of compared."""
    return request.config.getoption("--rewrite")
