"""PPO's clipped objective against the ratio, for a good action and for a bad one, with the six cases marked."""

import torch
from matplotlib.figure import Figure

from rlcore import trust_region
from rlcore.view import plots, style


def draw() -> Figure:
    """Two panels, A = 1 and A = −1: the unclipped line, the objective, and the ratios 0.7, 1 and 1.3."""
    fig, axes = plots.figure(height=2.9, ncols=2)
    ratios = torch.linspace(0.4, 1.6, 241, dtype=torch.float64)
    cases = torch.tensor([0.7, 1.0, 1.3], dtype=torch.float64)
    for ax, sign, title in zip(axes, (1.0, -1.0), ("A > 0: flat above 1 + ε", "A < 0: flat below 1 − ε"), strict=True):
        ax.axvspan(0.8, 1.2, color=style.COLOR["chosen"], alpha=0.18, linewidth=0)
        ax.plot(ratios, sign * ratios, "--", color=style.COLOR["reference"], label="ρ A")
        ax.plot(ratios, _objective(ratios, sign), color=style.COLOR["policy"], label="objective")
        ax.plot(cases, _objective(cases, sign), "o", color=style.COLOR["policy"])
        ax.set(xlabel="ratio ρ = π / π_old", title=title, xlim=(0.4, 1.6))
    axes[0].set_ylabel("objective (reward)")
    axes[0].legend(loc="upper left")
    text = """PPO's objective against the ratio at ε = 0.2; the interval from 0.8 to 1.2 is shaded. For a good action
    (left) it rises with the ratio and is flat above 1.2; for a bad one (right) it is flat below 0.8 and falls after it,
    without limit. Dots mark the ratios 0.7, 1 and 1.3: two of the six lie on a flat part."""
    return plots.caption(fig, text)


def _objective(ratios: torch.Tensor, advantage: float) -> torch.Tensor:
    advantages = torch.full_like(ratios, advantage)
    return -trust_region.clipped_loss(ratios.log(), torch.zeros_like(ratios), advantages, eps_low=0.2, eps_high=0.2)
