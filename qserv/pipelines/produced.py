"""A release that a pipeline produces, and how it is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from qserv.client.connection import Connection


@dataclass(frozen=True, slots=True)
class Produced:
    """A release of a pipeline, whose schema is ``schemas/NAME.yaml``.

    Parameters
    ----------
    name
        What it is called.
    pipeline
        Name and version of what made it.
    """

    name: str
    pipeline: str

    def load(
        self,
        db: Connection,
        inputs: Mapping[str, Sequence[Path]],
        *,
        release: str = "",
        **how: Any,
    ) -> Any:
        """Load what `produce` wrote.

        Parameters
        ----------
        db
            Where to.
        inputs
            Table name -> its files.
        release
            Its name there; empty for its own.
        **how
            Further arguments of `Connection.load`, such as `leaf_rows`.

        Returns
        -------
        LoadReport
            As of `Connection.load`.
        """
        with as_file(files("qserv.pipelines") / "schemas") as schemas:
            return db.load(
                release or self.name,
                inputs,
                schema=schemas / f"{self.name}.yaml",
                pipeline=self.pipeline,
                **how,
            )
