"""Maps of a table's chunks: the whole sky, and closer where it fills little of it.

A map is a raster: each of its points is looked up in the table's chunks, so that what
is drawn is what the cluster would do with that position, at the poles too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from qserv.sky import healpix
from qserv.sky.chunking import order_of, pixel_of, pixel_ranges

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qserv.client.status import TableStatus

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NARROW: Final = 0.05
"""Share of the sky below which a table is also drawn closer."""

_PAPER: Final = "#0b1026"
_LINES: Final = "#8fa3d9"
_TEXT: Final = "#dfe6ff"
_COLORS: Final = "magma"
_ROOT2: Final = np.sqrt(2.0)


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """The chunks of a table that have rows, sorted by sky.

    Parameters
    ----------
    name
        For the title.
    chunks, rows
        Aligned: chunk ids and their rows.
    """

    name: str
    chunks: Integers
    rows: Integers

    @classmethod
    def of(cls, name: str, table: "TableStatus") -> "ChunkMap":
        """Take the chunks of a table as `Connection.status` gives them."""
        low = pixel_ranges(table.chunk_ids)[:, 0]
        order = np.argsort(low)
        return cls(name, table.chunk_ids[order], table.chunk_rows[order])

    @property
    def share(self) -> float:
        """Share of the sky that the chunks cover."""
        return float(np.sum(0.25 ** order_of(self.chunks) / 12))

    def at(self, lon: Floats, lat: Floats) -> Integers:
        """Return the position in `chunks` of each point's chunk, or -1."""
        ranges = pixel_ranges(self.chunks)
        pixels = healpix.pixels(lon, lat)
        found = np.searchsorted(ranges[:, 0], pixels, "right") - 1
        inside = (found >= 0) & (pixels < ranges[found, 1])
        return np.where(inside, found, -1)

    def window(self) -> tuple[float, float, float]:
        """Return centre and half width of a view of the smallest chunks, degrees.

        The smallest half of the chunks shows where the table is dense.
        """
        order = order_of(self.chunks)
        small = order >= np.median(order)
        fine = [
            healpix.centers(int(o), pixel_of(self.chunks[small & (order == o)]))
            for o in np.unique(order[small])
        ]
        points = np.concatenate(fine)
        center = points.mean(axis=0)
        center /= np.linalg.norm(center)
        reach = np.degrees(np.arccos(np.clip(points @ center, -1, 1))).max()
        lon = np.degrees(np.arctan2(center[1], center[0])) % 360
        lat = np.degrees(np.arcsin(center[2]))
        return float(lon), float(lat), float(max(reach * 0.85, 0.05))


def draw(maps: Sequence[ChunkMap], file: IO[bytes]) -> None:
    """Draw maps below each other, as a PNG.

    Parameters
    ----------
    maps
        One row each; a narrow one is drawn twice, the second time closer.
    file
        Open for bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4 * len(maps)), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    edge = 0.09 / len(maps)  # half an inch for the titles above, and the axes below
    grid = figure.add_gridspec(
        len(maps), 5, left=0.03, right=0.94, bottom=edge, top=1 - edge, hspace=0.2
    )
    for row, each in enumerate(maps):
        if each.share >= NARROW:
            _whole_sky(figure.add_subplot(grid[row, :]), each, bar=True)
        else:
            _whole_sky(figure.add_subplot(grid[row, :2]), each, bar=False)
            _close_up(figure.add_subplot(grid[row, 2:]), each)
    figure.savefig(file, format="png", dpi=140, facecolor=_PAPER)


def _whole_sky(axes: "Axes", chunks: ChunkMap, *, bar: bool) -> None:
    x, y = np.meshgrid(
        np.linspace(-2, 2, 2400) * _ROOT2, np.linspace(-1, 1, 1200) * _ROOT2
    )
    inside = x**2 / 8 + y**2 / 2 < 1
    lon, lat = _unproject(x[inside], y[inside])
    found = np.full(x.shape, -1)
    found[inside] = chunks.at(lon, lat)
    extent = (-2 * _ROOT2, 2 * _ROOT2, -_ROOT2, _ROOT2)
    _paint(axes, chunks, found, extent, bar=bar)
    _graticule(axes)
    if not bar:
        _point_at(axes, chunks)
    axes.set_axis_off()
    axes.set_title(_title(chunks), color=_TEXT, fontsize=13)


def _point_at(axes: "Axes", chunks: ChunkMap) -> None:
    lon, lat, _ = chunks.window()
    x, y = _project(np.array([(lon + 180) % 360 - 180]), np.array([lat]))
    axes.plot(x, y, "o", markersize=14, fillstyle="none", color=_TEXT)


def _unproject(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Turn points of a Mollweide map, RA growing to the left, into degrees."""
    angle = np.arcsin(y / _ROOT2)
    lat = np.degrees(np.arcsin((2 * angle + np.sin(2 * angle)) / np.pi))
    lon = -np.degrees(np.pi * x / (2 * _ROOT2 * np.cos(angle)))
    return lon % 360, lat


def _project(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Turn degrees, lon in [-180, 180], into points of a Mollweide map."""
    target = np.pi * np.sin(np.radians(lat))
    angle = np.radians(lat)
    for _ in range(30):
        slope = np.maximum(2 + 2 * np.cos(2 * angle), 1e-9)
        angle = angle - (2 * angle + np.sin(2 * angle) - target) / slope
    x = -2 * _ROOT2 / np.pi * np.radians(lon) * np.cos(angle)
    return x, _ROOT2 * np.sin(angle)


def _graticule(axes: "Axes") -> None:
    style: dict[str, Any] = {"color": _LINES, "linewidth": 0.5, "alpha": 0.45}
    lats, lons = np.linspace(-89.9, 89.9, 181), np.linspace(-180, 180, 181)
    for lon in range(-180, 181, 30):
        axes.plot(*_project(np.full(lats.shape, float(lon)), lats), **style)
    for lat in range(-60, 61, 30):
        axes.plot(*_project(lons, np.full(lons.shape, float(lat))), **style)
    for lon in range(-150, 180, 60):
        x, y = _project(np.array([float(lon)]), np.array([0.0]))
        text = f"{lon % 360}°"
        axes.text(x[0], y[0], text, color=_TEXT, fontsize=8, ha="center", alpha=0.8)


def _close_up(axes: "Axes", chunks: ChunkMap) -> None:
    lon, lat, half = chunks.window()
    widen = 1 / np.cos(np.radians(lat))
    right = np.linspace(lon + half * widen, lon - half * widen, 1200)
    up = np.linspace(max(lat - half, -90), min(lat + half, 90), 1200)
    grid_lon, grid_lat = np.meshgrid(right, up)
    found = chunks.at(grid_lon.ravel() % 360, grid_lat.ravel()).reshape(grid_lon.shape)
    _paint(axes, chunks, found, (right[0], right[-1], up[0], up[-1]), bar=True)
    axes.set_aspect(widen)
    axes.set_xlabel("RA, degrees", color=_TEXT)
    axes.set_ylabel("Dec, degrees", color=_TEXT)
    axes.tick_params(colors=_TEXT)
    orders = order_of(chunks.chunks)
    title = f"closer: leaves of order {orders.min()} to {orders.max()}"
    axes.set_title(title, color=_TEXT, fontsize=13)


def _paint(
    axes: "Axes",
    chunks: ChunkMap,
    found: Integers,
    extent: tuple[float, float, float, float],
    *,
    bar: bool,
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    rows = np.ma.masked_where(found < 0, chunks.rows[found])
    low, high = int(chunks.rows.min()), int(chunks.rows.max())
    norm = LogNorm(max(1, low), max(2, low + 1, high))
    # The darkest colours would not stand out from the paper.
    colors = ListedColormap(colormaps[_COLORS](np.linspace(0.18, 1, 256)))
    image = axes.imshow(
        rows, extent=extent, origin="lower", norm=norm, cmap=colors, aspect="equal"
    )
    axes.set_facecolor(_PAPER)
    borders = np.zeros((*found.shape, 4))
    borders[..., :3] = 1.0
    borders[..., 3] = 0.28 * _border(found)
    axes.imshow(borders, extent=extent, origin="lower", aspect="equal")
    if bar:
        scale = axes.figure.colorbar(image, ax=axes, fraction=0.025, pad=0.02)
        scale.set_label("rows in the chunk", color=_TEXT)
        scale.ax.tick_params(colors=_TEXT, which="both")


def _border(found: Integers) -> npt.NDArray[np.bool_]:
    border = np.zeros(found.shape, bool)
    border[:, 1:] |= found[:, 1:] != found[:, :-1]
    border[1:, :] |= found[1:, :] != found[:-1, :]
    return border


def _title(chunks: ChunkMap) -> str:
    return f"{chunks.name}: {chunks.rows.sum():,} rows in {chunks.chunks.size:,} chunks"
