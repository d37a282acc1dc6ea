"""From data to axes: figures with a caption that travels with them, and the few drawings that chapters share.

A caption states the finding in words and numbers. It is the picture's alt text, and what a test compares.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path as File
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D
from PIL import Image

from rlcore.view import style


def figure(height: float = 3.2, width: float = style.WIDTH, **subplots: object) -> tuple[Figure, Axes]:
    """A figure in the course's style, apart from pyplot's global state, with its axes.

    Args:
        height, width: inches.
        subplots: what `Figure.subplots` takes, for instance ncols=2.

    >>> fig, axes = figure(ncols=2)
    >>> len(axes)
    2
    """
    style.use()
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(**subplots)


def canvas(height: float = 3.2, width: float = style.WIDTH) -> Figure:
    """An empty figure in the course's style; its axes go where the caller puts them. Explorers use it: fast to draw."""
    style.use()
    return Figure(figsize=(width, height))


def caption(fig: Figure, text: str) -> Figure:
    """Give a figure its caption: one or two sentences that say what is to be seen, with the numbers."""
    fig.set_label(" ".join(text.split()))
    return fig


def png(fig: Figure) -> bytes:
    """The figure as PNG bytes, quickly rather than small."""
    with mpl.rc_context(style.RC | {"text.hinting": "none"}):  # hinting every letter takes a seventh of the time
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def bundle(fig: Figure) -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
    """The figure for a notebook: a small PNG of 256 colours, with the caption as plain text and as alt text.

    Raises: ValueError when the figure has no caption.
    """
    text = fig.get_label()
    if not text:
        raise ValueError("fig has no caption, expected plots.caption(fig, text) before it is shown")
    small = io.BytesIO()
    Image.open(io.BytesIO(png(fig))).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    image = base64.b64encode(small.getvalue()).decode()
    return {"image/png": image, "text/plain": text}, {"image/png": {"alt": text}}


def show(fig: Figure) -> None:
    """Display a figure with its caption below it, where everybody can read it."""
    from IPython.display import Markdown, display

    data, metadata = bundle(fig)
    display(data, metadata=metadata, raw=True)
    display(Markdown(f"*{fig.get_label()}*"))


def save_svg(fig: Figure, path: File) -> None:
    """Write a figure as SVG, the same bytes every time, with its caption as title and description."""
    metadata = {"Date": None, "Creator": None, "Title": path.stem, "Description": fig.get_label()}
    with mpl.rc_context(style.RC):
        fig.savefig(path, format="svg", metadata=metadata)


def heat(
    ax: Axes, picture: np.ndarray, limits: tuple[float, float], digits: int = 2, cmap: str | Colormap = "cividis"
) -> None:
    """A grid of numbers as colours, each number written in its cell; NaN is a wall.

    Args:
        picture: [height, width] values.
        limits:  the values of the two ends of the colour scale.
        digits:  decimals written in the cells.
    """
    colours = mpl.colormaps.get_cmap(cmap).with_extremes(bad="#444444")
    ax.imshow(np.ma.masked_invalid(picture), cmap=colours, vmin=limits[0], vmax=limits[1])
    cells, middle = np.argwhere(np.isfinite(picture)), sum(limits) / 2
    values = [picture[tuple(cell)] for cell in cells]
    inks = ["black" if value > middle else "white" for value in values]
    words(ax, cells[:, ::-1], [number(value, digits) for value in values], size=8, color=inks)
    ax.set(xticks=range(picture.shape[1]), yticks=range(picture.shape[0]), xlabel="column", ylabel="row")
    ax.grid(False)
    ax.spines[:].set_visible(False)


def number(value: float, digits: int) -> str:
    """With a true minus sign, and none before a zero.

    >>> number(-1.5, 2), number(-0.001, 2)
    ('−1.50', '0.00')
    """
    return f"{value:z.{digits}f}".replace("-", "−")


def words(
    ax: Axes, at: Sequence[tuple[float, float]], texts: Sequence[str], size: float, align: float = 0.5, **style: Any
) -> None:
    """Many short texts in one stroke: forty numbers take 2 ms to draw, as forty calls of `Axes.text` they take 40 ms.

    Args:
        at:    (x, y) of each text, in the axes' units; y is its middle.
        texts: as many.
        size:  points.
        align: where x is: 0 at the text's left end, 0.5 in its middle, 1 at its right end.
        style: what PathCollection takes, for instance color; offset_transform for other units than the axes'.
    """
    style = {"offset_transform": ax.transData, "color": "black", "linewidth": 0} | style
    paths = [_word(text, size, align) for text in texts]
    paths += [Path(np.empty((0, 2)))] * (len(paths) == 1)  # Matplotlib draws one alone as a marker: 10 ms instead of 1
    shapes = PathCollection(paths, offsets=at, **style)
    shapes.set_transform(Affine2D().scale(1 / 72) + ax.figure.dpi_scale_trans)  # points to dots, an SVG's as well
    ax.add_collection(shapes, autolim=False)


def ticks(ax: Axes, x: Mapping[float, str], y: Mapping[float, str]) -> None:
    """Tick labels {where: text} without tick marks, in a tenth of the time that Matplotlib's own take to draw.

    For explorers. Set the axes' own labels before.
    """
    across, down = 6 / ax.bbox.width, 12 / ax.bbox.height  # dots, as fractions of the axes
    for axis, room in ((ax.xaxis, 16), (ax.yaxis, 5 * max(map(len, y.values())) + 6)):
        axis.set_ticks([])
        axis.labelpad += room
    style = {"size": 10, "clip_on": False}
    words(ax, [(place, -down) for place in x], [*x.values()], offset_transform=ax.get_xaxis_transform(), **style)
    places = [(-across, place) for place in y]
    words(ax, places, [*y.values()], align=1, offset_transform=ax.get_yaxis_transform(), **style)


def key(ax: Axes, x: float, y: float) -> None:
    """A legend of the labelled lines, its upper left corner at (x, y) in fractions of the axes; as quick as `words`."""
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    heights = y - 16 / ax.bbox.height * (np.arange(len(lines)) + 0.5)
    end, gap = x + 25 / ax.bbox.width, 6 / ax.bbox.width  # dots, as fractions of the axes
    looks = {
        "colors": [line.get_color() for line in lines],
        "linestyles": [line.get_linestyle() for line in lines],
        "linewidths": [line.get_linewidth() for line in lines],
    }
    samples = LineCollection([[(x, h), (end, h)] for h in heights], transform=ax.transAxes, **looks)
    ax.add_collection(samples, autolim=False)
    names = [line.get_label() for line in lines]
    words(ax, [(end + gap, h) for h in heights], names, size=9, align=0, offset_transform=ax.transAxes)


def _word(text: str, size: float, align: float) -> Path:
    glyphs, ends = zip(*(_glyph(letter, size) for letter in text), strict=True)
    starts = np.cumsum((0, *ends)) - sum(ends) * align
    vertices = [
        glyph.vertices + np.array((start, -0.36 * size)) for glyph, start in zip(glyphs, starts[:-1], strict=True)
    ]
    return Path(np.concatenate(vertices), np.concatenate([glyph.codes for glyph in glyphs]))


@lru_cache(maxsize=512)
def _glyph(letter: str, size: float) -> tuple[Path, float]:
    """Outline of a letter standing at (0, 0), and how far the next one stands from it, in points."""
    font = FontProperties(size=size)
    blank = Path(np.empty((0, 2)), np.empty(0, Path.code_type))
    shape = blank if letter.isspace() else TextPath((0, 0), letter, prop=font)
    return shape, text_to_path.get_text_width_height_descent(letter, font, False)[0]


def arrows(ax: Axes, chosen: np.ndarray) -> None:
    """A policy on a grid: one blue arrow in its cell for every chosen action, all of them where several tie.

    Args:
        chosen: [height, width, 4] bool; actions up, right, down, left.
    """
    row, column, action = chosen.nonzero()
    across, along = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)]).T * 0.27
    where, way = (column, row + 0.2), (across[action], along[action])
    pinned = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "dots", "width": 2}
    ax.quiver(*where, *way, color=style.COLOR["policy"], **pinned)


def exact(ax: Axes, y: float, label: str) -> None:
    """The exact answer as a thin black line under the estimates."""
    ax.axhline(y, color=style.COLOR["exact"], linewidth=0.9, zorder=1, label=label)
