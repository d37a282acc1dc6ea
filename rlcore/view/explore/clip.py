"""Which term of PPO's minimum counts, and does its gradient still pull? The six cases of clipping, and all between."""

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlcore import trust_region
from rlcore.view import plots, style

RATIOS = torch.linspace(0.3, 1.7, 281, dtype=torch.float64)


def values(ratios: torch.Tensor, advantage: float, eps_clip: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The objective min(ρA, clip(ρ)A) and its derivative by ρ, at every ratio: [N], [N]."""
    logps = ratios.log().requires_grad_()
    advantages = torch.full_like(ratios, advantage)
    objective = -trust_region.clipped_loss(logps, torch.zeros_like(ratios), advantages, eps_clip, eps_clip)
    (slope,) = torch.autograd.grad(objective.sum(), logps)
    return objective.detach(), slope / ratios  # ∂ρ / ∂ log π = ρ


def draw(advantage: float, ratio: float, eps_clip: float) -> Figure:
    """PPO's objective and its gradient against the ratio, with the two terms of the minimum.

    Args:
        advantage: of the action, not 0.
        ratio:     π/π_old, in [0.3, 1.7].
        eps_clip:  above 0 and below 1.
    Returns: captioned figure.
    """
    now = torch.tensor([ratio], dtype=torch.float64)
    here, pull = (number.item() for number in values(now, advantage, eps_clip))
    objective, slopes = values(RATIOS, advantage, eps_clip)
    fig = plots.canvas(height=3.1)
    left, right = fig.add_axes((0.085, 0.17, 0.39, 0.7)), fig.add_axes((0.585, 0.17, 0.395, 0.7))
    _terms(left, objective, advantage, eps_clip, (ratio, here))
    _pull(right, slopes, advantage, eps_clip, (ratio, pull))
    return plots.caption(fig, _caption(advantage, ratio, eps_clip, here, pull))


def _terms(ax: Axes, objective: torch.Tensor, advantage: float, eps_clip: float, here: tuple[float, float]) -> None:
    clipped = RATIOS.clamp(1 - eps_clip, 1 + eps_clip) * advantage
    ax.plot(RATIOS, RATIOS * advantage, "--", color=style.COLOR["reference"], label="ρ A")
    ax.plot(RATIOS, clipped, ":", color=style.COLOR["rejected"], label="clip(ρ) A")
    ax.plot(RATIOS, objective, color=style.COLOR["policy"], label="the smaller: objective")
    ax.plot(*here, "o", color=style.COLOR["policy"], markersize=8, label="_here")
    low, high = sorted((0.0, 2.4 * advantage))
    ax.set(
        xlabel="ratio ρ = π / π_old",
        ylabel="objective (reward)",
        title=f"ρ = {here[0]:.2f}: objective {plots.number(here[1], 2)}",
    )
    _frame(ax, eps_clip, low, high)
    plots.key(ax, x=0.04, y=0.99 if advantage > 0 else 0.3)


def _pull(ax: Axes, slopes: torch.Tensor, advantage: float, eps_clip: float, here: tuple[float, float]) -> None:
    ax.plot(RATIOS, slopes, color=style.COLOR["policy"])
    ax.plot(*here, "o", color=style.COLOR["policy"], markersize=8)
    word = "gradient is 0" if here[1] == 0 else "gradient still pulls"
    ax.set(xlabel="ratio ρ = π / π_old", ylabel="∂ objective / ∂ρ (reward)", title=f"ρ = {here[0]:.2f}: {word}")
    _frame(ax, eps_clip, *sorted((-0.4 * advantage, 1.6 * advantage)))


def _frame(ax: Axes, eps_clip: float, low: float, high: float) -> None:
    ax.axvspan(1 - eps_clip, 1 + eps_clip, color=style.COLOR["chosen"], alpha=0.18, linewidth=0)
    ax.set(xlim=(0.3, 1.7), ylim=(low, high))
    levels = np.linspace(np.ceil(low), np.floor(high), 3) if high - low >= 2 else np.array([0.0])
    ticks = {float(level): plots.number(level, 1) for level in levels}
    plots.ticks(ax, {place: f"{place:.1f}" for place in (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)}, ticks)


def _caption(advantage: float, ratio: float, eps_clip: float, here: float, pull: float) -> str:
    low, high = 1 - eps_clip, 1 + eps_clip
    inside = low <= ratio <= high
    outside = "the clipped term counts" if pull == 0 else "the unclipped term ρ A counts"
    counts = "inside: both terms are the same" if inside else f"outside: {outside}"
    verdict = "nothing pulls any more" if pull == 0 else "the gradient is alive"
    words = [plots.number(number, 2) for number in (advantage, ratio, low, high, here, pull)]
    return f"""A = {words[0]}, ρ = {words[1]}, the interval from {words[2]} to {words[3]}; {counts}. The objective is
        {words[4]}, its derivative {words[5]}: {verdict}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest the ratio is far outside the interval, and the gradient is alive all the same."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    signs = [("+1, good action", 1.0), ("−1, bad action", -1.0)]
    number = widgets.FloatSlider
    return {
        "advantage": widgets.ToggleButtons(options=signs, value=-1.0, description="advantage A", **wide),
        "ratio": number(value=1.4, min=0.4, max=1.6, step=0.05, description="ratio ρ", **wide),
        "eps_clip": number(value=0.2, min=0.05, max=0.5, step=0.05, description="ε of the clip", **wide),
    }
