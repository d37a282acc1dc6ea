"""What each update looks at: Monte Carlo, TD(0), two steps, SARSA, Expected SARSA, Q-learning, side by side."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlcore.view import plots, style

INK = "#333333"


def draw() -> Figure:
    """One column per method, time from top to bottom: circles are states, dots actions, T is the end."""
    fig, ax = plots.figure(height=3.6)
    line = {
        0.0: ("Monte Carlo", "SASASAE"),
        2.0: ("TD(0)", "SAS"),
        4.0: ("2 steps", "SASAS"),
        6.0: ("SARSA", "ASA"),
    }
    for x, (name, chain) in line.items():
        _chain(ax, x, chain)
        _name(ax, x, name)
    for x, name, best in ((8.2, "Expected SARSA", False), (10.8, "Q-learning", True)):
        _chain(ax, x, "AS")
        _fan(ax, x, best)
        _name(ax, x, name)
    ax.set(xlim=(-1.0, 11.9), ylim=(-6.5, 1.0))
    ax.axis("off")
    return plots.caption(
        fig,
        """Backup diagrams in six columns. Monte Carlo runs from a state over all actions and states to the end. TD(0)
        stops at the next state, two steps at the one after. SARSA begins with an action and stops at the next action;
        Expected SARSA averages over all next actions; Q-learning takes the best. Orange: where a value stands in.""",
    )


def _name(ax: Axes, x: float, name: str) -> None:
    ax.text(x, 0.75, name, ha="center", va="center", fontsize=10)


def _chain(ax: Axes, x: float, chain: str) -> None:
    """S state, A action, E end, from top to bottom; the last one is where a value stands in, if it is not the end."""
    first = -1 if chain[0] == "A" else 0  # actions stand between states
    for row, kind in enumerate(chain):
        y, last = first - row, row == len(chain) - 1
        stands_in = last and kind != "E" and chain != "AS"  # below the S of "AS" a fan of actions follows
        edge = style.COLOR["value"] if stands_in else INK
        if not last:
            ax.plot([x, x], [y, y - 1], color=INK, linewidth=1.4, zorder=1)
        if kind == "A":
            ax.scatter(x, y, s=60, facecolor=edge, edgecolor=edge, zorder=2)
        else:
            look = {"marker": "s" if kind == "E" else "o", "linewidth": 2.5 if stands_in else 1.5}
            ax.scatter(x, y, s=230, facecolor="white", edgecolor=edge, zorder=2, **look)
            if kind == "E":
                ax.text(x, y, "T", ha="center", va="center", fontsize=9)


def _fan(ax: Axes, x: float, best: bool) -> None:
    """All next actions below the next state; of the best one, an arc says max."""
    places = (x - 0.7, x, x + 0.7)
    for place in places:
        ax.plot([x, place], [-2, -3], color=INK, linewidth=1.4, zorder=1)
        ax.scatter(place, -3, s=60, color=style.COLOR["value"], zorder=2)
    ax.scatter(x, -2, s=230, facecolor="white", edgecolor=INK, zorder=2)
    if best:
        ax.plot([x - 0.35, x, x + 0.35], [-2.5, -2.62, -2.5], color=INK, linewidth=1.2)
    ax.text(x, -3.6, "the best" if best else "the policy's mean", ha="center", va="center", fontsize=9)
