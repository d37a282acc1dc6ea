"""How far does each method go, and for how much KL? The league of chapter 10, method by method, PPO beside it."""

import csv
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlcore import lm
from rlcore.view import plots, style
from rlcore.view.explore.choices import Choices

KINDS = {"pairs": "policy", "lists": "value", "thumbs": "reward", "marks": "advantage", "negatives": "rejected"}
"""What a method learns from, and its colour."""
SHARED, WITH, WITHOUT = "all methods", "with a reference", "without one"
ACROSS = {  # column: what the axis says, its limits, and where the key stands; what lies beyond is drawn at the edge
    "kl": ("KL(policy‖ref), nats", (-0.3, 8.0), 0.03),
    "length": ("tokens of a reply", (6.0, 24.0), 0.03),
    "chosen": ("mean log π/π_ref of held-out chosen replies, nats", (-12.0, 3.0), 0.8),
    "echo": ("echoes still right", (0.0, 1.03), 0.03),
}
GOLD = (-0.6, 1.8)
NUMBERS = ("gold", "kl", "length", "echo", "label", "chosen", "rejected", "seconds", "bytes", "models", "passes")
PPO = "PPO, β = 0.2"
GAP = 10  # dots from a point to its name


class Entry(NamedTuple):
    """A method's rows: each number with one value for each seed."""

    name: str
    kind: str
    reference: bool
    settings: str
    numbers: dict[str, np.ndarray]  # column: [seeds]

    def mean(self, column: str) -> float:
        return float(self.numbers[column].mean())


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """All methods of the shipped table, by name."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in _read("replies_league"):
        rows.setdefault(row["method"], []).append(row)
    return {
        name: Entry(
            name,
            own[0]["kind"],
            own[0]["reference"] == "True",
            own[0]["settings"] or "nothing to set",
            {column: np.array([float(row[column]) for row in own]) for column in NUMBERS},
        )
        for name, own in rows.items()
    }


@lru_cache(maxsize=1)
def ppo() -> tuple[dict[str, float], dict[str, float]]:
    """Means over seeds of chapter 08's PPO at β = 0.2, the last ten updates; and where it began, its first update."""
    rows = [row for row in _read("replies_rlhf") if row["run"] == "beta 0.2"]
    last = max(int(row["update"]) for row in rows)

    def mean(column: str, after: int, upto: int) -> float:
        own = [float(row[column]) for row in rows if after < int(row["update"]) <= upto and row[column]]
        return sum(own) / len(own)

    wanted = ("gold", "kl", "length", "echo")
    start = {name: mean(name, 0, 1) for name in ("gold", "kl", "length")}
    return {name: mean(name, last - 10, last) for name in wanted}, start


def _read(name: str) -> list[dict[str, str]]:
    with open(lm.SHIPPED / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw(kinds: tuple[str, ...], reference: str, method: str, across: str, methods: tuple[str, ...]) -> Figure:
    """Gold reward of the chosen methods against one other number, a point for each method, one of them marked.

    Args:
        kinds:     of feedback, of KINDS.
        reference: SHARED, WITH or WITHOUT.
        method:    whose three seeds and numbers are shown, whether or not it is among the chosen.
        across:    a column, of ACROSS.
        methods:   by name; of these, those are drawn that learn from one of `kinds` and have such a reference.
    Returns: captioned figure.
    """
    chosen = [entries()[name] for name in methods]
    shown = [e for e in chosen if e.kind in kinds and reference in (SHARED, (WITHOUT, WITH)[e.reference])]
    label, limits, key = ACROSS[across]
    fig = plots.canvas(height=4.0)
    ax = fig.add_axes((0.085, 0.135, 0.9, 0.785))
    ax.set(xlim=limits, ylim=GOLD, xlabel=label, ylabel="mean gold reward")
    _points(ax, shown, entries()[method], across)
    plots.ticks(ax, _across(limits), {y / 2: plots.number(y / 2, 1) for y in range(-1, 4)})
    _key(ax, key)
    ax.set_title(f"{len(shown)} of {len(entries())} methods; marked: {method}", y=1.0)
    return plots.caption(fig, _caption(shown, entries()[method], label))


def _points(ax: Axes, shown: Sequence[Entry], marked: Entry, across: str) -> None:
    (low, high), room = ax.get_xlim(), 0.012
    edges = [(a + room * (b - a), b - room * (b - a)) for a, b in ((low, high), GOLD)]

    def at(x: np.ndarray | float, y: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        return np.clip(x, *edges[0]), np.clip(y, *edges[1])

    for kind, colour in KINDS.items():
        for reference in (True, False):
            own = [e for e in shown if e.kind == kind and e.reference == reference]
            places = at(np.array([e.mean(across) for e in own]), np.array([e.mean("gold") for e in own]))
            face = style.COLOR[colour] if reference else "white"
            ax.plot(*places, "o", color=style.COLOR[colour], markerfacecolor=face, markersize=6, label="_")
    seeds = at(marked.numbers[across], marked.numbers["gold"])
    ax.plot(*seeds, "x", color="black", markersize=6, label="_")
    centre = at(marked.mean(across), marked.mean("gold"))
    ax.plot(*centre, "o", color="black", markerfacecolor="none", markersize=13, label="_")
    texts = [(*at(e.mean(across), e.mean("gold")), e.name) for e in shown if e.name != marked.name]
    texts.insert(0, (*centre, marked.name))
    if across in ppo()[0]:
        star = at(ppo()[0][across], ppo()[0]["gold"])
        ax.plot(*star, "*", color="black", markersize=12, label="_")
        texts.insert(1, (*star, PPO))
    _names(ax, texts, seeds)


def _names(ax: Axes, texts: Sequence[tuple[float, float, str]], crosses: tuple[np.ndarray, np.ndarray]) -> None:
    """A name beside its point, where it runs into no other point or cross and into no name that is already there."""
    low, high = ax.get_xlim()
    units = np.array((ax.bbox.width / (high - low), ax.bbox.height / (GOLD[1] - GOLD[0])))  # dots for one unit
    marks = [(x, y) for x, y, _ in texts] + list(zip(*crosses, strict=True))
    taken = [(np.array(mark) * units - (5, 0), 10.0) for mark in marks]
    told: dict[int, list[tuple[tuple[float, float], str]]] = {1: [], -1: []}
    for x, y, name in texts:
        wide, corner = 6.4 * len(name), np.array((x, y)) * units
        for side in (1, -1):  # to the right, or else to the left
            box = corner + np.array((GAP if side > 0 else -GAP - wide, 0))
            inside = low * units[0] < box[0] and box[0] + wide < high * units[0]
            if inside and all(_apart(box, wide, other, size) for other, size in taken):
                taken.append((box, wide))
                told[side].append(((x + GAP * side / units[0], y), name))
                break
    for side, align in ((1, 0.0), (-1, 1.0)):
        if told[side]:
            plots.words(ax, *zip(*told[side], strict=True), size=8, align=align)


def _apart(box: np.ndarray, wide: float, other: np.ndarray, size: float) -> bool:
    return box[0] + wide < other[0] or other[0] + size < box[0] or abs(box[1] - other[1]) > 12


def _key(ax: Axes, left: float) -> None:
    (low, high), tall = ax.get_xlim(), GOLD[1] - GOLD[0]
    at = [(low + left * (high - low), GOLD[0] + (0.034 + 0.04 * k) * tall) for k in range(len(KINDS) + 1)]
    for place, colour in zip(at, KINDS.values(), strict=False):
        ax.plot(*place, "o", color=style.COLOR[colour], markersize=5, label="_")
    names = [(x + 0.012 * (high - low), y) for x, y in at[:-1]] + [(at[-1][0] - 0.01 * (high - low), at[-1][1])]
    plots.words(ax, names, [*KINDS, "open: no reference"], size=9, align=0)


def _across(limits: tuple[float, float]) -> dict[float, str]:
    span = limits[1] - limits[0]
    step, digits = (0.25, 2) if span < 2 else (1, 0) if span < 10 else (3, 0)
    first = np.ceil(limits[0] / step) * step
    return {float(x): plots.number(float(x), digits) for x in np.arange(first, limits[1] + 1e-9, step)}


def _caption(shown: Sequence[Entry], marked: Entry, label: str) -> str:
    spread = marked.numbers["gold"].max() - marked.numbers["gold"].min()
    told = {name: plots.number(marked.mean(name), 2) for name in NUMBERS}
    best = max(shown, key=lambda e: e.mean("gold"), default=None)
    top = f"Most gold among the chosen: {best.name}, {plots.number(best.mean('gold'), 2)}." if best else ""
    end = {name: plots.number(number, 2) for name, number in ppo()[0].items()}
    return f"""{marked.name} ({marked.settings}): gold {told["gold"]}, its seeds {spread:.2f} apart; KL {told["kl"]};
        {told["length"]} tokens; echoes right {told["echo"]}; held-out labels right {told["label"]}; chosen
        {told["chosen"]} and rejected {told["rejected"]} nats. {top} PPO at β = 0.2: gold {end["gold"]}, KL
        {end["kl"]}. {len(shown)} of {len(entries())} methods are drawn, gold over {label}; what lies beyond the axes at
        their edge."""


def controls() -> dict[str, widgets.Widget]:
    """At rest all methods, DPO marked: it is one of many, and most lie close together."""
    wide = {"style": {"description_width": "90px"}, "layout": {"width": "380px"}}
    names = list(entries())
    method = widgets.Dropdown(value="DPO β 0.1", options=names, description="marked", **wide)
    method.ends = [names[0], names[-1]]  # in tests; all of them would be many
    columns = [(label, column) for column, (label, *_) in ACROSS.items()]
    return {
        "kinds": Choices(tuple(KINDS), tuple(KINDS), name="feedback", width=104),
        "reference": widgets.Dropdown(options=(SHARED, WITH, WITHOUT), description="reference", **wide),
        "method": method,
        "across": widgets.Dropdown(value="kl", options=columns, description="across", **wide),
        "methods": Choices(names, names, name="methods", width=134, columns=5),
    }
