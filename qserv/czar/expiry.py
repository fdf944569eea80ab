"""Gives up the loads whose loaders fell silent long ago and that nobody waits for."""

import asyncio
from typing import Final

from qserv.czar.loads import Loads
from qserv.errors import Conflict, MetadataUnavailable
from qserv.telemetry import logger

_log = logger(__name__)

_INTERVAL: Final = 60.0


class Expiry:
    """Ends such loads, so that workers need not keep their files for ever.

    Parameters
    ----------
    loads
        All of the czar's.
    interval
        Seconds between two looks.
    """

    def __init__(self, *, loads: Loads, interval: float = _INTERVAL) -> None:
        self._loads = loads
        self._interval = interval

    async def run(self) -> None:
        """Look now and then, until cancelled.

        Raises
        ------
        CzarReplaced
            If a newer czar has taken the metadata over.
        """
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.sweep()
            except MetadataUnavailable as error:
                _log.warning("the metadata does not answer", why=error.text)

    async def sweep(self) -> None:
        """Give up the loads that were silent for too long."""
        registry = self._loads.registry
        for load in tuple(registry.open.values()):
            # A commit goes on whoever is silent.
            if load.commit is None and registry.left(load) <= 0:
                silence = load.unheard + registry.silence(load)
                reason = f"its loader was silent for {silence / 3600:.1f} hours"
                try:
                    await self._loads.abort(load.id, reason)
                except Conflict as error:
                    _log.info("load stays", load=load.id, why=error.text)
