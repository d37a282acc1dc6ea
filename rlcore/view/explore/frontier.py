"""What does a price on leaving the reference buy? The exact best policy of the phrase world, for a reward and a β."""

from dataclasses import dataclass
from functools import lru_cache

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore.view import plots, style
from rlcore.worlds.phrases import Phrases

BETAS = (5.0, 2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)  # units of reward per nat
GRID = tuple(10 ** (2 - 3.3 * k / 99) for k in range(100))  # of the curves: 100 down to 0.05
PROXY, GOLD = "the proxy", "the gold reward"
SHOWN = 6


@dataclass(frozen=True, eq=False)
class Family:
    """The best policies for one reward on one prompt, at K values of β.

    Args:
        logps: [K, N] of every reply, nats.
        kl:    [K] KL(policy‖ref), nats.
        proxy, gold: [K] expected rewards.
    """

    logps: Tensor
    kl: Tensor
    proxy: Tensor
    gold: Tensor


@lru_cache(maxsize=1)
def world() -> tuple[Phrases, Tensor]:
    """The phrase world, and the reference's log-probabilities of every reply [P, N]."""
    made = Phrases(dtype=torch.float64)
    return made, made.logps(made.reference_logits())


@lru_cache(maxsize=64)
def family(betas: tuple[float, ...], target: str, prompt: str) -> Family:
    """π*(y) ∝ π_ref(y) exp(r(y) / β) for every β, where r is the target; exact sums over all replies."""
    made, ref_logps = world()
    reward, place = {PROXY: made.proxy, GOLD: made.reward}[target], made.prompts.index(prompt)
    logps = torch.stack([made.optimum(ref_logps, beta, reward) for beta in betas])
    chances = logps.exp()
    kl = made.kl(logps, ref_logps)[:, place]
    proxy, gold = ((chances * earned).sum(-1)[:, place] for earned in (made.proxy, made.reward))
    return Family(logps[:, place], kl, proxy, gold)


def draw(beta: float, target: str, prompt: str) -> Figure:
    """The likeliest replies of the best policy, and what it earns for its KL among all values of β.

    Args:
        beta:   price on KL, above 0, in units of reward per nat.
        target: the reward that is maximised, PROXY or GOLD.
        prompt: one of the phrase world's.
    Returns: captioned figure.
    """
    now, curve = family((beta,), target, prompt), family(GRID, target, prompt)
    fig = plots.canvas(height=3.5)
    left, right = fig.add_axes((0.055, 0.145, 0.4, 0.765)), fig.add_axes((0.555, 0.145, 0.43, 0.765))
    _replies(left, now, prompt)
    _curves(right, now, curve, prompt)
    peak = curve.gold.max().item()
    left.set_title(f"β = {beta:g} on {target}: KL {now.kl.item():.2f} nats", y=1.0)
    right.set_title(f"Gold {_number(now.gold)}; at its peak {plots.number(peak, 2)}", y=1.0)
    return plots.caption(fig, _caption(now, curve, beta, target, prompt))


def _number(x: Tensor) -> str:
    return plots.number(x.item(), 2)


def _replies(ax: Axes, now: Family, prompt: str) -> None:
    made, ref_logps = world()
    ranked = now.logps[0].argsort(descending=True, stable=True)[:SHOWN].tolist()
    rows = [SHOWN - 1 - n for n in range(SHOWN)]
    before = ref_logps[made.prompts.index(prompt)].exp()
    ax.barh(rows, now.logps[0, ranked].exp().tolist(), 0.34, color=style.COLOR["policy"])
    ax.plot(before[ranked].tolist(), rows, "|", color=style.COLOR["reference"], markersize=12, markeredgewidth=2)
    names = [f"{made.responses[n]}   {now.logps[0, n].exp().item():.3f}" for n in ranked]
    plots.words(ax, [(0.015, row + 0.38) for row in rows], names, size=10, align=0)
    plots.words(ax, [(0.99, -0.3)], ["| the reference"], size=9, align=1, color="#595959")
    ax.set(xlim=(0, 1), ylim=(-0.6, SHOWN - 0.3), xlabel="probability", ylabel="likeliest replies")
    ax.grid(False)
    plots.ticks(ax, {0: "0", 0.5: "½", 1: "1"}, {0.0: " "})


def _curves(ax: Axes, now: Family, curve: Family, prompt: str) -> None:
    best = family(GRID, GOLD, prompt)
    ax.plot(best.kl, best.gold, color=style.COLOR["exact"], linewidth=0.9, label="most gold for that KL")
    ax.plot(curve.kl, curve.proxy, "--", color=style.COLOR["value"], label="proxy of the best policies")
    ax.plot(curve.kl, curve.gold, color=style.COLOR["reward"], label="their gold reward")
    for earned, name in ((now.proxy, "value"), (now.gold, "reward")):
        ax.plot(now.kl, earned, "o", color=style.COLOR[name], markersize=8, clip_on=False, label="_")
    ax.set(xlim=(0, 6.5), ylim=(-1.0, 2.6), xlabel="KL(policy‖ref), nats", ylabel="expected reward")
    plots.ticks(ax, {n: str(n) for n in range(7)}, {n / 2: plots.number(n / 2, 1) for n in range(-2, 5)})
    plots.key(ax, 0.03, 0.995)


def _caption(now: Family, curve: Family, beta: float, target: str, prompt: str) -> str:
    made, ref_logps = world()
    place, peak, top = made.prompts.index(prompt), curve.gold.argmax(), now.logps[0].argmax()
    start = (ref_logps[place].exp() * made.reward[place]).sum()
    return f"""“{prompt}”, β = {beta:g}, maximising {target}: KL {now.kl.item():.3f} nats, proxy {_number(now.proxy)},
        gold {_number(now.gold)}. The reference has gold {_number(start)}; along this curve gold is at most
        {_number(curve.gold[peak])}, at KL {curve.kl[peak].item():.2f}. Likeliest reply “{made.responses[top]}”,
        {now.logps[0, top].exp().item():.3f}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest a small price on a careless proxy: the proxy is high, and the gold reward lower than where it began."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}
    prices = [(f"{beta:g}", beta) for beta in BETAS]
    return {
        "beta": widgets.SelectionSlider(value=0.1, options=prices, description="price β", **wide),
        "target": widgets.Dropdown(value=PROXY, options=(PROXY, GOLD), description="maximise", **wide),
        "prompt": widgets.Dropdown(options=Phrases.prompts, description="prompt", **wide),
    }
