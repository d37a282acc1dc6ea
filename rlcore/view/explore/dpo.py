"""What does DPO's loss know, and of which replies? One pair's margin, and the policy that the least loss leaves."""

from dataclasses import dataclass
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import dpo, preferences
from rlcore.view import plots, style

NAMES = "ABCDE"
REFERENCE = (0.40, 0.25, 0.20, 0.10, 0.05)
REWARDS = (0.0, 1.0, -1.0, 2.0, -2.0)
LEAD = 1.0  # by which the better reply of the pair on the left leads, in units of reward
BETAS = (0.1, 0.2, 0.5, 1.0, 2.0)
ALL, NO_BEST, NO_WORST, TWO = "all five", "all but the best, D", "all but the worst, E", "A and D alone"
SEEN = {ALL: (0, 1, 2, 3, 4), NO_BEST: (0, 1, 2, 4), NO_WORST: (0, 1, 2, 3), TWO: (0, 3)}
MOST = 12.0  # nats, of the margins drawn


@dataclass(frozen=True, eq=False)
class Outcome:
    """Chances [5] of the replies.

    Args:
        dpo:  where gradient descent on DPO's loss ends, from the reference, in logits.
        star: the best policy for the rewards.
        seen: [5] bool, which replies occur in pairs.
    """

    dpo: Tensor
    star: Tensor
    seen: Tensor

    @property
    def off(self) -> float:
        """Total variation."""
        return ((self.dpo - self.star).abs().sum() / 2).item()


@lru_cache(maxsize=256)
def outcome(beta: float, flip_rate: float, coverage: str) -> Outcome:
    """The least loss on all pairs of the replies that occur, equally often, with exact Bradley–Terry labels.

    The least loss fits the scores of the replies that occur. A step on a pair adds to one logit what it takes from
    another, so the sum of their logits stays; those of the other replies never move.

    >>> outcome(0.5, 0.0, ALL).off < 1e-9
    True
    """
    seen, rewards = list(SEEN[coverage]), torch.tensor(REWARDS, dtype=torch.float64)
    logits = torch.tensor(REFERENCE, dtype=torch.float64).log()
    star = (logits + rewards / beta).softmax(-1)
    gaps = rewards[seen][:, None] - rewards[seen]
    fit = preferences.fit_bradley_terry(flipped(gaps, flip_rate) * (1 - torch.eye(len(seen))))
    logits[seen] += fit.scores / beta
    return Outcome(logits.softmax(-1), star, torch.isin(torch.arange(5), torch.tensor(seen)))


def flipped(lead: Tensor, flip_rate: float) -> Tensor:
    """Chance that the label prefers a reply that leads by so much, when labels are turned at random."""
    return flip_rate + (1 - 2 * flip_rate) * lead.sigmoid()


def draw(beta: float, margin: float, flip_rate: float, coverage: str) -> Figure:
    """The loss of one pair against its margin, and the policy that the least loss on all pairs leaves.

    Args:
        beta:      price on KL, above 0.
        margin:    h of the pair on the left, nats.
        flip_rate: share of the labels that are turned round, in [0, ½).
        coverage:  which replies occur in pairs, a key of SEEN.
    Returns: captioned figure.
    """
    found, share = outcome(beta, flip_rate, coverage), flipped(torch.tensor(LEAD).double(), flip_rate).item()
    best = (torch.tensor(share).logit() / beta).item()
    fig = plots.canvas(height=3.5)
    left, right = fig.add_axes((0.075, 0.145, 0.4, 0.765)), fig.add_axes((0.565, 0.145, 0.42, 0.765))
    now = torch.tensor([margin], dtype=torch.float64)
    loss, weight = dpo.dpo_loss(now, beta).item(), (-beta * now).sigmoid().item()
    _pair(left, beta, margin, share, best)
    _bars(right, found)
    left.set_title(f"Loss {loss:.3f}, weight {weight:.3f}", y=1.0)
    right.set_title(f"Least loss, {found.off:.2f} off the best policy", y=1.0)
    return plots.caption(fig, _caption(beta, margin, flip_rate, coverage, share, best, loss, weight, found))


def _pair(ax: Axes, beta: float, margin: float, share: float, best: float) -> None:
    h = torch.linspace(-MOST, MOST, 121, dtype=torch.float64)
    loss, other = dpo.dpo_loss(h, beta), dpo.dpo_loss(-h, beta)
    ax.plot(h, share * loss + (1 - share) * other, color=style.COLOR["exact"], linewidth=0.9, label="loss, mean label")
    ax.plot(h, loss, color=style.COLOR["chosen"], label="loss of this label")
    ax.plot(h, (-beta * h).sigmoid(), "--", color=style.COLOR["advantage"], label="its weight")
    now = torch.tensor([margin], dtype=torch.float64)
    marks = ((dpo.dpo_loss(now, beta).item(), "chosen"), ((-beta * now).sigmoid().item(), "advantage"))
    for value, name in marks:
        if value <= 3.0:
            ax.plot(margin, value, "o", color=style.COLOR[name], markersize=8, label="_")
    ax.axvline(margin, color="#c9c9c9", linewidth=0.8, zorder=0)
    if best <= MOST:
        at = torch.tensor([best], dtype=torch.float64)
        least = (share * dpo.dpo_loss(at, beta) + (1 - share) * dpo.dpo_loss(-at, beta)).item()
        ax.plot(best, least, "v", color=style.COLOR["exact"], markersize=8, label="_")
    ax.set(xlim=(-MOST, MOST), ylim=(0, 3.0), xlabel="margin h, nats", ylabel="loss, nats; weight")
    plots.ticks(ax, {n: plots.number(n, 0) for n in (-10, -5, 0, 5, 10)}, {n: str(n) for n in range(4)})
    plots.key(ax, 0.42, 0.99)


def _bars(ax: Axes, found: Outcome) -> None:
    at = np.arange(5)
    looks = [style.COLOR["policy"] if seen else style.COLOR["rejected"] for seen in found.seen.tolist()]
    ax.bar(at, found.dpo, 0.5, color=looks)
    ax.hlines(REFERENCE, at - 0.36, at + 0.36, color=style.COLOR["reference"], linewidth=1.6, linestyles=":")
    ax.hlines(found.star, at - 0.36, at + 0.36, color=style.COLOR["exact"], linewidth=1.2)
    plots.words(ax, [(place, 1.06) for place in at], [f"{chance:.2f}" for chance in found.dpo.tolist()], size=9)
    notes = {"— best policy π*": "exact", "··· reference": "reference", "■ in pairs": "policy", "■ in none": "rejected"}
    for line, (text, name) in enumerate(notes.items()):
        color = "#595959" if name == "reference" else style.COLOR[name]
        plots.words(ax, [(-0.55 + 2.9 * (line % 2), 1.29 - 0.09 * (line // 2))], [text], size=9, align=0, color=color)
    ax.set(xlim=(-0.6, 4.6), ylim=(0, 1.36), xlabel="reply (its reward)", ylabel="probability")
    ax.grid(False)
    names = {n: f"{name} ({plots.number(REWARDS[n], 0)})" for n, name in enumerate(NAMES)}
    plots.ticks(ax, names, {0: "0", 0.5: "0.5", 1: "1"})


def _caption(
    beta: float,
    margin: float,
    flip_rate: float,
    coverage: str,
    share: float,
    best: float,
    loss: float,
    weight: float,
    found: Outcome,
) -> str:
    outside, wanted = found.dpo[~found.seen].sum().item(), found.star[~found.seen].sum().item()
    chances = ", ".join(f"{name} {chance:.3f}" for name, chance in zip(NAMES, found.dpo.tolist(), strict=True))
    never = (
        "Every reply occurs in pairs."
        if found.seen.all()
        else (f"Replies that occur in no pair hold {outside:.3f}; under the best policy {wanted:.3f}.")
    )
    return f"""β = {beta:g}, {flip_rate:.0%} of the labels turned. A pair at margin {plots.number(margin, 1)}: loss
        {loss:.3f}, weight {weight:.3f}; labels prefer its better reply with chance {share:.3f}, best margin {best:.2f}.
        Pairs of {coverage}: the least loss leaves {chances}. {never} Total variation to the best policy
        {found.off:.3f}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest no pair holds the best reply: the loss is at its least, and the policy far off."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}
    prices = [(f"{beta:g}", beta) for beta in BETAS]
    return {
        "beta": widgets.SelectionSlider(value=0.5, options=prices, description="price β", **wide),
        "margin": widgets.FloatSlider(value=2.0, min=-10, max=10, step=0.5, description="margin h, nats", **wide),
        "flip_rate": widgets.FloatSlider(
            value=0.0, min=0, max=0.4, step=0.05, description="labels turned", readout_format=".0%", **wide
        ),
        "coverage": widgets.Dropdown(value=NO_BEST, options=tuple(SEEN), description="pairs of", **wide),
    }
