"""What every test may use."""

import time
from collections.abc import Callable

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


@pytest.fixture
def rewrite(request) -> bool:
    """Whether golden files are to be written instead of compared."""
    return request.config.getoption("--rewrite")


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], object]:
    """Wait until a condition holds; its deadline only bounds a hang."""

    def wait(condition, seconds=30.0):
        end = time.monotonic() + seconds
        while not (result := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {condition}")
            time.sleep(0.02)
        return result

    return wait
