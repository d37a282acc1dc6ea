"""A scan by doubling: eight steps know everything behind them after three rounds."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from rlcore.view import plots, style

STEPS = 8


def draw() -> Figure:
    """Rounds from top to bottom; bars show how many steps each place has summed, arrows who takes in whom."""
    fig, ax = plots.figure(height=3.3)
    purple, grey = style.COLOR["advantage"], style.COLOR["reference"]
    for row, reach in enumerate((1, 2, 4, 8)):
        y = 3 - row
        for t in range(STEPS):
            known = min(reach, STEPS - t)
            full = known == STEPS - t
            ax.add_patch(Rectangle((t, y), 0.8, 0.42, facecolor=purple if full else "white", edgecolor=purple))
            text = f"{t}" if known == 1 else f"{t}–{t + known - 1}"
            ax.text(t + 0.4, y + 0.2, text, ha="center", va="center", color="white" if full else "#333333")
            if row < 3 and t + reach < STEPS:
                style_of = {"arrowstyle": "-|>", "mutation_scale": 9, "color": grey, "linewidth": 1.1}
                ax.add_patch(FancyArrowPatch((t + reach + 0.4, y - 0.03), (t + 0.5, y - 0.53), **style_of))
        name = ["surprises", "round 1: + 1 ahead", "round 2: + 2 ahead", "round 3: + 4 ahead"][row]
        ax.text(STEPS + 0.15, y + 0.2, name, va="center")
    ax.set(xlim=(-0.1, 10.6), ylim=(-0.15, 3.55))
    ax.axis("off")
    text = """Four rows of eight boxes, steps 0 to 7. In the first row each box holds its own surprise. After round 1
    each box has taken in the box one ahead and covers two steps, after round 2 the box two ahead and covers four,
    after round 3 the box four ahead and covers all that follow. Filled boxes are finished: one, two, four, and after
    three rounds all eight."""
    return plots.caption(fig, text)
