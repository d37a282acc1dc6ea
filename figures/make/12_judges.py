"""One solution, two judges: one label for the answer, or one for each step."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import parts
from rlcore.view import plots, style

STEPS = (("3", True), ("7", False), ("6", False), ("7", True), ("7", True))
PLACES = (2.6, 3.9, 5.2, 6.5, 8.1)


def draw() -> Figure:
    """Running sums of 3 5 9 0 with two slips that cancel: the answer is right, two of the steps are not."""
    fig, ax = plots.figure(height=2.6)
    ax.text(0.0, 1.5, "add 3 5 9 0 =", va="center", fontsize=11)
    for x, (word, _) in zip(PLACES, STEPS, strict=True):
        parts.box(ax, (x, 1.5), (1.0, 0.62), ("", ""), style.COLOR["policy"], False)
        ax.text(x, 1.5, word, ha="center", va="center", fontsize=12, weight="bold", zorder=4)
    ax.text((PLACES[0] + PLACES[3]) / 2, 2.02, "running sums", ha="center", fontsize=9)
    ax.text(PLACES[-1], 2.02, "answer", ha="center", fontsize=9)
    for x, (_, right) in zip(PLACES, STEPS, strict=True):
        _label(ax, x, 0.55, right)
    _label(ax, PLACES[-1], 2.55, True)
    ax.text(0.0, 2.55, "outcome: one label", va="center", weight="bold", fontsize=10)
    ax.text(0.0, 0.55, "process: five", va="center", weight="bold", fontsize=10)
    ax.set(xlim=(-0.05, 9.0), ylim=(0.2, 2.85))
    ax.axis("off")
    text = """A solution of add 3 5 9 0: running sums 3, 7, 6, 7 and the answer 7. The second and the third sum are
    wrong, a second slip makes up for the first, and the answer is right. The outcome model is told one label, right.
    The process model is told five: right, wrong, wrong, right, right."""
    return plots.caption(fig, text)


def _label(ax: Axes, x: float, y: float, right: bool) -> None:
    ax.text(
        *(x, y, "right" if right else "wrong"),
        **{"ha": "center", "va": "center", "fontsize": 10, "weight": "bold"},
        color=style.COLOR["reward" if right else "rejected"],
    )
