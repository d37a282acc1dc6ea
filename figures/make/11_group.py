"""One prompt, several replies: what a group's rewards become, without a critic."""

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures import parts
from rlcore import grpo, policy_gradient
from rlcore.view import plots, style

REPLIES = (("13 + 11 = 24 high stop", 0), ("13 + 2 = 15 high 2 + 12 = 14 yes", 1), ("11 + 2 = 13 low stop", 0))
REPLIES += (("11 + 12 = 23 high stop", 0),)
LEFT, LINE = 2.1, 0.62  # where replies begin, and how far they are apart


def draw() -> Figure:
    """A prompt, four replies, their rewards, and three kinds of advantages."""
    fig, ax = plots.figure(height=2.9)
    rewards = torch.tensor([[float(right) for _, right in REPLIES]])
    kinds = {"− mean": grpo.group_centered(rewards), "− others' mean": policy_gradient.leave_one_out(rewards)}
    kinds["− mean, / std"] = grpo.group_normalized(rewards, ddof=0)
    parts.box(ax, (0.72, -1.5 * LINE), (1.65, 0.8), ("make 14 from", "13 11 2 12"), "#333333", False)
    for row, (reply, right) in enumerate(REPLIES):
        y, color = -row * LINE, style.COLOR["policy" if right else "rejected"]
        ax.add_patch(Rectangle((LEFT, y - 0.2), 3.5, 0.4, facecolor=color, alpha=0.14, linewidth=0))
        ax.text(LEFT + 0.08, y, reply, va="center", fontsize=9)
        parts.arrow(ax, (1.55, -1.5 * LINE + 0.12 * (1.5 - row)), (LEFT, y))
        ax.text(6.0, y, str(right), ha="center", va="center", color=color, weight="bold")
    for column, (name, advantages) in enumerate(kinds.items()):
        x = (6.95, 8.2, 9.65)[column]
        ax.text(x, 0.55, name, ha="center", fontsize=9, color="#8a4a72")
        for row, value in enumerate(advantages[0].tolist()):
            ax.text(x, -row * LINE, f"{value:+.2f}".replace("-", "−"), ha="center", va="center", color="#8a4a72")
    ax.text(LEFT, 0.55, "G = 4 replies, drawn from one policy", fontsize=9)
    ax.text(6.0, 0.55, "rule: r", ha="center", fontsize=9)
    ax.text(LEFT, -4 * LINE + 0.1, "no critic: siblings say what to expect", va="center", fontsize=9)
    ax.text(6.0, -4 * LINE + 0.1, "mean ¼", ha="center", va="center", fontsize=9)
    ax.set(xlim=(-0.15, 10.4), ylim=(-2.55, 0.8))
    ax.axis("off")
    text = """One prompt, four replies, a rule's rewards 0, 1, 0, 0. What each reply gets, for all its tokens: minus the
    group's mean −0.25, 0.75, −0.25, −0.25; minus the mean of the other three −0.33, 1, −0.33, −0.33; minus the mean
    and divided by the standard deviation −0.58, 1.73, −0.58, −0.58."""
    return plots.caption(fig, text)
