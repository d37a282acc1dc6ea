"""Where does a loss of the margin stop to pull? Loss and pull of the family's members, with labels turned round."""

import math
from collections.abc import Callable
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import dpo
from rlcore import generalized_dpo as gpo
from rlcore.view import plots, style
from rlcore.view.explore.choices import Choices

BETAS = (0.1, 0.2, 0.5, 1.0)
LEFT, RIGHT, POINTS = -6.0, 24.0, 241  # margins that are drawn, nats
HIGH, PULL = (-8.0, 8.0), (-1.6, 2.6)  # drawn losses, and pulls


class Member(NamedTuple):
    """A loss of the margin.

    Args:
        loss: (margin, beta, assumed) ↦ [B]; assumed: the share of turned labels that the loss reckons with.
        best: (beta, turned, assumed) ↦ the margin where the mean over labels is least, ∞ where there is none.
    """

    loss: Callable[[Tensor, float, float], Tensor]
    best: Callable[[float, float, float], float]
    colour: str
    dash: str


def _log_odds(for_it: float, against: float) -> float:
    return math.log(for_it / against) if against > 1e-12 else math.inf


def _robust(beta: float, turned: float, assumed: float) -> float:
    """Least of a ℓ(h) + b ℓ(−h); for b of 0 or less there is none."""
    a, b = (1 - turned) * (1 - assumed) - turned * assumed, turned * (1 - assumed) - (1 - turned) * assumed
    return _log_odds(a, b) / beta


MEMBERS = {
    "DPO": Member(lambda h, b, e: dpo.dpo_loss(h, b), lambda b, t, e: _log_odds(1 - t, t) / b, "policy", "-"),
    "IPO": Member(lambda h, b, e: dpo.ipo_loss(h, b), lambda b, t, e: (1 - 2 * t) / (2 * b), "value", "--"),
    "hinge": Member(lambda h, b, e: dpo.hinge_loss(h, b), lambda b, t, e: 1 / b, "reward", "-."),
    "squared hinge": Member(
        lambda h, b, e: gpo.gpo_loss(h, b, gpo.squared_hinge), lambda b, t, e: (1 - 2 * t) / b, "chosen", ":"
    ),
    "exponential": Member(
        lambda h, b, e: gpo.gpo_loss(h, b, gpo.exponential),
        lambda b, t, e: _log_odds(1 - t, t) / (2 * b),
        "rejected",
        "--",
    ),
    "cDPO": Member(
        lambda h, b, e: dpo.cdpo_loss(h, b, e),
        lambda b, t, e: _log_odds((1 - t) * (1 - e) + t * e, t * (1 - e) + (1 - t) * e) / b,
        "advantage",
        "-.",
    ),
    "robust DPO": Member(lambda h, b, e: dpo.robust_dpo_loss(h, b, e), _robust, "reference", ":"),
}


def mean_loss(name: str, margin: Tensor, beta: float, turned: float, assumed: float) -> Tensor:
    """The mean of a loss over labels of which a share is turned round, [B].

    >>> h = torch.tensor([0.0], dtype=torch.float64)
    >>> mean_loss("DPO", h, 0.5, turned=0.2, assumed=0.0)
    tensor([0.6931], dtype=torch.float64)
    """
    loss = MEMBERS[name].loss
    return (1 - turned) * loss(margin, beta, assumed) + turned * loss(-margin, beta, assumed)


def curves(name: str, beta: float, turned: float, assumed: float) -> tuple[Tensor, Tensor, Tensor]:
    """Margins, and a loss and its pull there; both in units of the pull at margin 0, the loss counted from there."""
    margins = torch.linspace(LEFT, RIGHT, POINTS, dtype=torch.float64).requires_grad_()
    losses = mean_loss(name, margins, beta, turned, assumed)
    (slopes,) = torch.autograd.grad(losses.sum(), margins)
    zero = round(-LEFT / (RIGHT - LEFT) * (POINTS - 1))  # margin 0
    unit = -slopes[zero]
    return margins.detach(), ((losses - losses[zero]) / unit).detach(), -slopes / unit


def draw(methods: tuple[str, ...], beta: float, turned: float, assumed: float) -> Figure:
    """Loss against margin, and how hard a pair still pulls, for the chosen members.

    Args:
        methods: of MEMBERS.
        beta:    of every loss.
        turned:  share of the labels that are wrong, in [0, ½).
        assumed: the share that cDPO and robust DPO reckon with, in [0, ½).
    Returns: captioned figure.
    """
    fig = plots.canvas(height=3.5)
    left, right = fig.add_axes((0.075, 0.15, 0.41, 0.755)), fig.add_axes((0.575, 0.15, 0.41, 0.755))
    best = {name: MEMBERS[name].best(beta, turned, assumed) for name in methods}
    for ax, limits in ((left, HIGH), (right, PULL)):
        ax.axhline(0, color="#b5b5b5", linewidth=0.8, zorder=0)
        ax.axvline(0, color="#b5b5b5", linewidth=0.8, zorder=0)
        ax.set(xlim=(LEFT, RIGHT), ylim=limits)
    for name in methods:
        _lines(left, right, name, best[name], curves(name, beta, turned, assumed))
    left.set(xlabel="margin h, nats", ylabel="loss, from margin 0 on")
    right.set(xlabel="margin h, nats", ylabel="pull on the margin")
    across = {float(h): plots.number(h, 0) for h in range(-5, 25, 5)}
    plots.ticks(left, across, {float(y): plots.number(y, 0) for y in range(-8, 9, 4)})
    plots.ticks(right, across, {float(y): plots.number(y, 0) for y in range(-1, 3)})
    finite = sum(map(math.isfinite, best.values()))
    left.set_title(f"{finite} of {len(methods)} have a best margin (dots)", y=1.0)
    right.set_title("Pull; 1 is what it is at margin 0", y=1.0)
    if methods:
        plots.key(left, 0.47, 0.99)
    return plots.caption(fig, _caption(best, beta, turned, assumed))


def _lines(left: Axes, right: Axes, name: str, best: float, found: tuple[Tensor, Tensor, Tensor]) -> None:
    margins, losses, pulls = (x.numpy() for x in found)
    look = {"color": style.COLOR[MEMBERS[name].colour], "linestyle": MEMBERS[name].dash, "linewidth": 1.6}
    left.plot(margins, losses.clip(*(2 * x for x in HIGH)), label=name, **look)
    right.plot(margins, pulls.clip(*(2 * x for x in PULL)), **look)
    if best < RIGHT:
        at = np.interp(best, margins, losses), np.interp(best, margins, pulls)
        for ax, y in zip((left, right), (at[0], 0.0), strict=True):
            ax.plot(best, y, "o", color=look["color"], markersize=6, label="_")


def _caption(best: dict[str, float], beta: float, turned: float, assumed: float) -> str:
    head = f"β = {beta:g}; {turned:.0%} of the labels turned round, {assumed:.0%} assumed by cDPO and robust DPO."
    told = [f"{name} {plots.number(h, 2)}" if math.isfinite(h) else f"{name} none" for name, h in best.items()]
    return f"{head} Best margins, in nats: {', '.join(told) if told else 'no loss is chosen'}."


def controls() -> dict[str, widgets.Widget]:
    """At rest all labels agree: DPO has no best margin, IPO, the hinge and cDPO have."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "400px"}}
    share = {"min": 0.0, "max": 0.4, "step": 0.05, "readout_format": ".0%"} | wide
    prices = [(f"{beta:g}", beta) for beta in BETAS]
    return {
        "methods": Choices(("DPO", "IPO", "hinge", "cDPO"), tuple(MEMBERS), name="losses", width=104),
        "beta": widgets.SelectionSlider(value=0.5, options=prices, description="β", **wide),
        "turned": widgets.FloatSlider(value=0.0, description="labels turned", **share),
        "assumed": widgets.FloatSlider(value=0.1, description="assumed turned", **share),
    }
