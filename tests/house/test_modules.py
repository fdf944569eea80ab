"""Modules say what they are, and offer exactly what they declare."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import qserv

GENERATED = "qserv.wire.v1"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(qserv.__path__, "qserv.")
    if not module.name.startswith(GENERATED)
)


def public(module):
    """Public functions and classes that were made in the module."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", ["qserv", *MODULES])
def test_a_module_says_what_it_is(name):
    module = importlib.import_module(name)
    first = (module.__doc__ or "").strip().partition("\n")[0]
    assert first.endswith((".", ":", "?")), f"the docstring of {name}"


@pytest.mark.parametrize("name", MODULES)
def test_declared_names_are_the_public_ones(name):
    module = importlib.import_module(name)
    if (declared := getattr(module, "__all__", None)) is None:
        return
    assert [n for n in declared if not hasattr(module, n)] == []
    assert public(module) - set(declared) == set()


@pytest.mark.parametrize("name", qserv.__all__)
def test_the_package_offers_what_it_declares(name):
    assert getattr(qserv, name).__name__ == name


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import qserv", "grpc numpy pyarrow duckdb"),
        ("import qserv.cli, qserv.cli.main", "astropy healpy felis mocpy matplotlib"),
        ("import qserv; qserv.connect", "astropy healpy felis duckdb matplotlib"),
    ],
)
def test_importing_loads_nothing_heavy(statement, unwanted):
    loaded = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert set(unwanted.split()) & set(loaded) == set()
