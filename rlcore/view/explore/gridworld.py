"""When is the policy right, and when are the values? Value iteration on a slippery floor, sweep by sweep."""

from dataclasses import dataclass
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import mdp
from rlcore.view import plots, style
from rlcore.view.explore.parts import Cell, Cells, Playable
from rlcore.worlds.gridworld import Gridworld, playground

SWEEPS = 60
LEAST = 1e-6  # what the right axis shows at least
ROUNDING = 1e-12  # an error below is none
WALLS = tuple(sorted(playground(slip=0.0, step_cost=0.0).walls))
SHUT_IN = ((1, 6), (2, 5), (3, 6), (4, 0), (5, 1))  # goal and start, each behind walls
COLOURS = LinearSegmentedColormap.from_list("signed", ["#c9c9c9", "#ffffff", "#f5c762"]).with_extremes(bad="#444444")


@dataclass(frozen=True, eq=False)
class Run:
    """Value iteration from V = 0 in one world, K sweeps long, beside the exact answer.

    Args:
        values:  [K+1, S] after 0, 1, … K sweeps.
        greedy:  [K+1, S, A] bool: the actions that are best by those values, several where they tie.
        right:   [K+1] cells of the floor where every greedy action is an optimal one.
        errors:  [K+1] largest distance to the exact values.
        changes: [K+1] largest change by the last sweep; 0 before the first.
        exact:   [S] optimal values.
        floor:   cells where an action is to be chosen: neither walls nor ends.
    """

    world: Gridworld
    values: Tensor
    greedy: Tensor
    right: list[int]
    errors: list[float]
    changes: list[float]
    exact: Tensor
    floor: int

    @property
    def settled(self) -> int | None:
        """The sweep from which on, to the last, the policy is right everywhere."""
        wrong = [sweep for sweep, right in enumerate(self.right) if right < self.floor]
        first = wrong[-1] + 1 if wrong else 0
        return first if first <= SWEEPS else None


@lru_cache(maxsize=64)
def run(gamma: float, slip: float, step_cost: float, walls: tuple[Cell, ...]) -> Run:
    """Every sweep at once, so that moving the sweep slider only draws.

    >>> run(0.5, 0.0, 0.0, ()).exact[-1].item()     # the lower right corner; the third step reaches the goal: γ²
    0.25
    """
    world = playground(slip, step_cost, walls)
    model = world.to_mdp(gamma)
    values = [torch.zeros(model.states, dtype=torch.float64)]
    for _ in range(SWEEPS):
        values.append(mdp.bellman_optimality(model, values[-1]))
    values, best = torch.stack(values), mdp.policy_iteration(model)
    greedy, optimal = _best(mdp.q_from_v(model, values)), _best(best.q)
    floor = ~torch.isnan(world.picture(best.v).flatten())
    floor[[world.index(cell) for cell in world.terminals]] = False
    right = ((~greedy | optimal).all(-1) & floor).sum(-1)
    errors = (values - best.v).abs().amax(-1)
    errors[errors < ROUNDING] = 0.0
    changes = values.diff(dim=0, prepend=values[:1]).abs().amax(-1)
    greedy &= floor[:, None]
    return Run(world, values, greedy, right.tolist(), errors.tolist(), changes.tolist(), best.v, int(floor.sum()))


def _best(q: Tensor) -> Tensor:
    return q >= q.amax(-1, keepdim=True) - 1e-9


def draw(gamma: float, slip: float, step_cost: float, sweep: int, walls: tuple[Cell, ...]) -> Figure:
    """Values and greedy actions after some sweeps of value iteration, and how far the values still are from exact.

    Args:
        gamma:     discount, in [0, 1).
        slip:      probability of slipping sideways, in [0, 1].
        step_cost: what a step costs.
        sweep:     sweeps of value iteration from V = 0, up to 60.
        walls:     cells (row, column) that cannot be entered.
    Returns: captioned figure.
    """
    story = run(gamma, slip, step_cost, walls)
    right, error = story.right[sweep], story.errors[sweep]
    fig = plots.canvas(height=3.5)
    left = fig.add_axes((0.055, 0.13, 0.495, 0.8))
    _floor(left, story, sweep)
    _progress(fig.add_axes((0.665, 0.13, 0.318, 0.8)), story, gamma, sweep)
    left.set_title(f"Sweep {sweep}: policy right in {right} of {story.floor} cells", y=1.0)
    but = "but " if right == story.floor and error >= 0.005 else ""
    fig.axes[1].set_title(f"{but}values off by up to {error:.2g}" if error else "values exact", y=1.0)
    return plots.caption(fig, _caption(story, gamma, slip, step_cost, sweep, walls))


def _floor(ax: Axes, story: Run, sweep: int) -> None:
    world = story.world
    picture = world.picture(story.values[sweep]).numpy()
    ax.imshow(picture, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    picture[tuple(zip(*world.terminals, strict=True))] = np.nan  # their reward is written instead
    cells = np.argwhere(np.isfinite(picture))
    numbers = [plots.number(picture[tuple(cell)], 2) for cell in cells]
    plots.words(ax, cells[:, ::-1] - (0, 0.27), numbers, size=9)
    for (row, column), reward in world.terminals.items():
        name = "goal\n+1" if reward > 0 else "pit\n−1"
        ax.text(column, row, name, ha="center", va="center", weight="bold")
    ax.text(world.start[1] - 0.45, world.start[0] + 0.42, "S", fontsize=9, weight="bold")
    plots.arrows(ax, story.greedy[sweep].unflatten(0, picture.shape).numpy())
    ax.set(xlabel="column", ylabel="row")
    plots.ticks(ax, {n: str(n) for n in range(world.width)}, {n: str(n) for n in range(world.height)})


def _progress(ax: Axes, story: Run, gamma: float, sweep: int) -> None:
    sweeps, scale = np.arange(SWEEPS + 1), story.exact.abs().max().item()
    ax.set_yscale("log")
    ax.plot(sweeps, gamma**sweeps * scale, color=style.COLOR["exact"], linewidth=0.9, label="bound γᵏ · max |V*|")
    ax.plot(sweeps, story.errors, color=style.COLOR["value"], label="error, max |V − V*|")
    ax.plot(sweeps[1:], story.changes[1:], color=style.COLOR["reference"], linestyle=":", label="change by the sweep")
    ax.plot([sweep], [max(story.errors[sweep], LEAST)], "o", color=style.COLOR["value"], clip_on=False)
    if (first := story.settled) is not None:
        blue = {"color": style.COLOR["policy"], "linestyle": "--", "linewidth": 1.2}
        ax.plot([first, first], [LEAST, gamma**first * scale], label="policy right from here", **blue)
    powers = {1e-6: "10⁻⁶", 1e-4: "10⁻⁴", 1e-2: "10⁻²", 1: "1", 100: "100"}
    ax.hlines([*powers], 0, SWEEPS, color="#e8e8e8", linewidth=0.8, zorder=0)
    ax.set(xlim=(0, SWEEPS), ylim=(LEAST, 2000 * max(scale, 1)), xlabel="sweep k", ylabel="distance, in reward")
    plots.ticks(ax, {n: str(n) for n in range(0, SWEEPS + 1, 15)}, powers)
    plots.key(ax, 0.24, 1.0)


def _caption(story: Run, gamma: float, slip: float, step_cost: float, sweep: int, walls: tuple[Cell, ...]) -> str:
    start, settled = story.world.index(story.world.start), story.settled
    now, exact = (plots.number(values[start].item(), 3) for values in (story.values[sweep], story.exact))
    since = f"in all from sweep {settled} on" if settled is not None else f"not in all by sweep {SWEEPS}"
    return f"""γ = {gamma:.2f}, slip {slip:.2f}, step cost {step_cost:.2f}, {len(walls)} walls. After {sweep} sweeps of
        value iteration the greedy policy is optimal in {story.right[sweep]} of {story.floor} cells ({since}), while the
        start is worth {now} instead of {exact} and values are off by up to {story.errors[sweep]:.2g}. Largest change by
        the last sweep: {story.changes[sweep]:.2g}."""


def controls() -> dict[str, widgets.Widget]:
    """At rest the policy has just become right everywhere, and the values are far from it."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "380px"}}
    world = playground(slip=0.0, step_cost=0.0)
    fixed = {cell: "G" if reward > 0 else "P" for cell, reward in world.terminals.items()} | {world.start: "S"}
    number = widgets.FloatSlider
    return {
        "gamma": number(value=0.97, min=0.5, max=0.99, step=0.01, description="discount γ", **wide),
        "slip": number(value=0.2, min=0.0, max=0.5, step=0.05, description="slip", **wide),
        "step_cost": number(value=0.02, min=0.0, max=0.2, step=0.01, description="step cost", **wide),
        "sweep": Playable(interval=300, value=15, min=0, max=SWEEPS, description="sweep", **wide),
        "walls": Cells(WALLS, world.height, world.width, fixed, ends=[(), SHUT_IN], name="wall"),
    }
