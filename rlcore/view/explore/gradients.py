"""How noisy is a policy gradient? A cloud of estimates around the exact arrow, in the phrase world.

Means, covariances and total variances are exact: each of the 781 replies to one prompt contributes a known vector to
the gradient, and they are sums over replies. Only the dots are drawn at random.
"""

from functools import cache
from typing import NamedTuple

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from rlcore.policies import softmax_score
from rlcore.policy_gradient import leave_one_out
from rlcore.view import plots, style
from rlcore.worlds.phrases import Phrases

PROMPT = 2  # "you are late", where the reference policy is worst
DOTS = 400
BASELINES = {"none": "none", "constant 5": "five", "V(prefix)": "value", "leave one out": "others"}
NAMES = {key: name for name, key in BASELINES.items()}
REACH = 5.991**0.5  # standard deviations that hold 95 % of a normal cloud in two dimensions: √(−2 log 0.05)


class Parts(NamedTuple):
    """What each of the N replies contributes to the estimate, in all D logits of the prompt.

    Args:
        chance:     [N] under the reference policy.
        rewards:    [N].
        score:      [N, D] Σ_t score_t.
        reward:     [to_go, N, D] Σ_t score_t Ψ_t; Ψ is the whole reward (0) or the rewards-to-go (1).
        value:      [to_go, N, D] Σ_t score_t V_t, the state value of what Ψ counts.
        directions: [D, 2] of length 1: along the exact gradient, and where plain REINFORCE scatters most besides.
        gradient:   [D] exact.
    """

    chance: Tensor
    rewards: Tensor
    score: Tensor
    reward: Tensor
    value: Tensor
    directions: Tensor
    gradient: Tensor


def draw(batch: int, baseline: str, to_go: bool, sample: int) -> Figure:
    """Estimates of the gradient from a batch of replies each, and what the choices do to their variance.

    Args:
        batch:    replies per estimate, at least 2.
        baseline: a value of `BASELINES`.
        to_go:    weigh a token's score with the rewards from it on, instead of the whole reward.
        sample:   which draw of the dots.
    Returns: captioned figure: the cloud with its exact ellipse, and the exact total variances of all choices.
    """
    length, dots = contributions().gradient.norm().item(), cloud(batch, baseline, to_go, sample)
    covariance, total = spread(batch, baseline, to_go)
    uphill, relative = (dots[:, 0] > 0).double().mean().item(), total / spread(batch, "none", False)[1]
    fig = plots.canvas(height=3.8)
    left, right = fig.add_axes((0.1, 0.2, 0.37, 0.7)), fig.add_axes((0.7, 0.2, 0.28, 0.7))
    _cloud(left, dots, covariance, length)
    left.set_title(f"{100 * uphill:.0f} % of the estimates point uphill")
    _variances(right, batch, baseline, to_go)
    right.set_title(f"variance {relative:.2f} × plain")
    text = f"""{DOTS} estimates from {batch} replies each, baseline {NAMES[baseline]}, rewards-to-go
    {"on" if to_go else "off"}, draw {sample}: {100 * uphill:.0f} % point uphill. Their exact mean is the gradient, of
    length {length:.3f}; their exact total variance is {total:.4f}, {relative:.2f} times plain REINFORCE's."""
    return plots.caption(fig, text)


def controls() -> dict[str, widgets.Widget]:
    """At rest: plain REINFORCE with eight replies, a cloud much wider than the gradient is long."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    sizes = [2**k for k in range(1, 9)]
    return {
        "batch": widgets.SelectionSlider(value=8, options=sizes, description="replies a batch", **wide),
        "baseline": widgets.Dropdown(value="none", options=list(BASELINES.items()), description="baseline", **wide),
        "to_go": widgets.Checkbox(value=False, description="rewards-to-go", **wide),
        "sample": widgets.IntSlider(value=1, min=1, max=20, description="draw again", **wide),
    }


@cache
def contributions() -> Parts:
    """Every reply's part of every estimator, under the reference policy."""
    world = Phrases()
    logits, rewards = world.reference_logits(), world.reward[PROMPT]
    chance = world.logps(logits)[PROMPT].exp()
    earned = rewards[world.states]  # [N, 4] by the words before
    value = (logits.softmax(-1) * world.q_values(logits)).sum(-1)[PROMPT, world.states]
    scores = softmax_score(logits[PROMPT, world.states], world.tokens) * world.mask[..., None]  # [N, 4, V]
    whole = rewards[:, None].expand_as(earned)
    weights = torch.stack([torch.ones_like(earned), whole, whole - earned, value, value - earned])
    rows = torch.arange(len(rewards))[:, None]
    parts = scores.new_zeros(5, len(rewards), *logits.shape[1:])  # [5, N, S, V]
    for part, psi in zip(parts, weights, strict=True):
        part.index_put_((rows, world.states), scores * psi[..., None], accumulate=True)
    score, *reward_and_value = parts.flatten(2)
    reward, value = torch.stack(reward_and_value[:2]), torch.stack(reward_and_value[2:])
    gradient = chance @ reward[0]
    return Parts(chance, rewards, score, reward, value, _directions(reward[0], chance, gradient), gradient)


@cache
def spread(batch: int, baseline: str, to_go: bool) -> tuple[Tensor, float]:
    """Exact covariance [2, 2] of one estimate along the two directions, and its total variance in all logits.

    A group's leave-one-out estimate is a U-statistic of pairs, h = ½ (X_i + X_j − r_j s_i − r_i s_j):
    Var = [(K − 2) Var(X − E[r] s) + 2 Var(h)] / (K (K − 1)), with X = Σ_t score_t Ψ_t and s = Σ_t score_t.

    Source: Hoeffding 1948, eq. 5.13.
    """
    if baseline != "others":
        return _unpacked(_variance(single(baseline, to_go)) / batch)
    parts, x = contributions(), contributions().reward[int(to_go)]
    mean, square = parts.chance @ parts.rewards, parts.chance @ parts.rewards**2
    own, scores, mixed = _moment(x, x), _moment(parts.score, parts.score), _moment(x, parts.score)
    pair = (own + square * scores - 2 * mean * mixed) / 2  # E[X]E[X]ᵀ comes twice, and cancels against E[h]E[h]ᵀ
    known = _variance(x - mean * parts.score)
    return _unpacked(((batch - 2) * known + 2 * pair) / (batch * (batch - 1)))


def single(baseline: str, to_go: bool) -> Tensor:
    """The estimate [N, D] from each reply alone, for a baseline that needs no other replies."""
    parts, row = contributions(), int(to_go)
    subtracted = {"none": 0.0, "five": 5 * parts.score, "value": parts.value[row]}
    return parts.reward[row] - subtracted[baseline]


@cache
def cloud(batch: int, baseline: str, to_go: bool, sample: int) -> Tensor:
    """Sampled estimates along the two directions: [DOTS, 2]."""
    parts, generator = contributions(), torch.Generator().manual_seed(sample)
    seen = torch.multinomial(parts.chance, DOTS * batch, replacement=True, generator=generator).view(DOTS, batch)
    if baseline != "others":
        return (single(baseline, to_go) @ parts.directions)[seen].mean(1)
    others = parts.rewards[seen] - leave_one_out(parts.rewards[seen])
    reward, score = (part @ parts.directions for part in (parts.reward[int(to_go)], parts.score))
    return (reward[seen] - others[..., None] * score[seen]).mean(1)


def _directions(plain: Tensor, chance: Tensor, gradient: Tensor) -> Tensor:
    along = gradient / gradient.norm()
    centred = (plain - gradient) * chance[:, None] ** 0.5
    rest = centred - (centred @ along)[:, None] * along
    sizes, ways = torch.linalg.eigh(rest @ rest.T)
    widest = torch.nn.functional.normalize(ways[:, sizes > 0.999 * sizes[-1]].T @ rest, dim=-1)
    across = (widest @ rest[1]) @ widest  # several are as wide, since two words play the same part: that of reply 1
    return torch.stack([along, across / across.norm()], -1)


def _moment(a: Tensor, b: Tensor) -> Tensor:
    """E[a bᵀ] along the two directions, symmetric, and E[a · b] in all logits: five numbers in a row."""
    parts = contributions()
    seen = (parts.chance[:, None] * (a @ parts.directions)).T @ (b @ parts.directions)
    return torch.cat([((seen + seen.T) / 2).flatten(), (parts.chance @ (a * b).sum(-1))[None]])


def _squared_mean() -> Tensor:
    parts = contributions()
    seen = parts.gradient @ parts.directions
    return torch.cat([torch.outer(seen, seen).flatten(), parts.gradient.square().sum()[None]])


def _variance(each: Tensor) -> Tensor:
    return _moment(each, each) - _squared_mean()


def _unpacked(five: Tensor) -> tuple[Tensor, float]:
    return five[:4].view(2, 2), five[4].item()


def _cloud(ax: Axes, dots: Tensor, covariance: Tensor, length: float) -> None:
    sizes, ways = torch.linalg.eigh(covariance)
    width, height = (2 * REACH * sizes.clamp(min=0) ** 0.5).tolist()
    wide = REACH * covariance.diag().max().item() ** 0.5 + length
    limit = next(limit for limit in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if limit > wide)
    ax.plot(*dots.T.numpy(), ".", color=style.COLOR["policy"], markersize=4, alpha=0.5, markeredgewidth=0)
    tilt = torch.atan2(ways[1, 0], ways[0, 0]).rad2deg().item()
    round_it = {"fill": False, "edgecolor": style.COLOR["rejected"], "linewidth": 1.5, "linestyle": "--"}
    ax.add_patch(Ellipse((length, 0), width, height, angle=tilt, **round_it))
    ax.axvline(0, color=style.COLOR["exact"], linewidth=0.9, linestyle=":")
    ax.quiver(0, 0, length, 0, angles="xy", scale_units="xy", scale=1, units="dots", width=3, zorder=3)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="along the exact gradient", ylabel="across it")
    places = {place * limit: f"{place * limit:g}".replace("-", "−") for place in (-1, -0.5, 0, 0.5, 1)}
    plots.ticks(ax, {x: label for x, label in places.items() if abs(x) < limit}, places)


def _variances(ax: Axes, batch: int, baseline: str, to_go: bool) -> None:
    choices = [(key, later) for key in NAMES for later in (False, True)]
    totals = torch.tensor([spread(batch, *choice)[1] for choice in choices]).log10().tolist()
    low, high, chosen = min(totals) - 0.35, max(totals) + 0.6, choices.index((baseline, to_go))
    rows = [-(k + 0.35 * (k // 2)) for k in range(8)]
    looks = [style.COLOR["advantage"] if k == chosen else "#D9D9D9" for k in range(8)]
    ax.barh(rows, [total - low for total in totals], left=low, height=0.8, color=looks)
    plots.words(
        ax,
        [(t + 0.04, row) for t, row in zip(totals, rows, strict=True)],
        [f"{10**t:.3g}" for t in totals],
        size=9,
        align=0,
    )
    names = ["… and to go" if later else NAMES[key] for key, later in choices]
    ax.set(xlim=(low, high), xlabel="exact total variance, log scale", ylabel="estimator")
    plots.ticks(ax, {}, dict(zip(rows, names, strict=True)))
    ax.grid(False)
