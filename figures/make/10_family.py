"""The family by what a method needs: which feedback, and whether a frozen reference is asked."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlcore.view import plots, style

COLUMNS = {  # feedback: (left edge, width, colour)
    "pairs": (1.15, 3.7, "policy"),
    "lists": (4.93, 1.25, "value"),
    "thumbs": (6.26, 1.35, "reward"),
    "marks": (7.69, 0.95, "advantage"),
    "only bad": (8.72, 1.28, "rejected"),
}
ROWS = {"a frozen\nreference": (1.55, 2.55), "no\nreference": (0.0, 1.45)}  # bottom, height
CELLS = {
    ("pairs", 0): (
        "DPO · exponential\nhinge (RSO) · IPO\ncDPO · robust DPO\nDPOP",
        "R-DPO (length)\nTDPO-1, TDPO-2\nforward KL, JS, α\nsquared hinge",
    ),
    ("lists", 0): ("Plackett–\nLuce DPO\nLiPO-λ",),
    ("thumbs", 0): ("KTO\nBCO",),
    ("marks", 0): ("DRO-V",),
    ("only bad", 0): ("NPO\nD²O",),
    ("pairs", 1): ("SimPO\nORPO\nCPO", "SLiC-HF\npairwise\nCRINGE"),
    ("lists", 1): ("RRHF\nPRO",),
    ("thumbs", 1): ("CRINGE\nunlikelihood",),
    ("marks", 1): ("—",),
    ("only bad", 1): ("gradient\nascent",),
}


def draw() -> Figure:
    """A table of boxes: feedback across, reference down; below, what may be changed around any of them."""
    fig, ax = plots.figure(height=4.0)
    for kind, (left, width, colour) in COLUMNS.items():
        ax.text(left + width / 2, 4.32, kind, ha="center", va="center", weight="bold")
        for row, (bottom, height) in enumerate(ROWS.values()):
            _box(ax, (left, bottom, width, height), CELLS[kind, row], style.COLOR[colour], dashed=row == 1)
    for name, (bottom, height) in ROWS.items():
        ax.text(1.05, bottom + height / 2, name, ha="right", va="center")
    ax.text(0.0, -0.5, "around any loss:", va="center", weight="bold")
    around = "which pairs: RSO, the filter of β-DPO · which β: β-DPO"
    around += "\nwhich reference: sDPO · what is trained beside it: PAFT"
    ax.text(2.35, -0.5, around, va="center")
    ax.set(xlim=(-0.05, 10.05), ylim=(-0.9, 4.6))
    ax.axis("off")
    text = """The methods of the family by what they need. With a frozen reference. Pairs: DPO, exponential, hinge
    (RSO), squared hinge, IPO, cDPO, robust DPO, DPOP, R-DPO, TDPO, other divergences; lists: Plackett–Luce DPO,
    LiPO-λ; thumbs: KTO, BCO; marks: DRO-V; only bad replies: NPO, D²O. Without a reference. Pairs: SimPO, ORPO,
    CPO, SLiC-HF, pairwise CRINGE; lists: RRHF, PRO; thumbs: CRINGE, unlikelihood; only bad replies: gradient
    ascent. Around any loss: RSO and β-DPO choose pairs, β-DPO the β, sDPO the reference, PAFT what is trained
    beside it."""
    return plots.caption(fig, text)


def _box(ax: Axes, place: tuple[float, ...], columns: tuple[str, ...], colour: str, dashed: bool) -> None:
    left, bottom, width, height = place
    edge = {"edgecolor": colour, "linewidth": 1.8, "linestyle": "--" if dashed else "-"}
    ax.add_patch(Rectangle((left, bottom), width, height, facecolor="white", **edge))
    for k, text in enumerate(columns):
        x = left + width * (k + 0.5) / len(columns)
        ax.text(x, bottom + height / 2, text, ha="center", va="center", fontsize=9, linespacing=1.5)
