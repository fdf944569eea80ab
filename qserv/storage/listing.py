"""What all manifests of a worker list together: each file once, however many versions.

A table that was loaded a thousand times has a thousand manifests, nearly equal. Whoever
asks which files there are, or what tells versions apart, must not read them all again,
nor keep them all in memory.
"""

from collections import Counter
from dataclasses import dataclass, replace

from qserv.catalog.snapshot import ManifestEntry
from qserv.storage.manifest import Key, Manifest, content


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a manifest without reading it again.

    Parameters
    ----------
    transaction
        The load that installed it.
    content
        What tells it apart from another of its version.
    """

    transaction: str
    content: bytes


class Listing:
    """The files that some manifests list.

    Attributes
    ----------
    told
        Of each manifest.
    """

    def __init__(self) -> None:
        self.told: dict[Key, Told] = {}
        self._files: dict[str, ManifestEntry] = {}
        self._counts: Counter[str] = Counter()

    def add(self, manifest: Manifest) -> None:
        """Take a manifest in."""
        paths = [entry.path for entry in manifest.entries]
        told = Told(manifest.transaction, content(manifest.chunks, paths))
        self.told[manifest.key] = told
        self._counts.update(paths)
        for entry in manifest.entries:
            self._files.setdefault(entry.path, entry)

    def remove(self, manifest: Manifest) -> None:
        """Leave a manifest out that was taken in."""
        del self.told[manifest.key]
        for entry in manifest.entries:
            self._counts[entry.path] -= 1
            if not self._counts[entry.path]:
                del self._counts[entry.path], self._files[entry.path]

    def shared(self, manifest: Manifest) -> Manifest:
        """Return a manifest with the entries of others where it has the same."""
        entries = tuple(
            known
            # Most are the same object: comparing values takes far longer.
            if (known := self._files.get(entry.path)) is not entry and known == entry
            else entry
            for entry in manifest.entries
        )
        return replace(manifest, entries=entries)

    def count(self, path: str) -> int:
        """Return how many manifests list a file."""
        return self._counts[path]

    @property
    def files(self) -> list[ManifestEntry]:
        """All files, each once."""
        return list(self._files.values())
