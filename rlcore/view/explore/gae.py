"""Trust the critic or the rewards? Bias and variance of generalised advantage estimates on phrases, exactly."""

from dataclasses import dataclass
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import mdp, returns
from rlcore.view import plots, style
from rlcore.worlds.phrases import Phrases, S, V

LAMS = 20  # λ in steps of 1/20
PROMPT, REPLY = "you are late", "sorry hello friend"


@dataclass(frozen=True, eq=False)
class World:
    """The phrase world with its reference policy; a token's reward is what it adds to the reply's.

    Args:
        chances:   [P, N, 4] probability of the reply, 0 behind its end.
        rewards:   [P, N, 4] of each token.
        goes_on:   [N, 4] bool: another token follows.
        states, cells: [N, 4] prefix before each token, and number of (prefix, token).
        policy, added: [P, S, V] of each token: its probability and its reward.
        signs:     [P, S] ±1, fixed: which way the critic errs at each prefix.
    """

    phrases: Phrases
    chances: Tensor
    rewards: Tensor
    goes_on: Tensor
    states: Tensor
    cells: Tensor
    policy: Tensor
    added: Tensor
    signs: Tensor


@lru_cache(maxsize=1)
def world() -> World:
    """Every reply, token by token."""
    made = Phrases(dtype=torch.float64)
    logits, mask = made.reference_logits(), made.mask
    added = made.reward[:, made.said] - made.reward[:, :S, None]
    signs = torch.randint(2, added.shape[:2], generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    return World(
        phrases=made,
        chances=torch.where(mask, made.logps(logits).exp()[..., None], 0.0),
        rewards=torch.where(mask, added[:, made.states, made.tokens], 0.0),
        goes_on=torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1),
        states=made.states,
        cells=made.states * V + made.tokens,
        policy=logits.softmax(-1),
        added=added,
        signs=signs.double(),
    )


@lru_cache(maxsize=64)
def exact(gamma: float) -> tuple[Tensor, Tensor]:
    """Values [P, S] and advantages [P, S, V] of the reference policy, by one solve."""
    here, tree = world(), world().phrases.to_mdp()
    rewards = torch.cat([here.added.flatten(0, 1), torch.zeros(1, V, dtype=torch.float64)])
    model = mdp.MDP(tree.transitions, rewards, gamma)
    v = mdp.solve(model, here.phrases.mdp_policy(here.phrases.reference_logits()))
    advantages = (mdp.q_from_v(model, v) - v[:, None])[:-1]
    return v[:-1].view(-1, S), advantages.view(-1, S, V)


@dataclass(frozen=True, eq=False)
class Errors:
    """What goes wrong with one estimate, for each of L = 21 values of λ.

    Args:
        bias, variance: [L] mean over all steps of bias² (beyond a shift common to all tokens) and of variance.
        trace:          [L, T] estimates along the reply that is shown.
        exact:          [T] its exact advantages.
    """

    bias: np.ndarray
    variance: np.ndarray
    trace: np.ndarray
    exact: np.ndarray


@lru_cache(maxsize=256)
def errors(gamma: float, error: float) -> Errors:
    """All λ at once, so that moving λ only draws.

    Args:
        gamma: discount, in [0, 1].
        error: how far the critic is off at every prefix, up or down, in units of reward.

    >>> f"{errors(1.0, 0.0).variance[0]:.9f}"             # exact critic, sure transitions: δ is the advantage
    '0.000000000'
    """
    here = world()
    values, advantages = exact(gamma)
    critic = torch.where(here.chances > 0, (values + error * here.signs)[:, here.states], 0.0)  # [P, N, 4]
    rows = [
        here.rewards,
        (here.goes_on.double() * gamma).expand_as(critic),
        torch.nn.functional.pad(critic, (0, 1)),
    ]
    rows = [row.flatten(0, 1) for row in rows]
    estimates = torch.stack([returns.gae(*rows, lam=k / LAMS) for k in range(LAMS + 1)])  # [L, P·N, 4]
    estimates = estimates.unflatten(1, critic.shape[:2])  # [L, P, N, 4]
    mass, mean, square = (_by_token(here.chances * estimates**power) for power in (0, 1, 2))  # [L, P, S, V]
    mean = mean / mass
    variance = (square / mass - mean**2).clamp(min=0)  # a difference of equals may round below
    bias = mean - (here.policy * mean).sum(-1, keepdim=True) - advantages  # a shift by state is a baseline: no harm
    of_steps = (mass / mass[0].sum()).numpy()
    at = here.phrases.prompts.index(PROMPT), here.phrases.index(REPLY)
    place = at[0], here.states[at[1]], here.phrases.tokens[at[1]]
    bias, variance = ((of_steps * x.numpy()).sum((1, 2, 3)) for x in (bias**2, variance))
    return Errors(bias, variance, estimates[:, *at].numpy(), advantages[place].numpy())


def _by_token(x: Tensor) -> Tensor:
    """Σ over the replies that take each token at each prefix: [L, P, N, 4] → [L, P, S, V]."""
    sums = x.new_zeros(*x.shape[:2], S * V)
    return sums.index_add(-1, world().cells.flatten(), x.flatten(-2)).unflatten(-1, (S, V))


def draw(lam: float, gamma: float, error: float, replies: int) -> Figure:
    """Advantages of one reply's tokens, estimated and exact; and the estimates' expected squared error against λ.

    Args:
        lam:     in [0, 1], a multiple of 1/20.
        gamma:   discount, in [0, 1].
        error:   how far the critic is off at every prefix, up or down, in units of reward.
        replies: how many replies through the same token are averaged, 1 or more.
    Returns: captioned figure.
    """
    found, now = errors(gamma, error), round(lam * LAMS)
    bias, variance = found.bias, found.variance / replies
    best = int((bias + variance).round(12).argmin())
    fig = plots.canvas(height=3.3)
    left, right = fig.add_axes((0.085, 0.155, 0.37, 0.745)), fig.add_axes((0.565, 0.155, 0.42, 0.745))
    _trace(left, found, now)
    _bars(right, bias, variance, now, best)
    left.set_title(f"“{REPLY}”, one sample", y=1.0)
    right.set_title(f"The best λ is {best / LAMS:.2f}", y=1.0)
    return plots.caption(fig, _caption(found, bias, variance, now, best, f"{gamma:.2f}", error, replies))


def _trace(ax: Axes, found: Errors, now: int) -> None:
    steps = np.arange(found.exact.size)
    ends = {"λ = 0": (found.trace[0], ":"), "λ = 1": (found.trace[-1], "--")}
    ax.axhline(0, color="#c9c9c9", linewidth=0.8, zorder=0)
    for name, (trace, line) in ends.items():
        ax.plot(steps, trace, line, color=style.COLOR["reference"], linewidth=1.2, label=name)
    ax.plot(steps, found.exact, color=style.COLOR["exact"], linewidth=0.9, label="exact advantage")
    ax.plot(steps, found.trace[now], "o-", color=style.COLOR["advantage"], label=f"estimate, λ = {now / LAMS:.2f}")
    ax.set(xlim=(-0.35, 3.35), ylim=(-3.0, 3.0), xlabel="token", ylabel="advantage (reward)")
    plots.ticks(ax, dict(enumerate([*REPLY.split(), "EOS"])), {n: plots.number(n, 0) for n in range(-2, 3)})
    plots.key(ax, 0.02, 0.3)


def _bars(ax: Axes, bias: np.ndarray, variance: np.ndarray, now: int, best: int) -> None:
    lams, total = np.arange(LAMS + 1) / LAMS, bias + variance
    top = 1.5 * max(total.max(), 1e-3)
    for low, height, name, hatch in ((0 * bias, bias, "value", "///"), (bias, variance, "reward", "")):
        ax.bar(lams, height, 0.036, bottom=low, color=style.COLOR[name], hatch=hatch, edgecolor="white", linewidth=0)
    ax.plot([best / LAMS], [total[best] + 0.06 * top], "v", color=style.COLOR["exact"], markersize=6)
    ax.plot([now / LAMS], [total[now]], "o", color=style.COLOR["advantage"], clip_on=False)
    ax.set(xlim=(-0.04, 1.04), ylim=(0, top), xlabel="λ", ylabel="squared error (reward²)")
    step = float(f"{top / 4:.0e}")  # one digit
    plots.ticks(ax, {n / 4: f"{n / 4:g}" for n in range(5)}, {step * n: f"{step * n:.4g}" for n in range(4)})
    notes = {"■ variance, from the rewards": "reward", "■ bias², from the critic": "value", "▼ best λ": "exact"}
    for line, (text, name) in enumerate((notes | {"● present λ": "advantage"}).items()):
        height = top * (0.96 - 0.07 * line)
        plots.words(ax, [(0.0, height)], [text], size=9, align=0, color=style.COLOR[name])


def _caption(
    found: Errors, bias: np.ndarray, variance: np.ndarray, now: int, best: int, gamma: str, error: float, replies: int
) -> str:
    trace, exact = (", ".join(plots.number(x, 2) for x in row) for row in (found.trace[now], found.exact))
    total, noun = bias + variance, "reply" if replies == 1 else "replies"
    return f"""λ = {now / LAMS:.2f}, γ = {gamma}, critic off by ±{error:.2f} at every prefix, mean of {replies} {noun}.
        Expected squared error {total[now]:.4f} = bias² {bias[now]:.4f} + variance {variance[now]:.4f}; least at
        λ = {best / LAMS:.2f}: {total[best]:.4f}. Tokens of “{REPLY}”
        to “{PROMPT}”: estimates {trace}; exact {exact}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest the critic is wrong, and the best λ lies between 0 and 1."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    number = widgets.FloatSlider
    return {
        "lam": number(value=0.95, min=0.0, max=1.0, step=1 / LAMS, description="λ", **wide),
        "gamma": number(value=1.0, min=0.5, max=1.0, step=0.05, description="discount γ", **wide),
        "error": number(value=0.5, min=0.0, max=1.0, step=0.05, description="critic's error ±", **wide),
        "replies": widgets.IntSlider(value=4, min=1, max=64, description="replies averaged", **wide),
    }
