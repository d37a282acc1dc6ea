"""Is the shortest path the best one while you still explore? Two methods learn to walk along a cliff."""

from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import mdp, td
from rlcore.kernels import control
from rlcore.view import plots, style
from rlcore.worlds.gridworld import cliff

LEARNERS, EPISODES, LIMIT, HALF_LIFE = 10, 500, 1000, 100
LATE = 100  # the last episodes: what has settled
LEAST = -400.0  # where the return axis ends at the latest
PAIRS = ("SARSA | Q-learning", "Expected SARSA | Q-learning", "SARSA | Expected SARSA")
CONSTANT, DECAYING = "constant", f"halves every {HALF_LIFE} episodes"
METHODS = {
    "SARSA": (td.sarsa, style.COLOR["policy"], "-"),
    "Expected SARSA": (td.expected_sarsa, style.COLOR["reward"], "-."),
    "Q-learning": (td.q_learning, style.COLOR["rejected"], "--"),
}
WORLD = cliff()
MODEL, START = WORLD.to_mdp(gamma=1.0), WORLD.index(WORLD.start)
GOAL = WORLD.index(next(iter(WORLD.terminals)))
LANDING = MODEL.transitions.argmax(-1)  # [S, A]: nothing is random but the learner
SHADES = LinearSegmentedColormap.from_list("visits", ["#ffffff", "#f5c762"]).with_extremes(bad="#444444")


def epsilons(eps_explore: float, schedule: str) -> list[float]:
    """The chance to explore in episodes 0, 1, … EPISODES.

    >>> epsilons(0.2, DECAYING)[HALF_LIFE]
    0.1
    """
    if schedule == CONSTANT:
        return [eps_explore] * (EPISODES + 1)
    return td.exponential_decay(torch.arange(EPISODES + 1).double(), eps_explore, 0.0, HALF_LIFE).tolist()


@lru_cache(maxsize=64)
def run(method: str, eps_explore: float, schedule: str, lr: float) -> tuple[np.ndarray, Tensor, list[list[int]]]:
    """Learn with one method. The same uniform numbers for every setting, so that only the setting makes a difference.

    Returns: returns [E] averaged over learners; visits [S] per episode, averaged over learners and the last episodes;
        the greedy path of each learner as states, which ends where it comes to a state a second time.
    """
    curves = control.control(
        METHODS[method][0],
        MODEL,
        START,
        learners=LEARNERS,
        episodes=EPISODES,
        lr=lr,
        eps_explore=epsilons(eps_explore, schedule).__getitem__,
        limit=LIMIT,
        generator=torch.Generator().manual_seed(0),
    )
    visits = curves.visits[-LATE:].double().mean((0, 1))
    return curves.returns.mean(1).numpy(), visits, [_path(actions) for actions in curves.q.argmax(-1)]


def _path(actions: Tensor) -> list[int]:
    after, state, path = LANDING.gather(1, actions[:, None])[:, 0].tolist(), START, []
    while state not in path:
        path.append(state)
        state = after[state]
    return path


@lru_cache(maxsize=256)
def best_soft(eps_explore: float) -> float:
    """The most that a policy can earn which explores with chance ε; exact.

    It is the best policy of a world that ignores the action with chance ε and draws one at random.

    >>> round(best_soft(0.1), 3)
    -20.708
    """
    mix = (1 - eps_explore) * torch.eye(4, dtype=torch.float64) + eps_explore / 4  # [A, A]
    shaken = mdp.MDP(torch.einsum("ab,sbt->sat", mix, MODEL.transitions), MODEL.rewards @ mix.T, gamma=1.0)
    return mdp.policy_iteration(shaken).v[START].item()


def draw(pair: str, eps_explore: float, schedule: str, lr: float) -> Figure:
    """Two methods on the cliff: where they walk, the paths they hold best, and what they earn while learning.

    Args:
        pair:        two names of METHODS with a bar between them.
        eps_explore: chance to explore, at the beginning.
        schedule:    CONSTANT or DECAYING.
        lr:          α, in (0, 1].
    Returns: captioned figure.
    """
    names = pair.split(" | ")
    runs = {name: run(name, eps_explore, schedule, lr) for name in names}
    episodes = [0, EPISODES] if schedule == CONSTANT else range(0, EPISODES + 1, HALF_LIFE)
    chances = epsilons(eps_explore, schedule)
    best = [best_soft(chances[episode]) for episode in episodes]
    late = {name: returns[-LATE:].mean() for name, (returns, _, _) in runs.items()}
    fig = plots.canvas(height=4.0)
    for bottom, name in zip((0.62, 0.12), names, strict=True):
        _map(fig.add_axes((0.055, bottom, 0.47, 0.31)), name, *runs[name][1:])
    right = fig.add_axes((0.66, 0.12, 0.31, 0.81))
    floor = max(100 * np.floor(1.1 * min(*late.values(), -80.0) / 100), LEAST)
    for name, (returns, _, _) in runs.items():
        smooth = np.convolve(returns, np.ones(20) / 20, "valid").clip(floor, 0)
        right.plot(np.arange(20, EPISODES + 1), smooth, METHODS[name][2], color=METHODS[name][1], label=name)
    right.plot(episodes, best, color=style.COLOR["exact"], linewidth=0.9, linestyle=":", label="best with this ε")
    right.plot([0, EPISODES], [-13, -13], color=style.COLOR["exact"], linewidth=0.9, label="best path, −13")
    right.set(xlim=(0, EPISODES), ylim=(floor, -0.28 * floor))  # above 0 there is room for the key
    right.set(xlabel="episode", ylabel="return, mean of 20 episodes")
    winner = max(late, key=late.get)
    right.set_title(f"{winner} earns more", y=1.0)
    steps = {floor * k / 4: plots.number(floor * k / 4, 0) for k in range(5)}
    plots.ticks(right, {k: str(k) for k in range(0, EPISODES + 1, 125)}, steps)
    plots.key(right, 0.12, 1.0)
    return plots.caption(fig, _caption(runs, late, best_soft(chances[EPISODES - 1]), eps_explore, schedule, lr))


def _map(ax: Axes, name: str, visits: Tensor, paths: list[list[int]]) -> None:
    ax.imshow(WORLD.picture(visits).numpy(), cmap=SHADES, vmin=0, vmax=1.5, aspect="auto")
    corners = [np.divmod(path, WORLD.width)[::-1] for path in paths]  # columns, rows
    lines = [np.stack(corner, 1) for corner in corners]
    ax.add_collection(LineCollection(lines, color=METHODS[name][1], alpha=0.3, linewidth=2.5), autolim=False)
    names = ["S", "the cliff: −100, and back to S", "G"]
    plots.words(ax, [(-0.27, 3), (5.5, 3), (11.27, 3)], names, size=10, color=["black", "white", "black"])
    ax.set(xlabel="column", ylabel="row")
    ax.set_title(f"{name}: {_way(paths)}", y=1.0)
    plots.ticks(ax, {n: str(n) for n in range(WORLD.width)}, {n: str(n) for n in range(WORLD.height)})


def _way(paths: list[list[int]]) -> str:
    """How many of the paths arrive, and how long these are."""
    lengths = sorted(len(path) - 1 for path in paths if path[-1] == GOAL)
    if not lengths:
        return "no path arrives"
    span = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
    return f"{span} steps, {len(lengths)} of {len(paths)} arrive"


def _caption(runs: dict, late: dict, best: float, eps_explore: float, schedule: str, lr: float) -> str:
    each = "; ".join(
        f"{name} earns {plots.number(late[name], 1)} in the last {LATE} episodes, acting greedily: {_way(paths)}"
        for name, (_, _, paths) in runs.items()
    )
    return f"""ε = {eps_explore:.2f}, {schedule}; α = {lr:.2f}. {each}. The best policy with the ε of the end earns
        {plots.number(best, 1)} on average; without exploring: −13. Shading: steps per episode begun in a cell, white 0
        to amber 1.5 and more; lines: the greedy path of each learner."""


def controls() -> dict[str, widgets.Widget]:
    """At rest SARSA keeps away from the edge and earns more; Q-learning knows the best path and keeps falling."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}
    number = widgets.FloatSlider
    return {
        "pair": widgets.Dropdown(options=PAIRS, value=PAIRS[0], description="methods", **wide),
        "eps_explore": number(value=0.1, min=0.01, max=0.3, step=0.01, description="exploring ε", **wide),
        "schedule": widgets.Dropdown(options=(CONSTANT, DECAYING), value=CONSTANT, description="ε is", **wide),
        "lr": number(value=0.5, min=0.05, max=1.0, step=0.05, description="step size α", **wide),
    }
