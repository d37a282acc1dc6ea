"""Optimal values of grids with a slippery floor and of a dense random MDP, to 1e-4 in the largest entry.

A step costs 1, one step in five slides to a side, one corner ends it. Which corner matters: where all actions tie, a
solver that always takes the first one may look away from the goal. Constructors and checks of input are not timed.
"""

import warnings

import numpy as np
import scipy.sparse as sp
import torch

from benchmarks.measure import Entry, Missing, compare
from rlcore import mdp as m
from rlcore.mdp import MDP
from rlcore.worlds.gridworld import Gridworld

try:
    from quantecon.markov import DiscreteDP
except ImportError:
    DiscreteDP = None
try:
    from mdptoolbox.mdp import ValueIteration
except ImportError:
    ValueIteration = None

TOL = 1e-4
SWEEPS = 20  # of evaluation after each improvement: far from the goal, news travels one cell a sweep
SWEEPS_DENSE = 2  # one step leads from any state to any other: improvements are what counts


def run() -> None:
    """Print one table per problem, and the ratios together at the end."""
    _warm_up()
    ratios = {}
    for size in (50, 200):
        for gamma in (0.99, 0.999):
            for corner, goal in (("top left", (0, 0)), ("bottom right", (size - 1, size - 1))):
                name = f"{size} × {size}, goal {corner}, γ = {gamma}"
                ratios[name] = _compare_grid(name, _grid(size, goal, gamma))
    name = "dense random, S = 1000, A = 10, γ = 0.99"
    ratios[name] = _compare_dense(name, _random(1000, 10, 0.99))
    print("best peer / ours")
    for name, ratio in ratios.items():
        print(f"  {name:<58}{ratio:>8.2f}")
    print(flush=True)


def _grid(size: int, goal: tuple[int, int], gamma: float) -> MDP:
    return Gridworld(size, size, terminals={goal: 0.0}, step_reward=-1.0, slip=0.2).to_mdp(gamma, sparse=True)


def _random(states: int, actions: int, gamma: float) -> MDP:
    generator = torch.Generator().manual_seed(0)
    transitions = torch.rand(states, actions, states, generator=generator, dtype=torch.float64)
    transitions /= transitions.sum(-1, keepdim=True)
    return MDP(transitions, torch.rand(states, actions, generator=generator, dtype=torch.float64), gamma)


def _compare_grid(name: str, mdp: MDP) -> float:
    reference = m.policy_iteration(mdp).v.numpy()  # certain to about 1e-9, whatever tol is
    small = mdp.states <= 2500
    entries = [
        Entry("rlcore modified policy iteration", lambda: _v(m.modified_policy_iteration(mdp, SWEEPS, TOL)), ours=True),
        Entry("rlcore value iteration", lambda: _v(m.value_iteration(mdp, TOL)), ours=True),
        Entry("rlcore policy iteration", lambda: _v(m.policy_iteration(mdp)), ours=True),
        *_quantecon(mdp, reference),
        Entry("pymdptoolbox value iteration", _toolbox(mdp) if small else _absent("skipped: takes minutes")),
    ]
    return compare(name, reference, TOL, entries)


def _compare_dense(name: str, mdp: MDP) -> float:
    reference = m.policy_iteration(mdp).v.numpy()
    entries = [
        Entry(
            "rlcore modified policy iteration",
            lambda: _v(m.modified_policy_iteration(mdp, SWEEPS_DENSE, TOL)),
            ours=True,
        ),
        Entry("rlcore value iteration", lambda: _v(m.value_iteration(mdp, TOL)), ours=True),
        Entry("rlcore policy iteration", lambda: _v(m.policy_iteration(mdp)), ours=True),
        *_quantecon(mdp, reference),
    ]
    ratio = compare(name, reference, TOL, entries)
    value_iteration = next(entry for entry in entries if entry.name == "QuantEcon value iteration")
    if not value_iteration.missing:
        for ours in entries[:2]:
            print(f"  QuantEcon value iteration / {ours.name}: {min(value_iteration.times) / min(ours.times):.0f}")
        print()
    return ratio


def _v(solution: m.Solution) -> np.ndarray:
    return solution.v.numpy()


def _quantecon(mdp: MDP, reference: np.ndarray) -> list[Entry]:
    names = [f"QuantEcon {name} iteration" for name in ("value", "modified policy", "policy")]
    if DiscreteDP is None:
        return [Entry(name, _absent("quantecon is not installed")) for name in names]
    if mdp.transitions.layout is torch.sparse_csr:  # pairs (s, a) sorted by state, as PyTorch holds them
        parts = (mdp.transitions.values(), mdp.transitions.col_indices(), mdp.transitions.crow_indices())
        rows = sp.csr_matrix(tuple(part.numpy() for part in parts), shape=mdp.transitions.shape)
        pairs = np.divmod(np.arange(len(rows.indptr) - 1), mdp.actions)
        problem = DiscreteDP(mdp.rewards.flatten().numpy(), rows, mdp.gamma, *pairs)
    else:
        problem = DiscreteDP(mdp.rewards.numpy(), mdp.transitions.numpy(), mdp.gamma)
    enough = next((n for n in (5, 10, 15, 20, 30) if _off(problem, n, reference) <= TOL), 30)
    return [
        Entry(names[0], lambda: problem.solve("vi", epsilon=TOL, max_iter=10**6).v),
        Entry(names[1], lambda: problem.solve("mpi", epsilon=TOL, max_iter=10**6, k=20).v),
        # On a grid it goes round between equal actions for ever, so it is stopped once its values are right.
        Entry(names[2], lambda: problem.solve("pi", max_iter=enough).v, note=f"at most {enough} policies"),
    ]


def _off(problem, policies: int, reference: np.ndarray) -> float:
    return np.abs(problem.solve("pi", max_iter=policies).v - reference).max()


def _toolbox(mdp: MDP):
    if ValueIteration is None:
        return _absent("pymdptoolbox is not installed")
    matrix = mdp.table.matrix  # rows sorted by action
    by_action = [sp.csr_matrix(matrix[a * mdp.states : (a + 1) * mdp.states]) for a in range(mdp.actions)]
    with warnings.catch_warnings(action="ignore"):  # it compares sparse matrices with 0
        problem = ValueIteration(by_action, mdp.rewards.numpy(), mdp.gamma, epsilon=TOL, max_iter=10**5)

    def solve() -> np.ndarray:
        problem.V, problem.iter = np.zeros(mdp.states), 0
        problem.run()
        return problem.V

    return solve


def _absent(reason: str):
    def solve():
        raise Missing(reason)

    return solve


def _warm_up() -> None:
    """Let QuantEcon compile what it compiles at the first call."""
    for mdp in (_grid(4, (0, 0), 0.9), _random(4, 2, 0.9)):
        for entry in _quantecon(mdp, np.zeros(mdp.states)):
            if DiscreteDP is not None:
                entry.run()
