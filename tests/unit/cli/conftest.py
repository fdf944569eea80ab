"""The command line, in this process."""

import pytest
from click.testing import CliRunner

from qserv.cli.main import main


@pytest.fixture
def qserv(czar):
    """Run a command against the czar of a test."""

    def run(*arguments, **how):
        environment = {"QSERV_CZAR": czar.endpoint}
        return CliRunner().invoke(main, arguments, env=environment, **how)

    return run
