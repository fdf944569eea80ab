"""The release ``hip``: the stars of Hipparcos, observed by a simulated survey."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from qserv.pipelines.produced import Produced
from qserv.pipelines.skysim import Stars, observe
from qserv.pipelines.survey import Cadence, filter_table

RELEASE: Final = "hip"
PIPELINE: Final = "skysim 1"
SEED: Final = 1989

_PASSES_A_FILE: Final = 4


def sample() -> pa.Table:
    """Return the stars of the sample; samples/README.md tells their origin."""
    with as_file(files("qserv.pipelines") / "samples" / "hipparcos.parquet") as path:
        return parquet.read_table(path)


def produce(
    directory: Path,
    *,
    stars: pa.Table | None = None,
    cadence: Cadence | None = None,
    seed: int = SEED,
    progress: Callable[[float], None] | None = None,
) -> dict[str, list[Path]]:
    """Observe the stars and write the release's tables as Parquet files.

    Parameters
    ----------
    directory
        Where to write; made if need be.
    stars
        Rows of Object; by default the sample, about 118,000.
    cadence
        How the survey goes about the sky; by default 16 passes in four filters.
    seed
        The same seed gives the same rows.
    progress
        Called with the share that is done.

    Returns
    -------
    dict
        Table name -> its files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    cadence = cadence or Cadence()
    stars = sample() if stars is None else stars
    sky = Stars.of(stars, np.random.default_rng([seed, 0]))
    written: dict[str, list[Path]] = {}

    def write(table: str, rows: pa.Table) -> None:
        paths = written.setdefault(table, [])
        paths.append(directory / f"{table}-{len(paths) + 1}.parquet")
        parquet.write_table(rows, paths[-1])

    write("Object", stars)
    write("Filter", filter_table())
    for first in range(0, cadence.passes, _PASSES_A_FILE):
        last = min(first + _PASSES_A_FILE, cadence.passes)
        season = [observe(sky, cadence, number, seed) for number in range(first, last)]
        write("Visit", pa.concat_tables([each.visits for each in season]))
        write("Source", pa.concat_tables([each.sources for each in season]))
        write("ForcedSource", pa.concat_tables([o.forced_sources for o in season]))
        if progress is not None:
            progress(last / cadence.passes)
    return written


load = Produced(RELEASE, PIPELINE).load
