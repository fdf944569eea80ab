"""How a load is done."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How a load is done.

    Parameters
    ----------
    family
        Family of a new release; by default named like it.
    replicas
        Copies of each chunk; None leaves it to the czar.
    overlap, leaf_rows, leaf_bytes
        Overlap radius (degrees) of new tables; leaf limits of a new family.
    who, pipeline, configuration, input_ids
        For the history: who loads, name and version of what made the files, the hash
        of its configuration, and what it read.
    max_rejects
        Rows that may be left out; one more, and nothing is loaded.
    rejects
        A file that tells them; None: none.
    dry_run
        Do all but send and commit.
    replace
        The tables that files are for are replaced: what they have goes by then.
    replace_files
        Files that were loaded before with other content replace the rows that they
        brought then.
    processes
        That read and partition; None: one more than there are cores, 0: none but this.
    dask
        Address of a Dask scheduler whose workers do it instead.
    scratch
        A directory for what is under way, which all processes see; None: the system's
        for temporary files.
    """

    family: str | None = None
    replicas: int | None = None
    overlap: float | None = None
    leaf_rows: int | None = None
    leaf_bytes: int | None = None
    who: str = ""
    pipeline: str = ""
    configuration: str = ""
    input_ids: tuple[str, ...] = ()
    max_rejects: int = 0
    rejects: Path | None = None
    dry_run: bool = False
    replace: bool = False
    replace_files: bool = False
    processes: int | None = None
    dask: str | None = None
    scratch: Path | None = None
