"""How hard is each token of a group pulled? Rewards to edit; advantages, denominators and clip of GRPO's family."""

from typing import NamedTuple

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import grpo, masked, policy_gradient, trust_region
from rlcore.view import plots, style
from rlcore.view.explore.choices import Choices

LENGTHS = (12, 20, 16, 28, 36, 40, 44, 48)  # tokens of each reply
LONGEST = 64  # tokens that a reply may have
NOISE = (0.7, -0.4, -0.9, 0.2, 0.9, -0.6, 0.4, -0.3)  # of each reward, at size 1
MOVED = {4: 0.75, 9: 1.25}  # token of each reply: its ratio π/π_old; that of all others is 1
SIZES = {0.0: 0, 0.001: 4, 0.01: 3, 0.1: 2}  # of the noise, and the digits that rewards then need
ADVANTAGES = {
    "(r − mean) / std, ddof 0": lambda rewards: grpo.group_normalized(rewards, ddof=0),
    "(r − mean) / std, ddof 1": lambda rewards: grpo.group_normalized(rewards, ddof=1),
    "r − mean": grpo.group_centered,
    "r − mean of the others": policy_gradient.leave_one_out,
}
DR_GRPO = "a constant (Dr. GRPO)"
DENOMINATORS = {  # how tokens become one loss, and what an advantage is divided by
    "tokens of each reply (GRPO)": (masked.mean_over_sequences, "A / (G |o|)"),
    "tokens of all (DAPO)": (masked.mean_over_tokens, "A / Σ|o|"),
    DR_GRPO: (lambda x, mask: masked.sum_over_constant(x, mask, LONGEST), f"A / ({LONGEST} G)"),
}
FULL = 3.4  # the advantage whose token is as high as two rows are apart


class Group(NamedTuple):
    """What the loss does to K replies.

    Args:
        rewards, advantages: [K].
        factors: [K] what a token's loss is multiplied by.
        weights: [K] on ∇log π of each token whose ratio is 1.
        moved:   [K, 2] on those of MOVED.
    """

    rewards: Tensor
    advantages: Tensor
    factors: Tensor
    weights: Tensor
    moved: Tensor


def rewarded(right: tuple[str, ...], noise: float) -> Tensor:
    """Rewards [8]: 1 for a right reply and 0 for a wrong one, plus its noise.

    >>> rewarded(("1", "3"), 0.0).tolist()
    [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    clean = [float(str(n) in right) for n in range(1, len(LENGTHS) + 1)]
    return torch.tensor(clean, dtype=torch.float64) + noise * torch.tensor(NOISE, dtype=torch.float64)


def group(rewards: Tensor, advantage: str, denominator: str, eps_low: float, eps_high: float) -> Group:
    """Weights are minus the gradient of the reduced loss by the tokens' log-probabilities.

    >>> found = group(rewarded(("1",), 0.0)[:2], "r − mean", "tokens of all (DAPO)", 0.2, 0.2)
    >>> found.weights * 32                                                  # 12 and 20 tokens
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    >>> found.moved * 32
    tensor([[ 0.3750,  0.0000],
            [ 0.0000, -0.6250]], dtype=torch.float64)
    """
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS[: len(rewards)])[:, None]
    old_logps, places = torch.zeros(mask.shape, dtype=torch.float64), [token - 1 for token in MOVED]
    logps = old_logps.clone()
    logps[:, places] = torch.tensor([*MOVED.values()], dtype=torch.float64).log()
    logps.requires_grad_()
    advantages = ADVANTAGES[advantage](rewards[None])[0]
    loss = trust_region.clipped_loss(logps, old_logps, advantages[:, None], eps_low, eps_high)
    factors, gradient = torch.autograd.grad(DENOMINATORS[denominator][0](loss, mask), (loss, logps))
    weights = 0 - gradient  # no −0
    return Group(rewards, advantages, factors[:, 0], weights[:, 0], weights[:, places])


def draw(
    right: tuple[str, ...],
    group_size: int,
    noise: float,
    advantage: str,
    denominator: str,
    eps_low: float,
    eps_high: float,
) -> Figure:
    """Rewards and advantages of a group, the weight of each of its tokens, and what the clip does to two.

    Args:
        right:       which of the replies "1" to "8" are right.
        group_size:  the group is the first so many, 2 or more.
        noise:       in the rewards, of SIZES.
        advantage:   of ADVANTAGES.
        denominator: of DENOMINATORS.
        eps_low, eps_high: of the clip, in [0, 1].
    Returns: captioned figure.
    """
    rewards = rewarded(right, noise)
    found = group(rewards[:group_size], advantage, denominator, eps_low, eps_high)
    earned = [plots.number(one, SIZES[noise]) for one in rewards.tolist()]
    fig = plots.canvas(height=3.6)
    left, middle, clip = (fig.add_axes((x, 0.14, w, 0.775)) for x, w in ((0.17, 0.175), (0.387, 0.363), (0.82, 0.155)))
    _advantages(left, found, earned, advantage)
    _tokens(middle, found, denominator)
    _clip(clip, eps_low, eps_high)
    return plots.caption(fig, _caption(found, earned, noise, advantage, denominator, eps_low, eps_high))


def _spread(found: Group, advantage: str) -> str:
    return f"{found.rewards.std(correction=int(advantage.endswith('1'))).item():.2g}"


def _advantages(ax: Axes, found: Group, earned: list[str], advantage: str) -> None:
    told, size = found.advantages.tolist(), len(found.rewards)
    _boxes(ax, [(0, -row - 0.2, one, 0.4) for row, one in enumerate(told)], _colours(found))
    ax.vlines(0, 0.4 - len(LENGTHS), 0.5, color="#b5b5b5", linewidth=0.8)
    for side, align in ((1, 1.0), (-1, 0.0)):  # a number stands where its bar is not
        own = [row for row, one in enumerate(told) if (one > 0) == (side > 0)]
        if own:
            places, texts = [(-0.12 * side, -row) for row in own], [plots.number(told[row], 2) for row in own]
            plots.words(ax, places, texts, size=9, align=align)
    ax.set(xlim=(-2.8, 2.8), ylim=(-8.05, 1.05), xlabel=advantage, ylabel="reply: its reward r")
    ax.grid(False)
    names = [f"{n}: {one}" if n <= size else f"({n}: {one})" for n, one in enumerate(earned, 1)]
    plots.ticks(ax, {-2: "−2", 0: "0", 2: "2"}, {-row: name for row, name in enumerate(names)})
    ax.yaxis.labelpad = 72  # the longest name's, for all
    signal = grpo.has_signal(found.rewards[None])
    ax.set_title(f"A; std of r {_spread(found, advantage)}" if signal else "No signal: A is 0", y=1.0)


def _tokens(ax: Axes, found: Group, denominator: str) -> None:
    lengths, colours, limit = LENGTHS[: len(found.rewards)], _colours(found), found.factors.max() * FULL
    cuts = [0, *(cut for token in MOVED for cut in (token - 1, token))]
    boxes, looks = [], []
    for row, (length, high, moved) in enumerate(zip(lengths, found.weights / limit, found.moved / limit, strict=True)):
        heights = [x for one in moved.tolist() for x in (high.item(), one)] + [high.item()]
        edges = [*cuts, length]
        boxes += [(a, -row, b - a, h) for a, b, h in zip(edges, edges[1:], heights, strict=False)]
        looks += [colours[row], "black"] * len(MOVED) + [colours[row]]
    _boxes(ax, boxes, looks)
    ax.hlines([-row for row in range(len(LENGTHS))], 0, LENGTHS, color="#b5b5b5", linewidth=0.8, zorder=0)
    texts = [plots.number(1000 * weight, 1) for weight in found.weights.tolist()]
    plots.words(ax, [(n + 1, -row) for row, n in enumerate(lengths)], texts, size=9, align=0)
    notes = ["black: the ratio has moved", "gap: the clip leaves 0"]
    plots.words(ax, [(57, 0.55), (57, 0.1)], notes, size=9, align=1)
    ax.set(xlim=(0, 58), ylim=(-8.05, 1.05), xlabel=f"token; numbers: 1000 {DENOMINATORS[denominator][1]}", ylabel=" ")
    ax.grid(False)
    plots.ticks(ax, {n: str(n) for n in range(0, 49, 12)}, {0: " "})
    ax.set_title(f"By length alone tokens differ {_fold(found):.1f}-fold", y=1.0)


def _fold(found: Group) -> float:
    return (found.factors.max() / found.factors.min()).item()


def _boxes(ax: Axes, boxes: list[tuple[float, float, float, float]], colours: list[str]) -> None:
    """Rectangles (x, y, width, height), as thin as a line at least, unless there is none."""
    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes if w * h]
    looks = [colour for colour, (*_, w, h) in zip(colours, boxes, strict=True) if w * h]
    shapes = PolyCollection(corners, facecolors=looks, edgecolors=looks, linewidths=0.3, snap=False)
    ax.add_collection(shapes, autolim=False)


def _colours(found: Group) -> list[str]:
    return [style.COLOR["policy"] if up else style.COLOR["rejected"] for up in (found.advantages > 0).tolist()]


def _clip(ax: Axes, eps_low: float, eps_high: float) -> None:
    low, high, (first, last) = 1 - eps_low, 1 + eps_high, (0.5, 1.5)
    ax.axvspan(low, high, color=style.COLOR["chosen"], alpha=0.18, linewidth=0)
    ax.plot((first, high, high, last), (first, high, 0, 0), color=style.COLOR["policy"], label="A > 0")
    ax.plot((first, low, low, last), (0, 0, low, last), "--", color=style.COLOR["rejected"], label="A < 0")
    ratios = [*MOVED.values()]
    ax.plot(ratios, [x * (x < high) for x in ratios], "o", color=style.COLOR["policy"], markersize=9, label="_")
    ax.plot(ratios, [x * (x > low) for x in ratios], "o", color=style.COLOR["rejected"], markersize=5, label="_")
    ax.set(xlim=(first, last), ylim=(-0.1, 2.0), xlabel="ratio ρ of a token", ylabel="its weight, times")
    plots.ticks(ax, {x: f"{x:g}" for x in (*ratios, 1)}, {0: "0", 1: "1"})
    plots.key(ax, 0.06, 0.995)
    ax.set_title(f"{len(_stopped(eps_low, eps_high))} of 4 dots at 0", y=1.0)


def _stopped(eps_low: float, eps_high: float) -> list[str]:
    """Which moved tokens have no gradient, in words."""
    down = [f"ρ = {ratio:g} where A < 0" for ratio in MOVED.values() if ratio < 1 - eps_low]
    return down + [f"ρ = {ratio:g} where A > 0" for ratio in MOVED.values() if ratio > 1 + eps_high]


def _caption(
    found: Group,
    earned: list[str],
    noise: float,
    advantage: str,
    denominator: str,
    eps_low: float,
    eps_high: float,
) -> str:
    size = len(found.rewards)
    advantages = ", ".join(plots.number(one, 2) for one in found.advantages.tolist())
    weights = ", ".join(plots.number(1000 * one, 1) for one in found.weights.tolist())
    outside = f" Left out: {', '.join(earned[size:])}." if size < len(earned) else ""
    whole = found.weights * torch.tensor(LENGTHS[:size])
    up, down = (plots.number(part.sum().item(), 3) for part in (whole.clamp(min=0), whole.clamp(max=0)))
    return f"""G = {size}, noise {noise:g}: rewards {", ".join(earned[:size])}, std {_spread(found, advantage)}.
        {outside} A is {advantage}: {advantages}. Divided by {denominator}, tokens weigh, in thousandths, {weights}; by
        length alone they differ {_fold(found):.1f}-fold. Whole replies with A > 0 pull with {up}, those with A < 0 with
        {down}. The clip goes from {1 - eps_low:.2f} to {1 + eps_high:.2f}, tokens {" and ".join(map(str, MOVED))} have
        ρ = {" and ".join(f"{ratio:g}" for ratio in MOVED.values())}. Without gradient:
        {" and ".join(_stopped(eps_low, eps_high)) or "none"}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest GRPO as printed: two right and short, six wrong and long; the longer a wrong reply, the less it hurts."""
    wide = {"style": {"description_width": "90px"}, "layout": {"width": "350px"}}
    limit = {"value": 0.2, "min": 0.04, "max": 0.4, "step": 0.04} | wide
    names = [str(n) for n in range(1, len(LENGTHS) + 1)]
    made = {
        "right": Choices(("1", "3"), names, name="right replies", width=36, columns=4),
        "group_size": widgets.IntSlider(value=8, min=2, max=8, description="group size G", **wide),
        "noise": widgets.SelectionSlider(options=[(f"{x:g}", x) for x in SIZES], description="noise", **wide),
        "advantage": widgets.Dropdown(options=tuple(ADVANTAGES), description="advantage", **wide),
        "denominator": widgets.Dropdown(options=tuple(DENOMINATORS), description="divided by", **wide),
        "eps_low": widgets.FloatSlider(description="ε_low", **limit),
        "eps_high": widgets.FloatSlider(description="ε_high", **limit),
    }
    for name, last in (("noise", max(SIZES)), ("advantage", "r − mean of the others"), ("denominator", DR_GRPO)):
        made[name].ends = [made[name].value, last]
    return made
