"""What do comparisons tell of strengths? A tournament of four replies with noisy labels, and the Bradley–Terry fit."""

from dataclasses import dataclass
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import preferences
from rlcore.view import plots, style

NAMES = "ABCD"
MOST = 500  # comparisons of a pair
EDGE = 3.6  # intervals are drawn up to here
WIDE = 1.96  # standard errors on either side: 95 %


@dataclass(frozen=True, eq=False)
class Tournament:
    """Who beat whom, and what the fit makes of it.

    Args:
        truth:   [4] strengths, mean 0.
        chances: [4, 4] that the row is preferred to the column, flipped labels included; ½ on the diagonal.
        wins:    [4, 4] how often it was.
        limit:   [4] what endless comparisons would be fitted with.
        fit:     scores and errors [4], or None where no finite fit exists.
    """

    truth: Tensor
    chances: Tensor
    wins: Tensor
    limit: Tensor
    fit: preferences.Fit | None

    @property
    def held(self) -> int:
        """How many intervals hold the truth."""
        return int(((self.fit.scores - self.truth).abs() <= WIDE * self.fit.errors).sum())


@lru_cache(maxsize=1)
def luck() -> Tensor:
    """[6, MOST] uniform numbers, one for each comparison, always the same: a slider moves only what it should."""
    return torch.rand(6, MOST, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@lru_cache(maxsize=256)
def play(strengths: tuple[float, ...], comparisons: int, flip_rate: float) -> Tournament:
    """Every pair is compared so often; each label is turned round with the chance flip_rate.

    >>> play((1.0, 0.0, 0.0, -1.0), 500, 0.0).chances[0]
    tensor([0.5000, 0.7311, 0.7311, 0.8808], dtype=torch.float64)
    """
    truth = torch.tensor(strengths, dtype=torch.float64)
    chances = preferences.bradley_terry(truth[:, None].expand(4, 4), truth.expand(4, 4))
    chances = (1 - flip_rate) * chances + flip_rate * (1 - chances)
    better, worse = torch.triu_indices(4, 4, offset=1)
    won = (luck()[:, :comparisons] < chances[better, worse][:, None]).double().sum(1)
    wins = torch.zeros(4, 4, dtype=torch.float64)
    wins[better, worse], wins[worse, better] = won, comparisons - won
    limit = preferences.fit_bradley_terry(chances * (1 - torch.eye(4))).scores
    return Tournament(truth - truth.mean(), chances, wins, limit, _fit(wins))


def _fit(wins: Tensor) -> preferences.Fit | None:
    try:
        return preferences.fit_bradley_terry(wins)
    except ValueError as reason:
        if "no finite fit" not in str(reason):
            raise
        return None


def draw(a: float, b: float, c: float, d: float, comparisons: int, flip_rate: float) -> Figure:
    """The share of wins of each pair, and fitted scores with 95 % intervals beside the true strengths.

    Args:
        a, b, c, d:  true strengths, in units of reward.
        comparisons: of each of the six pairs, 1 to 500.
        flip_rate:   share of the labels that are turned round, in [0, ½).
    Returns: captioned figure.
    """
    found = play((a, b, c, d), comparisons, flip_rate)
    fig = plots.canvas(height=3.4)
    _matrix(fig.add_axes((0.075, 0.15, 0.345, 0.74)), found, comparisons, flip_rate)
    _scores(fig.add_axes((0.53, 0.15, 0.455, 0.74)), found)
    return plots.caption(fig, _caption((a, b, c, d), found, comparisons, flip_rate))


def _matrix(ax: Axes, found: Tournament, comparisons: int, flip_rate: float) -> None:
    share = found.wins / comparisons
    ax.imshow(np.where(np.eye(4, dtype=bool), np.nan, share), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    cells = [(row, column) for row in range(4) for column in range(4) if row != column]
    for values, lift, size, form in ((share, -0.12, 11, "{:.2f}"), (found.chances, 0.24, 8, "({:.2f})")):
        inks = ["black" if share[cell] > 0.5 else "white" for cell in cells]
        places = [(column, row + lift) for row, column in cells]
        plots.words(ax, places, [form.format(values[cell]) for cell in cells], size=size, color=inks)
    ax.grid(False)
    ax.set(xlabel="against", ylabel="share of wins (chance) of")
    plots.ticks(ax, dict(enumerate(NAMES)), dict(enumerate(NAMES)))
    ax.set_title(f"{6 * comparisons:,} labels, {flip_rate:.0%} turned", y=1.0)


def _scores(ax: Axes, found: Tournament) -> None:
    at = np.arange(4)
    ax.axhline(0, color="#c9c9c9", linewidth=0.8, zorder=0)
    ax.hlines(found.truth, at - 0.3, at + 0.3, color=style.COLOR["exact"], linewidth=1.2)
    ax.hlines(found.limit, at - 0.3, at + 0.3, color=style.COLOR["rejected"], linewidth=1.2, linestyles=":")
    notes = {"— true strength": "exact", "··· fit to endless labels": "rejected"}
    if found.fit:
        low, high = _interval(found.fit)
        ax.vlines(at, low, high, color=style.COLOR["reward"], linewidth=1.6)
        for end in (low, high):
            ax.hlines(end, at - 0.09, at + 0.09, color=style.COLOR["reward"], linewidth=1.6)
        ax.plot(at, found.fit.scores, "o", color=style.COLOR["reward"], markersize=4)
        notes["● fitted score, 95 %"] = "reward"
    ax.set(xlim=(-0.55, 3.55), ylim=(-EDGE, 5.4), xlabel="reply", ylabel="score, mean 0 (reward)")
    plots.ticks(ax, dict(enumerate(NAMES)), {n: plots.number(n, 0) for n in range(-3, 4)})
    for line, (text, name) in enumerate(notes.items()):
        plots.words(ax, [(1.2, 5.05 - 0.62 * line)], [text], size=9, align=0, color=style.COLOR[name])
    ax.set_title(f"{found.held} of 4 intervals hold the truth" if found.fit else "No finite fit", y=1.0)


def _interval(fit: preferences.Fit) -> tuple[Tensor, Tensor]:
    low, high = fit.scores - WIDE * fit.errors, fit.scores + WIDE * fit.errors
    return low.clamp(min=-EDGE), high.clamp(max=EDGE)


def _caption(strengths: tuple[float, ...], found: Tournament, comparisons: int, flip_rate: float) -> str:
    head = (
        f"Strengths {_list(strengths)}; {comparisons} comparisons of each pair, {flip_rate:.0%} of the labels turned."
    )
    if found.fit is None:
        return f"""{head} No finite fit: the replies fall into groups of which one never lost to another, and any larger
            gap between them would explain the wins better."""
    errors, told = found.fit.errors.tolist(), "interval holds" if found.held == 1 else "intervals hold"
    fitted = ", ".join(
        f"{plots.number(score, 2)} ± {WIDE * error:.2f}"
        for score, error in zip(found.fit.scores.tolist(), errors, strict=True)
    )
    return f"""{head} Fitted scores {fitted}; the truth, centred, is {_list(found.truth.tolist())}: {found.held} of 4
        {told} it. Endless labels would give {_list(found.limit.tolist())}."""


def _list(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(plots.number(value, 2) for value in values)


def controls() -> dict[str, widgets.Widget]:
    """At rest many labels, a fifth of them turned, give narrow intervals that miss the truth."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    rest = {"a": 1.5, "b": 0.5, "c": -0.5, "d": -1.5}
    sliders = {
        name: widgets.FloatSlider(value=value, min=-2, max=2, step=0.1, description=f"strength {name.upper()}", **wide)
        for name, value in rest.items()
    }
    return sliders | {
        "comparisons": widgets.IntSlider(value=200, min=5, max=MOST, step=5, description="comparisons a pair", **wide),
        "flip_rate": widgets.FloatSlider(
            value=0.2, min=0, max=0.4, step=0.05, description="labels turned", readout_format=".0%", **wide
        ),
    }
