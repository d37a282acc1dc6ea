"""The four models of RLHF: what flows between them, and who is trained."""

from matplotlib.figure import Figure

from figures import parts
from rlcore.view import plots, style

BOXES = {  # name: (x, y, what it does, colour, trained)
    "policy": (2.2, 2.0, "writes replies", "policy", True),
    "reward model": (5.0, 3.4, "scores whole replies", "reward", False),
    "reference": (5.0, 2.0, "prices each token", "reference", False),
    "critic": (5.0, 0.6, "values each token", "value", True),
}
WIDE, HIGH = 1.85, 0.86


def draw() -> Figure:
    """Boxes for the models, double where they are trained; arrows for what is passed on."""
    fig, ax = plots.figure(height=3.9)
    for name, (x, y, does, colour, trained) in BOXES.items():
        parts.box(ax, (x, y), (WIDE, HIGH), (name, does), style.COLOR[colour], trained)
    ax.text(0.42, 2.0, "prompts", ha="center", va="center")
    parts.arrow(ax, (0.85, 2.0), (2.2 - WIDE / 2, 2.0))
    right = 2.2 + WIDE / 2
    for y in (3.4, 2.0, 0.6):
        parts.arrow(ax, (right, 2.0 + 0.15 * (y - 2.0)), (5.0 - WIDE / 2, y))
    ax.text(3.6, 2.16, "replies", ha="center")
    last = "advantages", "of each token (GAE)"
    parts.box(ax, (7.85, 2.0), (WIDE, HIGH), last, style.COLOR["advantage"], False)
    left, edge = 5.0 + WIDE / 2, 7.85 - WIDE / 2
    parts.arrow(ax, (left, 3.4), (7.6, 2.0 + HIGH / 2), "score, on the last token", (7.25, 3.3))
    parts.arrow(ax, (left, 2.0), (edge, 2.0), "KL price", (6.43, 2.19))
    parts.arrow(ax, (left, 0.6), (7.6, 2.0 - HIGH / 2), "V of each prefix", (7.35, 0.75))
    dashed = parts.ARROW | {"linestyle": "--", "color": style.COLOR["advantage"], "linewidth": 1.6}
    ax.plot([8.2, 8.2, 2.2], [2.0 - HIGH / 2, -0.35, -0.35], "--", color=style.COLOR["advantage"], linewidth=1.6)
    ax.annotate("", (2.2, 2.0 - HIGH / 2), (2.2, -0.35), arrowprops=dashed)
    ax.annotate("", (5.0, 0.6 - HIGH / 2), (5.0, -0.35), arrowprops=dashed)
    ax.text(2.35, -0.25, "gradients", color="#8a4a72", va="bottom")
    ax.text(-0.1, 3.75, "double frame: trained", va="center")
    ax.text(-0.1, 3.4, "single frame: stands still", va="center")
    ax.set(xlim=(-0.1, 8.95), ylim=(-0.6, 4.0))
    ax.axis("off")
    text = """Prompts go to the policy, which writes replies. The reward model scores each whole reply, the reference
    prices each token by −β log(π/π_ref), and the critic gives a value V before each token. From these come the
    advantages of all tokens. Gradients, dashed, go back to two of the four models alone, drawn with double frames:
    policy and critic. Reward model and reference stand still."""
    return plots.caption(fig, text)
