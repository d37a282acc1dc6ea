"""What is a step, seen from the policy? Plain, natural and clipped steps of a three-armed bandit, among rings of KL."""

import math
from functools import lru_cache
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import policies, trust_region
from rlcore.view import plots, style

REWARDS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, math.sqrt(3) / 2)])
ANGLES, PASSES, EPS_CLIP = 121, 40, 0.2
PART = 0.1  # of the step size, in each of PPO's passes
LOOKS = {"plain": ("reference", "--", "s"), "natural": ("policy", "-", "o"), "clipped": ("rejected", ":", "^")}
NAMES = {"plain": "plain gradient", "natural": "natural", "clipped": f"PPO, {PASSES} passes"}


class Steps(NamedTuple):
    """Where each kind of step leads: policies [3], and PPO's whole path [passes + 1, 3]."""

    old: Tensor
    plain: Tensor
    natural: Tensor
    clipped: Tensor
    path: Tensor

    def reward(self, name: str) -> float:
        return (getattr(self, name) @ REWARDS).item()

    def kl(self, name: str) -> float:
        return divergence(self.old, getattr(self, name)).item()


def divergence(old: Tensor, new: Tensor) -> Tensor:
    """KL(old‖new) of probabilities [..., 3], nats."""
    return (old * (old / new).log()).sum(-1)


@lru_cache(maxsize=256)
def steps(skew: float, max_kl: float, lr: float) -> Steps:
    """One plain gradient step, one natural step, and many passes of PPO, all from the same policy with exact gradients.

    Args:
        skew:   how much the policy prefers the worst arm: logits (skew, 0, −skew).
        max_kl: of the natural step, nats, above 0.
        lr:     of the plain step; a tenth of it in each of PPO's passes.
    """
    logits = torch.tensor([skew, 0.0, -skew], dtype=torch.float64)
    old = logits.softmax(-1)
    advantages = REWARDS - old @ REWARDS
    gradient = old * advantages
    fisher = policies.softmax_fisher(logits)
    natural = trust_region.natural_step(gradient, lambda v: fisher @ v, max_kl, steps=2)
    path = [logits]
    for _ in range(PASSES):
        new = path[-1].detach().requires_grad_()
        logps, old_logps = new.log_softmax(-1), logits.log_softmax(-1)
        loss = (old * trust_region.clipped_loss(logps, old_logps, advantages, EPS_CLIP, EPS_CLIP)).sum()
        path.append(path[-1] - PART * lr * torch.autograd.grad(loss, new)[0])
    walked = torch.stack(path).softmax(-1)
    ends = [(logits + step).softmax(-1) for step in (lr * gradient, natural)]
    return Steps(old, *ends, walked[-1], walked)


def ring(old: Tensor, level: float) -> Tensor:
    """Policies [ANGLES, 3] whose KL(old‖policy) is the level, all around; by bisection along rays to the edge."""
    turn = torch.linspace(0, 2 * math.pi, ANGLES, dtype=torch.float64)
    ways = torch.stack([turn.cos(), (turn - 2 * math.pi / 3).cos(), (turn + 2 * math.pi / 3).cos()], -1)  # sums to 0
    edge = torch.where(ways < 0, -old / ways, math.inf).amin(-1)  # there a probability is 0, and the KL infinite
    low, high = torch.zeros_like(edge), edge
    for _ in range(45):
        middle = (low + high) / 2
        near = divergence(old, old + middle[:, None] * ways) < level
        low, high = torch.where(near, middle, low), torch.where(near, high, middle)
    return old + low[:, None] * ways


def frontier(old: Tensor) -> tuple[Tensor, Tensor]:
    """The most reward for each KL, both [N]: π ∝ π_old / (c − r), for c from far above the best reward to close by."""
    offset = torch.logspace(3, -4, 200, dtype=torch.float64)[:, None]
    best = old / (REWARDS.max() + offset - REWARDS)
    best = best / best.sum(-1, keepdim=True)
    return divergence(old, best), best @ REWARDS


def share(found: Steps, name: str) -> float:
    """The reward that a step gains, as a share of the most that its KL could buy."""
    spent, earned = (line.numpy() for line in frontier(found.old))
    start = found.reward("old")
    return (found.reward(name) - start) / (np.interp(found.kl(name), spent, earned).item() - start)


def _round(end: float) -> dict[float, str]:
    """Places from 0 to the end, 1, 2 or 5 times a power of ten apart, with their labels."""
    power = 10.0 ** math.floor(math.log10(end / 2))
    step = next(times * power for times in (1, 2, 5, 10) if end / (times * power) <= 4.5)
    return {step * k: f"{step * k:.3g}" for k in range(int(end / step) + 1)}


def draw(skew: float, max_kl: float, lr: float) -> Figure:
    """The triangle of policies with rings of equal KL and three steps; and what each step earns for its KL.

    Args:
        skew:   how much the policy prefers the worst arm, in nats per arm.
        max_kl: limit of the natural step, nats, above 0.
        lr:     step size of the plain step, above 0; PPO's passes take a tenth of it each.
    Returns: captioned figure.
    """
    found = steps(skew, max_kl, lr)
    fig = plots.canvas(height=3.7)
    left, right = fig.add_axes((0.05, 0.14, 0.47, 0.76)), fig.add_axes((0.61, 0.14, 0.345, 0.76))
    _triangle(left, found, max_kl)
    _bill(right, found, max_kl)
    return plots.caption(fig, _caption(found, skew, max_kl, lr))


def _triangle(ax: Axes, found: Steps, max_kl: float) -> None:
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=style.COLOR["exact"], linewidth=0.9, label="_")
    for times, width in ((1, 1.8), (4, 0.9), (16, 0.9), (64, 0.9)):
        around = ring(found.old, times * max_kl).numpy() @ CORNERS
        ax.plot(*around.T, color="#9a9a9a", linewidth=width, linestyle="-" if times == 1 else "--", label="_")
    path = found.path.numpy() @ CORNERS
    start = found.old.numpy() @ CORNERS
    for name, (colour, line, marker) in LOOKS.items():
        end = getattr(found, name).numpy() @ CORNERS
        way = path if name == "clipped" else np.stack([start, end])
        ax.plot(*way.T, line, color=style.COLOR[colour], linewidth=1.6, label=NAMES[name])
        ax.plot(*end, marker, color=style.COLOR[colour], markersize=7, label="_")
    ax.plot(*start, "o", color="black", markersize=5, label="_")
    names = [f"arm {n + 1}: {plots.number(REWARDS[n].item(), 1)}" for n in range(3)]
    plots.words(ax, [(0.0, -0.06), (1.0, -0.06), (0.5, 0.91)], names, size=9)
    ax.set(xlim=(-0.17, 1.17), ylim=(-0.1, 0.96), aspect="equal", xticks=[], yticks=[])
    ax.set_xlabel("nearer to a corner: that arm is likelier")
    ax.set_ylabel("policies")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("Thick ring: the KL that is allowed")
    plots.key(ax, x=0.0, y=0.97)


def _bill(ax: Axes, found: Steps, max_kl: float) -> None:
    most = max(1.6 * max_kl, *(1.15 * found.kl(name) for name in LOOKS))
    spent, earned = frontier(found.old)
    start = found.reward("old")
    top = max(1.15 * (np.interp(most, spent.numpy(), earned.numpy()) - start), 1e-3)
    ax.plot(spent, earned - start, color=style.COLOR["exact"], linewidth=0.9, label="the most for that KL")
    for name, (colour, _, marker) in LOOKS.items():
        ax.plot(found.kl(name), found.reward(name) - start, marker, color=style.COLOR[colour], markersize=7, label="_")
    ax.axvline(max_kl, ymax=0.86, color="#9a9a9a", linewidth=1.8, label="KL allowed")
    ax.set(xlim=(0, most), ylim=(0, top), xlabel="KL(old‖new), nats", ylabel="reward gained")
    ax.set_title(f"Gain: natural {share(found, 'natural'):.0%}, plain {share(found, 'plain'):.0%}")
    plots.ticks(ax, _round(most), _round(top))
    plots.key(ax, x=0.03, y=0.99)


def _caption(found: Steps, skew: float, max_kl: float, lr: float) -> str:
    words = {"plain": "plain step", "natural": "natural step", "clipped": f"PPO after {PASSES} passes"}
    told = [
        f"{word} KL {found.kl(name):.4f}, reward {found.reward(name):.3f} ({share(found, name):.0%} of the most)"
        for name, word in words.items()
    ]
    old = ", ".join(f"{chance:.2f}" for chance in found.old.tolist())
    return f"""Policy ({old}) at skew {skew:.1f}, reward {found.reward("old"):.3f}; allowed KL {max_kl:.3f}, step size
        {lr:.1f}. Square, {told[0]}; circle, {told[1]}; triangle, {told[2]}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest the policy prefers the worst arm, and the plain step hardly moves."""
    wide = {"style": {"description_width": "150px"}, "layout": {"width": "440px"}}
    number = widgets.FloatSlider
    return {
        "skew": number(value=1.0, min=0.0, max=2.0, step=0.1, description="skew to the worst arm", **wide),
        "max_kl": number(
            value=0.05, min=0.005, max=0.1, step=0.005, description="KL allowed", readout_format=".3f", **wide
        ),
        "lr": number(value=3.0, min=0.5, max=6.0, step=0.5, description="step size", **wide),
    }
