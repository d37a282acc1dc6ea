"""Six pairs of one ranking: together in one batch element, or shuffled over six steps."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlcore.view import plots, style

NAMES = "ABCD"  # from best to worst
SHADES = ("#003d61", "#0072B2", "#5a9fcc", "#b3d3e8")


def draw() -> Figure:
    """Left: four replies and an arc for each pair. Right: the same pairs, two replies each."""
    fig, (left, right) = plots.figure(height=2.5, ncols=2)
    for place, reach in combinations(range(4), 2):
        angle = np.linspace(0, np.pi, 40)
        middle, half = (place + reach) / 2, (reach - place) / 2
        left.plot(middle + half * np.cos(angle), 0.34 + 0.75 * half * np.sin(angle), color="#555555", linewidth=1)
    for place in range(4):
        _reply(left, place, 0, place)
    left.set(xlim=(-0.6, 3.6), ylim=(-0.75, 1.75), title="Together: one step, 4 replies read")
    for step, pair in enumerate(combinations(range(4), 2)):
        for height, reply in zip((1.05, 0.0), pair, strict=True):
            _reply(right, step, height, reply)
        right.plot([step, step], [0.34, 0.71], color="#555555", linewidth=1)
        right.text(step, -0.62, f"step {step + 1}", ha="center", fontsize=9)
    right.set(xlim=(-0.6, 5.6), ylim=(-0.75, 1.75), title="Shuffled: six steps, 12 replies read")
    left.text(1.5, -0.62, "A was ranked best, D worst", ha="center", fontsize=9)
    for ax in (left, right):
        ax.axis("off")
    text = """One ranking of four replies, A best. Left: all six pairs, drawn as arcs, form one element of a batch; the
    model reads each reply once, 4 in all. Right: the same six pairs fall into six different steps; each reply is read
    in three of them, 12 in all."""
    return plots.caption(fig, text)


def _reply(ax: Axes, x: float, y: float, place: int) -> None:
    ax.plot(x, y, "o", color=SHADES[place], markersize=21, markeredgecolor=style.COLOR["policy"])
    ax.text(
        x, y - 0.015, NAMES[place], ha="center", va="center", color="white" if place < 3 else "black", weight="bold"
    )
