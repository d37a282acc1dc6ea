"""The smallest example of chapter 01 as a graph."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from rlcore.view import plots, style

PLACES = {"start": (0, 0), "bonus": (3, 0.9), "end": (6, 0)}


def arrow(ax, a, b, text, where, bend=0.0, color="#333333", line="-"):
    """A bent arrow between two points, with its label."""
    ax.add_patch(
        FancyArrowPatch(
            a,
            b,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=14,
            color=color,
            linestyle=line,
            shrinkA=2,
            shrinkB=20,
            linewidth=1.6,
        )
    )
    ax.text(*where, text, ha="center", va="center", color=color)


def draw() -> Figure:
    """Start, bonus and end; safe and risky."""
    fig, ax = plots.figure(height=2.6)
    blue, grey, green = style.COLOR["policy"], style.COLOR["reference"], style.COLOR["reward"]
    arrow(ax, (0.3, -0.1), PLACES["end"], "safe: reward 1", (3, -1.22), 0.28, blue)
    ax.plot([0.3, 1.2], [0.1, 0.3], color=blue, linestyle="--")
    ax.text(0.55, 0.62, "risky: reward 0", color=blue, ha="center")
    ax.plot(1.2, 0.3, "o", color="#333333", markersize=6)
    arrow(ax, (1.2, 0.3), PLACES["bonus"], "chance ½", (1.8, 0.92), 0, grey, "--")
    arrow(ax, (1.2, 0.3), PLACES["end"], "chance ½", (3.3, 0.3), 0.05, grey, "--")
    arrow(ax, (3.3, 0.9), PLACES["end"], "any action: reward 4", (4.9, 0.95), -0.15, green)
    for name, (x, y) in PLACES.items():
        shape = "s" if name == "end" else "o"
        ax.scatter(x, y, s=1300, marker=shape, facecolor="white", edgecolor="#333333", zorder=3)
        ax.text(x, y, name, ha="center", va="center", zorder=4)
    ax.set(xlim=(-0.6, 6.6), ylim=(-1.4, 1.5))
    ax.axis("off")
    text = """Graph of the smallest example. From start, the action safe leads to the end and pays 1. The action risky
    pays 0 and leads with chance one half to the bonus room and with chance one half to the end. From the bonus room any
    action pays 4 and leads to the end."""
    return plots.caption(fig, text)
