"""From data to axes: figures with a caption that travels with them, and the few drawings that chapters share.

A caption states the finding in words and numbers. It is the picture's alt text, and what a test compares.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def png(fig: Figure, compress_level: int = 1) -> bytes:
    """The figure as PNG bytes, quickly; compress_level 9 makes them small instead."""
    with mpl.rc_context(style.RC):
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", pil_kwargs={"compress_level": compress_level})
    return buffer.getvalue()


def bundle(fig: Figure) -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
    """The figure for a notebook: PNG, with the caption as plain text and as alt text.

    Raises: ValueError when the figure has no caption.
    """
    text = fig.get_label()
    if not text:
        raise ValueError("fig has no caption, expected plots.caption(fig, text) before it is shown")
    image = base64.b64encode(png(fig, compress_level=9)).decode()
    return {"image/png": image, "text/plain": text}, {"image/png": {"alt": text}}


def show(fig: Figure) -> None:
    """Display a figure with its caption below it, where everybody can read it."""
    from IPython.display import Markdown, display

    data, metadata = bundle(fig)
    display(data, metadata=metadata, raw=True)
    display(Markdown(f"*{fig.get_label()}*"))


def save_svg(fig: Figure, path: Path) -> None:
    """Write a figure as SVG, the same bytes every time, with its caption as title and description."""
    metadata = {"Date": None, "Creator": None, "Title": path.stem, "Description": fig.get_label()}
    with mpl.rc_context(style.RC):
        fig.savefig(path, format="svg", metadata=metadata)


def heat(ax: Axes, picture: np.ndarray, limits: tuple[float, float], digits: int = 2, cmap: str = "cividis") -> None:
    """A grid of numbers as colours, each number written in its cell; NaN is a wall.

    Args:
        picture: [height, width] values.
        limits:  the values of the two ends of the colour scale.
        digits:  decimals written in the cells.
    """
    colours = mpl.colormaps[cmap].with_extremes(bad="#444444")
    ax.imshow(np.ma.masked_invalid(picture), cmap=colours, vmin=limits[0], vmax=limits[1])
    middle = (limits[0] + limits[1]) / 2
    for (row, column), value in np.ndenumerate(picture):
        if np.isfinite(value):
            ink = "black" if value > middle else "white"
            ax.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=ink, fontsize=8)
    ax.set(xticks=range(picture.shape[1]), yticks=range(picture.shape[0]), xlabel="column", ylabel="row")
    ax.grid(False)
    ax.spines[:].set_visible(False)


def exact(ax: Axes, y: float, label: str) -> None:
    """The exact answer as a thin black line under the estimates."""
    ax.axhline(y, color=style.COLOR["exact"], linewidth=0.9, zorder=1, label=label)
