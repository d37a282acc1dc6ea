"""How many groups have anything to teach? The chance that some replies are right and some wrong, for p and G."""

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import grpo
from rlcore.view import plots, style

SIZES = (2, 4, 8, 16, 32, 64)
GRID = torch.linspace(0, 1, 201, dtype=torch.float64)


def counts(p: float, group_size: int) -> Tensor:
    """The chance of 0, 1, …, K right replies: binomial, [K+1].

    >>> counts(0.5, 2)
    tensor([0.2500, 0.5000, 0.2500], dtype=torch.float64)
    """
    right, size = torch.arange(group_size + 1, dtype=torch.float64), torch.tensor(float(group_size)).double()
    ways = (size + 1).lgamma() - (right + 1).lgamma() - (size - right + 1).lgamma()
    return ways.exp() * p**right * (1 - p) ** (size - right)


def draw(p: float, group_size: int) -> Figure:
    """Share of the groups that have a signal against p, and how many replies of a group are right.

    Args:
        p:          probability that a reply is right, in [0, 1].
        group_size: G, of SIZES.
    Returns: captioned figure.
    """
    share = grpo.useful_share(p, group_size)
    fig = plots.canvas(height=3.3)
    left, right = fig.add_axes((0.075, 0.15, 0.41, 0.76)), fig.add_axes((0.575, 0.15, 0.41, 0.76))
    _shares(left, p, group_size, share)
    _counts(right, p, group_size)
    left.set_title(f"G = {group_size}, p = {p:.2f}: {share:.1%} are useful", y=1.0)
    price = f"{group_size / share:.1f} replies for a useful group" if share else "There is no useful group"
    right.set_title(price, y=1.0)
    return plots.caption(fig, _caption(p, group_size, share))


def _shares(ax: Axes, p: float, group_size: int, share: float) -> None:
    for size in SIZES:
        mine = size == group_size
        look = {"color": style.COLOR["policy"], "linewidth": 2.4} if mine else {"color": "#b5b5b5", "linewidth": 1.0}
        ax.plot(GRID, grpo.useful_share(GRID, size), **look, zorder=2 + mine)
    ax.plot(p, share, "o", color=style.COLOR["policy"], markersize=9, zorder=4, clip_on=False)
    notes = ["from the lowest curve up", f"G = {', '.join(map(str, SIZES))}"]
    plots.words(ax, [(0.5, 0.26), (0.5, 0.18)], notes, size=9, color="#595959")
    ax.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="p, chance of a right reply", ylabel="share of useful groups")
    plots.ticks(ax, {k / 4: f"{k / 4:g}" for k in range(5)}, {0: "0", 0.5: "0.5", 1: "1"})


def _counts(ax: Axes, p: float, group_size: int) -> None:
    chances, places = counts(p, group_size).tolist(), range(group_size + 1)
    colours = [style.COLOR["rejected" if k in (0, group_size) else "policy"] for k in places]
    ax.vlines(places, 0, chances, colors=colours, linewidth=110 / (group_size + 1))
    ax.set(xlim=(-0.5, group_size + 0.5), ylim=(0, 1.18), xlabel="right replies in a group", ylabel="chance")
    plots.ticks(ax, {k: str(k) for k in (0, group_size // 2, group_size)}, {0: "0", 0.5: "0.5", 1: "1"})
    ends = [(0, chances[0]), (group_size, chances[-1])]
    for align, (k, chance), name in zip((0, 1), ends, ("all wrong", "all right"), strict=True):
        at = (k + (align - 0.5) * 0.94, chance + 0.06)
        plots.words(ax, [at], [f"{name} {chance:.1%}"], size=9, align=align, color=style.COLOR["rejected"])


def _caption(p: float, group_size: int, share: float) -> str:
    chances = counts(p, group_size)
    price = f"{group_size / share:.1f} replies are drawn for each useful group" if share else "no draw will ever help"
    return f"""p = {p:.2f}, G = {group_size}: {share:.1%} of the groups are useful; {chances[0].item():.1%} are all
        wrong, {chances[-1].item():.1%} all right, with advantages of 0. So {price}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest a hard prompt: two groups in three are all wrong."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    return {
        "p": widgets.FloatSlider(value=0.05, min=0, max=1, step=0.01, description="chance of right p", **wide),
        "group_size": widgets.SelectionSlider(value=8, options=SIZES, description="group size G", **wide),
    }
