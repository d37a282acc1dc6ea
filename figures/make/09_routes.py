"""Two routes from the same pairs to a policy: through a reward model and PPO, or straight."""

from matplotlib.figure import Figure

from figures import parts
from rlcore.view import plots, style

HIGH = 0.82


def draw() -> Figure:
    """Above RLHF: fit a score, then draw and score new replies in a loop. Below DPO: one fit, nothing is drawn."""
    fig, ax = plots.figure(height=2.9)
    parts.box(ax, (0.75, 1.5), (1.5, HIGH), ("pairs", "chosen, rejected"), "#333333", False)
    parts.box(ax, (3.1, 2.5), (1.7, HIGH), ("reward model", "fits the pairs"), style.COLOR["reward"], True)
    parts.box(ax, (6.3, 2.5), (1.95, HIGH), ("policy, critic", "PPO: draws, learns"), style.COLOR["policy"], True)
    parts.box(ax, (6.3, 0.45), (1.95, HIGH), ("policy", "fits the pairs"), style.COLOR["policy"], True)
    parts.box(ax, (8.35, 1.5), (1.3, HIGH), ("reference", "stands still"), style.COLOR["reference"], False)
    parts.arrow(ax, (1.5, 1.7), (2.25, 2.3))
    parts.arrow(ax, (3.95, 2.62), (5.32, 2.62), "scores", (4.63, 2.76))
    parts.arrow(ax, (5.32, 2.36), (3.95, 2.36), "new replies", (4.63, 2.2))
    parts.arrow(ax, (1.5, 1.3), (5.32, 0.5))
    ax.text(3.35, 1.12, "no score, no new replies", ha="center", fontsize=9, rotation=-12)
    parts.arrow(ax, (8.0, 1.5 + HIGH / 2), (7.28, 2.4))
    parts.arrow(ax, (8.0, 1.5 - HIGH / 2), (7.28, 0.55))
    ax.text(7.75, 2.28, "price", ha="left", fontsize=9)
    ax.text(7.75, 0.66, "log π_ref of the pairs", ha="left", fontsize=9)
    ax.text(0.0, 2.78, "RLHF", va="center", weight="bold", fontsize=12)
    ax.text(0.0, 0.3, "DPO", va="center", weight="bold", fontsize=12)
    ax.text(0.0, -0.12, "double frame: trained", va="center", fontsize=9)
    ax.set(xlim=(-0.05, 9.35), ylim=(-0.25, 3.0))
    ax.axis("off")
    text = """Two routes from the same pairs. RLHF: a reward model is fitted to the pairs; then a policy with its critic
    draws new replies, has them scored and learns from the scores, priced by the reference. DPO: the policy itself is
    fitted to the pairs; from the reference it needs the log-probabilities of the replies in the pairs, and no reply is
    drawn. Reward model, policy and critic are trained, the reference stands still."""
    return plots.caption(fig, text)
