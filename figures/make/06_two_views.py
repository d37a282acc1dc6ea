"""One reply, seen twice: as a chain of actions with one reward at its end, and as a single action."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from rlcore.view import plots, style

WORDS = ("please", "wait", "EOS")
STATES = ("x", "x  please", "x  please wait", "end")


def draw() -> Figure:
    """Above the token MDP, below the contextual bandit."""
    fig, ax = plots.figure(height=2.9)
    blue, green = style.COLOR["policy"], style.COLOR["reward"]
    places = (0.0, 2.35, 4.9, 7.7)
    for x, name in zip(places, STATES, strict=True):
        _box(ax, x, 2.1, name)
    for x, after, word, paid in zip(places, places[1:], WORDS, ("0", "0", "r(x, y)"), strict=False):
        _arrow(ax, x + 0.75, after - 0.75, 2.1)
        ax.text((x + after) / 2, 2.38, word, ha="center", va="bottom", color=blue)
        ax.text((x + after) / 2, 1.82, paid, ha="center", va="top", color=green)
    _box(ax, places[0], 0.3, "x")
    _box(ax, places[-1], 0.3, "end")
    _arrow(ax, 0.75, places[-1] - 0.75, 0.3)
    ax.text(3.85, 0.58, "please wait EOS", ha="center", va="bottom", color=blue)
    ax.text(3.85, 0.02, "r(x, y)", ha="center", va="top", color=green)
    ax.text(-0.75, 3.05, "Token MDP: three actions, one reward at the end", weight="bold")
    ax.text(-0.75, 1.12, "Contextual bandit: one action, one reward", weight="bold")
    ax.set(xlim=(-0.85, 8.55), ylim=(-0.4, 3.4))
    ax.axis("off")
    text = """The reply please wait to a prompt x, twice. As a token MDP the states are x, x please, x please wait
    and the end; the actions please, wait and EOS lead from one to the next, the first two with reward 0, the last
    with the reward of the whole reply. As a contextual bandit one action, the whole reply, leads from x to the end
    with the same reward."""
    return plots.caption(fig, text)


def _box(ax: Axes, x: float, y: float, name: str) -> None:
    grey = style.COLOR["reference"]
    ax.add_patch(FancyBboxPatch((x - 0.65, y - 0.2), 1.3, 0.4, "round,pad=0.06", facecolor="white", edgecolor=grey))
    ax.text(x, y, name, ha="center", va="center", size=9)


def _arrow(ax: Axes, start: float, end: float, y: float) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "color": style.COLOR["policy"], "linewidth": 1.3}
    ax.add_patch(FancyArrowPatch((start, y), (end, y), **look))
