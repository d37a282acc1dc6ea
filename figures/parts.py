"""Parts of diagrams: framed boxes, double where something is trained, and arrows between them."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

ARROW = {"arrowstyle": "-|>", "linewidth": 1.2, "color": "#333333", "shrinkA": 0, "shrinkB": 0}
FRAME = {"boxstyle": "round,pad=0.02,rounding_size=0.12"}


def box(
    ax: Axes, middle: tuple[float, float], size: tuple[float, float], words: tuple[str, str], colour: str, trained: bool
) -> None:
    """A white box with a name and, below it, what it does."""
    (x, y), (wide, high) = middle, size
    corner = (x - wide / 2, y - high / 2)
    shape = FRAME | {"edgecolor": colour}
    ax.add_patch(FancyBboxPatch(corner, wide, high, facecolor="white", linewidth=1.8, zorder=2, **shape))
    if trained:
        inner = (corner[0] + 0.07, corner[1] + 0.07)
        ax.add_patch(
            FancyBboxPatch(inner, wide - 0.14, high - 0.14, facecolor="none", linewidth=1.2, zorder=3, **shape)
        )
    ax.text(x, y + 0.155, words[0], ha="center", va="center", weight="bold", zorder=4)
    ax.text(x, y - 0.15, words[1], ha="center", va="center", fontsize=9, zorder=4)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", at: tuple = ()) -> None:
    """An arrow, and a word at a place of its own."""
    ax.annotate("", end, start, arrowprops=ARROW)
    if text:
        ax.text(*at, text, ha="center", va="center", fontsize=9)
