"""What all tests share."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what was answered into the golden files",
    )


@pytest.fixture
def rewrite(request):
    """Whether golden files are rewritten instead of compared."""
    return request.config.getoption("--rewrite")
