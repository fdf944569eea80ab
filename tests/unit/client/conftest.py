import pytest
from support.fake_czar import FakeCzar, serving

import qserv


@pytest.fixture
def czar():
    return FakeCzar()


@pytest.fixture
def db(czar):
    with serving(czar) as endpoint, qserv.connect(endpoint) as connection:
        yield connection
