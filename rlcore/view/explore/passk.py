"""Right once in k tries, or right by vote? A model before and after GRPO, at several temperatures.

Nothing is drawn while a slider moves: the shipped table has the answers of 64 replies to each sum.
"""

import csv
from functools import lru_cache
from typing import NamedTuple

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import lm, reasoning
from rlcore.view import plots, style

TRIES = (1, 2, 4, 8, 16, 32)
MODELS = {"after RL": "sums_grpo", "before RL": "sums_sft"}
DIGITS = {"5 digits, as trained": 5, "8 digits, never rewarded": 8}


class Counts(NamedTuple):
    """What the replies to B problems answered.

    Args:
        right: [B] int64 the right answer.
        given: [B, 11] int64 replies that gave each answer; the last: none.
    """

    right: Tensor
    given: Tensor


class Curves(NamedTuple):
    """Means over problems, at each of TRIES, and the share of right replies to each problem.

    Args:
        passed, voted: [TRIES].
        shares: [B] from the hardest problem on.
        wins:   [B] bool, no other answer is given as often: with more tries the vote gets better.
    """

    passed: Tensor
    voted: Tensor
    shares: Tensor
    wins: Tensor


@lru_cache(maxsize=1)
def table() -> dict[tuple[str, int, float], Counts]:
    """The shipped counts, by model, digits and temperature."""
    found: dict[tuple[str, int, float], list[list[int]]] = {}
    with open(lm.SHIPPED / "sums_passk.csv", newline="", encoding="utf-8") as file:
        for model, digits, temperature, *counts in list(csv.reader(file))[1:]:
            found.setdefault((model, int(digits), float(temperature)), []).append([int(x) for x in counts])
    tables = {place: torch.tensor(rows) for place, rows in found.items()}
    return {place: Counts(rows[:, 0], rows[:, 1:]) for place, rows in tables.items()}


def temperatures() -> list[float]:
    return sorted({temperature for *_, temperature in table()})


@lru_cache(maxsize=64)
def curves(name: str, digits: int, temperature: float) -> Curves:
    """pass@k without bias; the vote of k draws from the replies, put back each time."""
    right, given = table()[MODELS[name], digits, temperature]
    samples, correct = int(given[0].sum()), given.gather(1, right[:, None])[:, 0]
    passed = torch.stack([reasoning.pass_at_k(samples, correct, k).mean() for k in TRIES])
    chances = given.double() / samples
    voted = torch.stack([reasoning.majority_at_k(chances, right, k).mean() for k in TRIES])
    others = given.scatter(1, right[:, None], -1).amax(1)
    order = correct.argsort(stable=True)
    return Curves(passed, voted, (correct.double() / samples)[order], (correct > others)[order])


def draw(k: int, temperature: float, name: str, digits: int) -> Figure:
    """pass@k and the vote against k, and how often each problem is answered rightly.

    Args:
        k:           tries, of TRIES.
        temperature: of `temperatures`.
        name:        of MODELS.
        digits:      of the problems, of DIGITS.
    Returns: captioned figure.
    """
    found = {one: curves(one, digits, temperature) for one in MODELS}
    fig = plots.canvas(height=3.4)
    left, right = fig.add_axes((0.075, 0.15, 0.47, 0.76)), fig.add_axes((0.635, 0.15, 0.35, 0.76))
    _tries(left, found, name, k)
    _problems(right, found[name])
    mine, at = found[name], TRIES.index(k)
    left.set_title(f"{name}: pass@{k} {mine.passed[at]:.0%}, vote {mine.voted[at]:.0%}", y=1.0)
    right.set_title(f"One try is right: {mine.passed[0]:.0%}", y=1.0)
    return plots.caption(fig, _caption(found, k, temperature, name, digits))


def _tries(ax: Axes, found: dict[str, Curves], name: str, k: int) -> None:
    places, at = range(len(TRIES)), TRIES.index(k)
    for one in sorted(found, key=lambda other: other == name):  # the chosen one on top
        mine = one == name
        for values, colour, line in ((found[one].passed, "policy", "-"), (found[one].voted, "value", "--")):
            look = {"color": style.COLOR[colour] if mine else "#b5b5b5", "linewidth": 2.4 if mine else 1.2}
            ax.plot(places, values, line, **look, zorder=2 + mine)
            if mine:
                ax.plot(at, values[at], "o", color=look["color"], markersize=9, zorder=4, clip_on=False)
    ax.plot(places, [1 - 0.9**tries for tries in TRIES], ":", color=style.COLOR["exact"], linewidth=1.2)
    ax.set(xlim=(0, len(TRIES) - 1), ylim=(0, 1.5), xlabel="k, tries", ylabel="share of problems")
    plots.ticks(ax, {place: str(tries) for place, tries in enumerate(TRIES)}, {0: "0", 0.5: "0.5", 1: "1"})
    grey = next(one for one in found if one != name)
    notes = ["solid: pass@k; dashed: vote of k", f"grey: {grey}", "dotted: pass@k of who guesses a digit"]
    plots.words(ax, [(0.1, 1.41), (0.1, 1.29), (0.1, 1.17)], notes, size=9, align=0, color="#595959")


def _problems(ax: Axes, mine: Curves) -> None:
    places, shares = torch.arange(len(mine.shares)), mine.shares
    for wins, colour in ((mine.wins, "policy"), (~mine.wins, "rejected")):
        ax.plot(places[wins], shares[wins], "o", color=style.COLOR[colour], markersize=4, clip_on=False)
    last = len(shares) - 1
    ax.set(xlim=(0, last), ylim=(0, 1.5), xlabel="problems, the hardest first", ylabel="share of right replies")
    plots.ticks(ax, {0: "1", last: str(last + 1)}, {0: "0", 0.5: "0.5", 1: "1"})
    for height, text, colour in (
        (1.41, "the right answer comes most often", "policy"),
        (1.29, "it does not", "rejected"),
    ):
        plots.words(ax, [(0.02 * last, height)], [text], size=9, align=0, color=style.COLOR[colour])


def _caption(found: dict[str, Curves], k: int, temperature: float, name: str, digits: int) -> str:
    at, mine = TRIES.index(k), found[name]
    other = next(one for one in found if one != name)
    lost = int((~mine.wins).sum())
    lead = (found["after RL"].passed[at] - found["before RL"].passed[at]).item()
    ahead = f"the one {'after' if lead > 0 else 'before'} RL solves more" if lead else "both solve as many"
    return f"""{digits} digits, temperature {temperature:g}, k = {k}. {name[0].upper() + name[1:]} pass@{k} is
        {mine.passed[at]:.1%}, the vote of {k} {mine.voted[at]:.1%}, one try {mine.passed[0]:.1%}; {other}
        {found[other].passed[at]:.1%}, {found[other].voted[at]:.1%} and {found[other].passed[0]:.1%}. With {k} tries
        {ahead}. Who guesses one of ten digits passes {1 - 0.9**k:.1%}. In {lost} of {len(mine.wins)} problems the
        right answer is not the most frequent one{": more votes do not help there" if lost else ""}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest many tries before RL: one of them is nearly always right, and the vote is far behind."""
    wide = {"style": {"description_width": "90px"}, "layout": {"width": "450px"}}
    buttons = wide | {"style": {"description_width": "90px", "button_width": "170px"}}
    return {
        "k": widgets.SelectionSlider(value=32, options=TRIES, description="tries k", **wide),
        "temperature": widgets.SelectionSlider(value=1.0, options=temperatures(), description="temperature", **wide),
        "name": widgets.ToggleButtons(value="before RL", options=tuple(MODELS), description="model", **buttons),
        "digits": widgets.ToggleButtons(options=tuple(DIGITS.items()), description="problems", **buttons),
    }
