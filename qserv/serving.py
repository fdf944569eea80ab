"""What a process that serves does, so that queries do not pay for it."""

import asyncio
import gc
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Final, NoReturn, ParamSpec, TypeVar

from typing_extensions import override

P = ParamSpec("P")
T = TypeVar("T")

_LITTLE: Final = 2**18
"""Bytes that are worked on sooner than a thread would begin to."""
_YOUNG: Final = 50_000
"""Objects made before the young are looked through: many queries' worth."""
_NEEDLESS: Final = frozenset({"matplotlib", "pandas", "rich"})


class _Without(MetaPathFinder, Loader):
    """Fails to import what nobody here needs, as where it is not installed."""

    @override
    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in _NEEDLESS else None

    @override
    def create_module(self, spec: ModuleSpec) -> NoReturn:
        raise ModuleNotFoundError(f"a process that serves needs no {spec.name}")


def begin() -> None:
    """Keep out what others import only because it is installed; to be called first.

    Arrow imports pandas to convert a list, healpy matplotlib, structlog rich: 0.8 s and
    60 MB of each process, none of which hands out a DataFrame, draws, or is looked at.
    """
    sys.meta_path.insert(0, _Without())


def settle() -> None:
    """Hide what is there from the collector.

    What start-up made (modules, schemas, connections) lives as long as the process;
    walking it again and again took a tenth of a point query's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)


async def aside(
    size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Work on so many bytes: on many in a thread, so that nobody else waits."""
    if size <= _LITTLE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
