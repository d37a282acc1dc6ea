"""The score of a three-action softmax, for each action that may have been taken."""

import torch
from matplotlib.figure import Figure

from rlcore.policies import softmax_score
from rlcore.view import plots, style


def draw() -> Figure:
    """Three panels, one per action taken; a bar per logit."""
    policy = torch.tensor([0.5, 0.3, 0.2])
    scores = softmax_score(policy.log().expand(3, 3), torch.arange(3))
    fig, axes = plots.figure(height=2.4, ncols=3, sharey=True)
    for taken, (ax, score) in enumerate(zip(axes, scores, strict=True)):
        looks = [style.COLOR["policy"] if action == taken else style.COLOR["reference"] for action in range(3)]
        bars = ax.bar(range(3), score, color=looks, width=0.6)
        bars[taken].set_hatch("//")
        ax.bar_label(bars, [plots.number(value, 1) for value in score.tolist()], padding=2)
        ax.axhline(0, color=style.COLOR["exact"], linewidth=0.9)
        ax.set(title=f"action {taken + 1} taken", xlabel="logit", ylim=(-0.75, 1.0))
        ax.set_xticks(range(3), [f"θ{number}\nπ = {chance:.1f}" for number, chance in zip("₁₂₃", policy, strict=True)])
    axes[0].set_ylabel("score")
    text = """Scores of a policy with probabilities 0.5, 0.3 and 0.2. Taking action 1 gives 0.5, −0.3, −0.2; action 2
    gives −0.5, 0.7, −0.2; action 3 gives −0.5, −0.3, 0.8. The rarer the action, the longer its bar."""
    return plots.caption(fig, text)
