"""rlcore.mdp against published tables, enumerated policies, loops written from the definition, finite differences."""

import itertools
import warnings
from math import inf, nan

import numpy as np
import pytest
import torch
from torch import Tensor

from rlcore import mdp as m
from rlcore.cases import of
from rlcore.check import agrees
from rlcore.mdp import MDP

STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))


def random_mdp(states: int, actions: int, gamma, seed: int = 0, dtype=torch.float64, leading=()) -> MDP:
    generator = torch.Generator().manual_seed(seed)
    transitions = torch.rand(*leading, states, actions, states, generator=generator, dtype=torch.float64) ** 4
    transitions /= transitions.sum(-1, keepdim=True)
    rewards = torch.randn(*leading, states, actions, generator=generator, dtype=torch.float64)
    return MDP(transitions.to(dtype), rewards.to(dtype), gamma)


def random_policy(mdp: MDP, seed: int = 1, leading=()) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*leading, mdp.states, mdp.actions, generator=generator, dtype=torch.float64)
    return logits.softmax(-1).to(mdp.rewards.dtype)


def uniform(mdp: MDP) -> Tensor:
    return torch.full((mdp.states, mdp.actions), 1 / mdp.actions, dtype=mdp.rewards.dtype)


def to_sparse(mdp: MDP) -> MDP:
    with warnings.catch_warnings(action="ignore"):
        return MDP(mdp.transitions.reshape(-1, mdp.states).to_sparse_csr(), mdp.rewards, mdp.gamma)


def grid(height: int, width: int, landing, dtype=torch.float64, gamma=1.0) -> MDP:
    """landing(row, column, down, right) -> (row, column), reward; without slipping."""
    transitions = torch.zeros(height * width, 4, height * width, dtype=dtype)
    rewards = torch.zeros(height * width, 4, dtype=dtype)
    for row, column, action in itertools.product(range(height), range(width), range(4)):
        (to_row, to_column), reward = landing(row, column, *STEPS[action])
        transitions[row * width + column, action, to_row * width + to_column] = 1
        rewards[row * width + column, action] = reward
    return MDP(transitions, rewards, gamma)


def corners_4x4(dtype=torch.float64) -> MDP:
    """Sutton & Barto 2018, Example 4.1."""

    def landing(row, column, down, right):
        if (row, column) in ((0, 0), (3, 3)):
            return (row, column), 0
        return (min(max(row + down, 0), 3), min(max(column + right, 0), 3)), -1

    return grid(4, 4, landing, dtype)


def jumps_5x5(gamma=0.9) -> MDP:
    """Sutton & Barto 2018, Examples 3.5 and 3.8."""

    def landing(row, column, down, right):
        if (row, column) == (0, 1):
            return (4, 1), 10
        if (row, column) == (0, 3):
            return (2, 3), 5
        there = row + down, column + right
        return (there, 0) if min(there) >= 0 and max(there) <= 4 else ((row, column), -1)

    return grid(5, 5, landing, gamma=gamma)


def slip_grid(size: int, gamma) -> MDP:
    """A step costs 1, one step in five slides to a side, the last cell is terminal."""
    transitions, last = np.zeros((size * size, 4, size * size)), size * size - 1
    for state, action in itertools.product(range(last), range(4)):
        for turn, chance in ((0, 0.8), (1, 0.1), (-1, 0.1)):
            down, right = STEPS[(action + turn) % 4]
            row, column = min(max(state // size + down, 0), size - 1), min(max(state % size + right, 0), size - 1)
            transitions[state, action, row * size + column] += chance
    transitions[last, :, last] = 1
    rewards = np.where(np.arange(size * size)[:, None] < last, -np.ones(4), 0)
    return MDP(torch.from_numpy(transitions), torch.from_numpy(rewards), gamma)


def by_loops(mdp: MDP, v) -> np.ndarray:
    """Q(s,a) from its definition, number by number."""
    q = np.zeros((mdp.states, mdp.actions))
    for state, action in itertools.product(range(mdp.states), range(mdp.actions)):
        q[state, action] = float(mdp.rewards[state, action])
        for after in range(mdp.states):
            q[state, action] += float(mdp.gamma) * float(mdp.transitions[state, action, after]) * float(v[after])
    return q


def by_rollout(mdp: MDP, policy: Tensor, steps: int) -> np.ndarray:
    """V(s): expected discounted reward of `steps` steps, by carrying the state distribution forward in time."""
    value = np.zeros(mdp.states)
    chain = np.einsum("sa,sat->st", policy.numpy(), mdp.transitions.numpy())
    paid = (policy * mdp.rewards).sum(-1).numpy()
    for start in range(mdp.states):
        chance = np.eye(mdp.states)[start]
        for step in range(steps):
            value[start] += mdp.gamma**step * chance @ paid
            chance = chance @ chain
    return value


def by_enumeration(mdp: MDP) -> np.ndarray:
    """V*: the best value of each state over all deterministic policies."""
    best = np.full(mdp.states, -inf)
    for actions in itertools.product(range(mdp.actions), repeat=mdp.states):
        rows = mdp.transitions.numpy()[np.arange(mdp.states), list(actions)]
        paid = mdp.rewards.numpy()[np.arange(mdp.states), list(actions)]
        best = np.maximum(best, np.linalg.inv(np.eye(mdp.states) - mdp.gamma * rows) @ paid)
    return best


def close(got: Tensor, want, atol: float = 1e-10) -> bool:
    return torch.allclose(got.double(), torch.as_tensor(want, dtype=torch.float64), rtol=0, atol=atol)


# --- published tables ---------------------------------------------------------------------------------------------


RANDOM_4X4 = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
BEST_4X4 = [[0, -1, -2, -3], [-1, -2, -3, -2], [-2, -3, -2, -1], [-3, -2, -1, 0]]


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
def test_the_random_policy_of_the_4x4_grid_has_the_published_values(convert):
    mdp = convert(corners_4x4())
    assert close(m.solve(mdp, uniform(mdp)), np.ravel(RANDOM_4X4))


def test_the_4x4_grid_takes_173_synchronous_sweeps_to_change_by_less_than_1e_4():
    mdp = corners_4x4()
    v, seen = torch.zeros(16, dtype=torch.float64), {}
    for sweep in range(1, 1000):
        old, v = v, m.bellman_expectation(mdp, uniform(mdp), v)
        seen[sweep] = v
        if (v - old).abs().max() < 1e-4:
            break
    assert sweep == 173
    assert close(seen[1], [0.0] + [-1.0] * 14 + [0.0])
    assert close(seen[2][[1, 2, 5]], [-1.75, -2, -2])
    assert close(seen[3][[1, 2, 3, 5]], [-2.4375, -2.9375, -3, -2.875])
    assert close(seen[10][[1, 2, 3, 5, 6]], [-6.1380, -8.3524, -8.9673, -7.7374, -8.4278], atol=5e-5)


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "solver",
    [
        m.policy_iteration,
        lambda mdp: m.value_iteration(mdp, tol=1e-9),
        lambda mdp: m.modified_policy_iteration(mdp, sweeps=3, tol=1e-9),
    ],
    ids=["policy", "value", "modified"],
)
def test_the_optimal_value_of_the_4x4_grid_is_minus_the_distance(convert, solver):
    mdp = convert(corners_4x4())
    solution = solver(mdp)
    assert close(solution.v, np.ravel(BEST_4X4))
    assert close(m.solve(mdp, solution.policy), np.ravel(BEST_4X4))


def test_acting_greedily_on_the_random_policys_value_is_already_optimal_on_the_4x4_grid():
    mdp = corners_4x4()
    policy = m.greedy(m.q_from_v(mdp, m.solve(mdp, uniform(mdp))).round(decimals=9))
    assert close(m.solve(mdp, policy), np.ravel(BEST_4X4))


RANDOM_5X5 = [
    [3.3, 8.8, 4.4, 5.3, 1.5],
    [1.5, 3.0, 2.3, 1.9, 0.5],
    [0.1, 0.7, 0.7, 0.4, -0.4],
    [-1.0, -0.4, -0.4, -0.6, -1.2],
    [-1.9, -1.3, -1.2, -1.4, -2.0],
]
BEST_5X5 = [
    [22.0, 24.4, 22.0, 19.4, 17.5],
    [19.8, 22.0, 19.8, 17.8, 16.0],
    [17.8, 19.8, 17.8, 16.0, 14.4],
    [16.0, 17.8, 16.0, 14.4, 13.0],
    [14.4, 16.0, 14.4, 13.0, 11.7],
]


def test_the_5x5_grid_has_the_published_values_of_the_random_policy():
    mdp = jumps_5x5()
    v = m.solve(mdp, uniform(mdp))
    assert close(v, np.ravel(RANDOM_5X5), atol=0.05)
    assert close(v[[1, 3]], [8.78929, 5.32237], atol=5e-6)


def test_the_5x5_grid_has_the_published_optimal_values_with_every_solver():
    mdp = jumps_5x5()
    exact = m.policy_iteration(mdp).v
    assert close(exact, np.ravel(BEST_5X5), atol=0.05)
    assert close(exact[1], 10 / (1 - 0.9**5))
    for solution in (m.value_iteration(mdp, tol=1e-9), m.modified_policy_iteration(mdp, sweeps=10, tol=1e-9)):
        assert close(solution.v, exact, atol=1e-8)


# --- the operators ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_a_backup_is_what_its_definition_says(gamma, convert):
    mdp = random_mdp(5, 3, gamma)
    v = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    policy, q = random_policy(mdp), by_loops(mdp, v)
    loops = [sum(float(policy[s, a]) * q[s, a] for a in range(3)) for s in range(5)]
    assert close(m.q_from_v(convert(mdp), v), q)
    assert close(m.bellman_expectation(convert(mdp), policy, v), loops)
    assert close(m.bellman_optimality(convert(mdp), v), [max(row) for row in q])


WRONG = {
    "q_from_v": {
        "forgot gamma": lambda mdp, v: mdp.rewards + mdp.transitions @ v,
        "averaged over next states instead of weighting by P": lambda mdp, v: mdp.rewards + mdp.gamma * v.mean(),
        "forgot the reward": lambda mdp, v: mdp.gamma * mdp.transitions @ v,
        "discounted the reward too": lambda mdp, v: mdp.gamma * (mdp.rewards + mdp.transitions @ v),
        "read P backwards: from s' to s": lambda mdp, v: (
            mdp.rewards + mdp.gamma * torch.einsum("tas,t->sa", mdp.transitions, v)
        ),
        "used the value of the state itself": lambda mdp, v: mdp.rewards + mdp.gamma * v[:, None],
        "took the best next state": lambda mdp, v: (
            mdp.rewards + mdp.gamma * torch.where(mdp.transitions > 0, v, -inf).amax(-1)
        ),
    },
    "bellman_expectation": {
        "took the max instead of the policy's mean": lambda mdp, policy, v: m.q_from_v(mdp, v).amax(-1),
        "divided by the number of actions on top": lambda mdp, policy, v: (policy * m.q_from_v(mdp, v)).mean(-1),
        "weighted all actions equally": lambda mdp, policy, v: m.q_from_v(mdp, v).mean(-1),
        "summed over actions without the policy": lambda mdp, policy, v: m.q_from_v(mdp, v).sum(-1),
        "forgot gamma": lambda mdp, policy, v: (policy * (mdp.rewards + mdp.transitions @ v)).sum(-1),
        "forgot the reward": lambda mdp, policy, v: (policy * (mdp.gamma * mdp.transitions @ v)).sum(-1),
        "averaged over next states instead of weighting by P": lambda mdp, policy, v: (
            policy * (mdp.rewards + mdp.gamma * v.mean())
        ).sum(-1),
    },
    "bellman_optimality": {
        "averaged over actions": lambda mdp, v: m.q_from_v(mdp, v).mean(-1),
        "took the action with the best reward, not the best value": lambda mdp, v: m.q_from_v(mdp, v).gather(
            -1, mdp.rewards.argmax(-1, keepdim=True)
        )[:, 0],
        "took the best next state instead of the best action": lambda mdp, v: (mdp.rewards + mdp.gamma * v.max()).amax(
            -1
        ),
        "forgot gamma": lambda mdp, v: (mdp.rewards + mdp.transitions @ v).amax(-1),
        "returned the best action, not its value": lambda mdp, v: m.q_from_v(mdp, v).argmax(-1),
        "kept the old value where it was larger": lambda mdp, v: torch.maximum(v, m.q_from_v(mdp, v).amax(-1)),
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_named_mistake_is_what_the_mistaken_function_gives(name):
    for case in of(getattr(m, name)):
        for mistake, value in case.mistakes.items():
            assert agrees(WRONG[name][mistake](**case.args), value, case.atol), mistake


def test_greedy_takes_the_first_of_equal_actions_in_every_row_of_a_batch():
    q = torch.tensor([[[0.0, 2.0, 2.0], [5.0, 5.0, 5.0]], [[1.0, 0.0, 1.0], [-2.0, -1.0, -3.0]]])
    want = torch.tensor([[[0.0, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]]])
    assert torch.equal(m.greedy(q), want)


@pytest.mark.parametrize("gamma", [0.5, 0.95, 1.0])
def test_both_backups_contract_by_gamma(gamma):
    mdp = random_mdp(6, 3, gamma)
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 50, 6, generator=generator, dtype=torch.float64)
    apart = (a - b).abs().amax(-1)
    for backup in (lambda v: m.bellman_optimality(mdp, v), lambda v: m.bellman_expectation(mdp, random_policy(mdp), v)):
        assert ((backup(a) - backup(b)).abs().amax(-1) <= gamma * apart + 1e-12).all()


# --- exact solutions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
def test_solve_sums_the_discounted_rewards_of_all_futures(convert):
    mdp = random_mdp(5, 3, 0.8)
    policy = random_policy(mdp)
    assert close(m.solve(convert(mdp), policy), by_rollout(mdp, policy, steps=200))


def test_an_undiscounted_value_is_the_expected_sum_until_the_end():
    mdp = slip_grid(4, 1.0)
    assert close(m.solve(mdp, uniform(mdp)), by_rollout(mdp, uniform(mdp), steps=3000), atol=1e-8)


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize("seed", range(3))
def test_every_solver_finds_the_best_of_all_deterministic_policies(seed, convert):
    mdp = random_mdp(4, 3, 0.9, seed)
    best = by_enumeration(mdp)
    assert close(m.policy_iteration(convert(mdp)).v, best)
    assert close(m.value_iteration(convert(mdp), tol=1e-9).v, best, atol=1e-9)
    solution = m.modified_policy_iteration(convert(mdp), sweeps=4, tol=1e-9)
    assert close(solution.v, best, atol=1e-9)
    assert close(m.solve(mdp, solution.policy), best)


def test_a_solution_hangs_together():
    mdp = random_mdp(6, 3, 0.9)
    for solution in (m.value_iteration(mdp, tol=1e-8), m.policy_iteration(mdp)):
        assert close(solution.q.amax(-1), solution.v)
        assert close(m.q_from_v(mdp, solution.v), solution.q, atol=1e-7)
        assert torch.equal(m.greedy(solution.q), solution.policy)
        assert solution.residuals.shape == (solution.sweeps,)


def test_the_first_residual_is_the_largest_reward_and_later_ones_shrink_by_gamma():
    mdp = random_mdp(6, 3, 0.9)
    solution = m.value_iteration(mdp, tol=1e-6)
    assert close(solution.residuals[0], mdp.rewards.amax(-1).abs().max())
    assert (solution.residuals[1:] <= 0.9 * solution.residuals[:-1] + 1e-12).all()


# --- the certificate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize("sweeps", [0, 1, 7])
@pytest.mark.parametrize("tol", [10.0, 0.1, 1e-4, 1e-8])
def test_values_and_action_values_are_within_tol_of_the_optimum(tol, sweeps, convert):
    for mdp in (random_mdp(8, 3, 0.99), slip_grid(5, 0.99), slip_grid(5, 0.9), jumps_5x5(0.97)):
        exact = m.policy_iteration(mdp)
        solution = m.modified_policy_iteration(convert(mdp), sweeps, tol)
        assert (solution.v - exact.v).abs().max() <= tol
        assert (solution.q - exact.q).abs().max() <= tol
        assert (solution.v[mdp.terminal] == 0).all()


def test_the_midpoint_spares_most_sweeps_where_states_mix_quickly():
    mdp = random_mdp(30, 3, 0.99)
    assert m.value_iteration(mdp, tol=1e-4).sweeps < 40  # waiting for the largest change to shrink takes 1,300


@pytest.mark.parametrize("sweeps", [0, 10])
@pytest.mark.parametrize("tol", [1.0, 0.1, 0.03, 0.02])
def test_a_coarse_tol_is_kept_in_float32(tol, sweeps):
    mdp = random_mdp(20, 3, 0.99, dtype=torch.float32)
    wide = mdp.transitions.double() / mdp.transitions.double().sum(-1, keepdim=True)
    exact = m.policy_iteration(MDP(wide, mdp.rewards.double(), 0.99)).v
    assert (m.modified_policy_iteration(mdp, sweeps, tol).v.double() - exact).abs().max() <= tol


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize("tol", [3e-3, 1e-4, 1e-8])
def test_a_tol_finer_than_float32_is_refused_at_once(tol, convert):
    mdp = convert(random_mdp(20, 3, 0.99, dtype=torch.float32))
    with pytest.raises(ValueError, match="finer than float32 can certify here: it takes at least"):
        m.modified_policy_iteration(mdp, sweeps=10, tol=tol, most_sweeps=100)


def test_a_tol_that_float32_resolves_is_met_in_float32():
    mdp = corners_4x4(torch.float32)
    assert m.value_iteration(mdp, tol=1e-3).v.dtype is torch.float32
    assert close(m.modified_policy_iteration(mdp, sweeps=5, tol=1e-3).v, np.ravel(BEST_4X4), atol=1e-5)


def test_a_solver_gives_up_aloud():
    circle = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])  # two states forever, no end
    mdp = MDP(circle, torch.tensor([[1.0], [1.0]]), gamma=1.0)
    with pytest.raises(ValueError, match=r"change by 1 after most_sweeps = 50, tol 0.001 is not certain"):
        m.value_iteration(mdp, tol=1e-3, most_sweeps=50)
    with pytest.raises(ValueError, match="still improves after most_sweeps = 1"):
        m.policy_iteration(random_mdp(4, 3, 0.9), most_sweeps=1)


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
@pytest.mark.parametrize("gamma", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("size", [6, 8, 12])
def test_policy_iteration_does_not_go_round_between_equal_actions(size, gamma, convert):
    solution = m.policy_iteration(convert(slip_grid(size, gamma)), most_sweeps=20)
    assert torch.equal(solution.policy.amax(-1), torch.ones(size * size, dtype=torch.float64))  # also where all tie


def test_news_of_a_reward_spreads_in_every_direction():
    mdp = slip_grid(14, 0.99)
    turned = mdp.transitions.flip(0, 2), mdp.rewards.flip(0)  # the goal in the opposite corner
    for world in (mdp, MDP(*turned, 0.99)):
        for either in (world, to_sparse(world)):
            assert m.modified_policy_iteration(either, sweeps=20, tol=1e-6).sweeps < 15


# --- batches ------------------------------------------------------------------------------------------------------

GAMMAS = torch.tensor([0.0, 0.5, 0.9, 0.99], dtype=torch.float64)


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
def test_a_sweep_over_gamma_in_one_call_is_the_separate_calls(convert):
    one = random_mdp(6, 3, 0.5)
    policy, v = random_policy(one), torch.arange(6.0, dtype=torch.float64)
    together = convert(MDP(one.transitions, one.rewards, GAMMAS))
    apart = [MDP(one.transitions, one.rewards, gamma.item()) for gamma in GAMMAS]
    start = torch.full((6,), 1 / 6, dtype=torch.float64)
    assert together.leading == (4,)
    assert close(m.solve(together, policy), torch.stack([m.solve(each, policy) for each in apart]))
    assert close(m.q_from_v(together, v), torch.stack([m.q_from_v(each, v) for each in apart]))
    assert close(m.occupancy(together, policy, start), torch.stack([m.occupancy(e, policy, start) for e in apart]))
    exact = torch.stack([m.policy_iteration(each).v for each in apart])
    assert close(m.policy_iteration(together).v, exact)
    for solution in (m.value_iteration(together, tol=1e-6), m.modified_policy_iteration(together, 5, tol=1e-6)):
        assert (solution.v - exact).abs().max() <= 1e-6
        assert solution.residuals.shape == (solution.sweeps, 4)
        assert solution.policy.shape == (4, 6, 3)


def test_gamma_1_and_less_share_a_batch():
    one = corners_4x4()
    mdp = MDP(one.transitions, one.rewards, torch.tensor([0.5, 1.0], dtype=torch.float64))
    for solution in (m.policy_iteration(mdp), m.modified_policy_iteration(mdp, 3, tol=1e-9)):
        assert close(solution.v[1], np.ravel(BEST_4X4))
        assert close(solution.v[0], -2 * (1 - 0.5 ** np.abs(np.ravel(BEST_4X4))), atol=1e-8)  # −1 − ½ − ¼ …


def test_worlds_in_a_batch_do_not_mix():
    many = random_mdp(5, 2, torch.tensor([[0.5], [0.9]], dtype=torch.float64), leading=(3,))
    policy = random_policy(many, leading=(3,))
    exact, values = m.policy_iteration(many), m.solve(many, policy)
    solution = m.modified_policy_iteration(many, 3, tol=1e-8)
    assert many.leading == exact.v.shape[:2] == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        alone = MDP(many.transitions[j], many.rewards[j], many.gamma[i, 0].item())
        assert close(exact.v[i, j], by_enumeration(alone))
        assert close(solution.v[i, j], by_enumeration(alone), atol=1e-8)
        assert close(values[i, j], by_rollout(alone, policy[j], steps=300))


def test_several_value_functions_and_policies_go_through_at_once():
    mdp = random_mdp(4, 3, 0.9)
    v, policies = torch.arange(8.0, dtype=torch.float64).view(2, 4), random_policy(mdp, leading=(2,))
    for world in (mdp, to_sparse(mdp)):
        assert close(m.q_from_v(world, v), np.stack([by_loops(mdp, each) for each in v]))
        assert close(m.solve(world, policies), np.stack([by_rollout(mdp, policy, 400) for policy in policies]))


# --- ends, occupancy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
def test_terminal_is_absorbing_for_every_action_and_unpaid(convert):
    transitions = torch.tensor(
        [
            [[1.0, 0, 0, 0], [1, 0, 0, 0]],  # absorbing, but paid
            [[0.0, 1, 0, 0], [0, 0, 1, 0]],  # absorbing for one action
            [[0.0, 0, 1, 0], [0, 0, 1, 0]],  # terminal
            [[0.0, 0, 0.5, 0.5], [0, 0, 1, 0]],
        ]
    )
    mdp = MDP(transitions, torch.tensor([[1.0, 1], [0, 0], [0, 0], [0, 0]]), 0.9)
    assert convert(mdp).terminal.tolist() == [False, False, True, False]


@pytest.mark.parametrize("convert", [lambda mdp: mdp, to_sparse], ids=["dense", "sparse"])
def test_a_policy_that_never_ends_is_refused_by_name_when_gamma_is_1(convert):
    mdp = convert(corners_4x4())
    up = torch.zeros(16, 4, dtype=torch.float64)
    up[:, 0] = 1  # ends from the first column, bumps forever in the others
    with pytest.raises(ValueError, match="gamma is 1 and under this policy state 1 never reaches a terminal state"):
        m.solve(mdp, up)
    assert close(m.solve(MDP(mdp.transitions, mdp.rewards, 0.5), up)[1], -2)  # with a discount it is worth something


def test_only_the_undiscounted_worlds_of_a_batch_must_end():
    one, up = corners_4x4(), torch.zeros(16, 4, dtype=torch.float64)
    up[:, 0] = 1
    mdp = MDP(one.transitions, one.rewards, torch.tensor([0.5, 1.0], dtype=torch.float64))
    v = m.solve(mdp, torch.stack([up, uniform(one)]))
    assert close(v[0, 1], -2)
    assert close(v[1], np.ravel(RANDOM_4X4))


def test_occupancy_is_the_discounted_share_of_time():
    mdp = random_mdp(4, 3, 0.7)
    policy, start = random_policy(mdp), torch.tensor([0.5, 0.5, 0, 0], dtype=torch.float64)
    chain = torch.einsum("sa,sat->st", policy, mdp.transitions)
    chance, share = start, torch.zeros(4, dtype=torch.float64)
    for step in range(200):
        share += 0.3 * 0.7**step * chance
        chance = chance @ chain
    for world in (mdp, to_sparse(mdp)):
        assert close(m.occupancy(world, policy, start), share)
    assert close(start @ m.solve(mdp, policy), (share[:, None] * policy * mdp.rewards).sum() / 0.3)


# --- gradients ----------------------------------------------------------------------------------------------------


def test_gradients_reach_transitions_rewards_policy_and_gamma():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    rewards = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    policy = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    gamma = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    v = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)

    def world(logits, rewards, gamma):
        return MDP(logits.softmax(-1), rewards, gamma)

    for function, args in {
        lambda *x: m.solve(world(*x[:3]), x[3].softmax(-1)): (logits, rewards, gamma, policy),
        lambda *x: m.q_from_v(world(*x[:3]), x[3]): (logits, rewards, gamma, v),
        lambda *x: m.bellman_expectation(world(*x[:3]), x[3].softmax(-1), x[4]): (logits, rewards, gamma, policy, v),
        lambda *x: m.occupancy(world(*x[:3]), x[3].softmax(-1), x[4].softmax(-1)): (logits, rewards, gamma, policy, v),
    }.items():
        assert torch.autograd.gradcheck(function, args)


def test_the_gradient_of_the_start_value_passes_through_an_undiscounted_end():
    one = slip_grid(3, 1.0)
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: m.solve(one, logits.softmax(-1))[0], (logits,))


def test_sparse_transitions_pass_gradients_to_v_and_rewards():
    one = to_sparse(random_mdp(4, 3, 0.9))
    v = torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    rewards = one.rewards.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, r: m.q_from_v(MDP(one.transitions, r, 0.9), v), (v, rewards))


def test_nothing_given_is_changed():
    mdp = random_mdp(4, 3, 0.9)
    for world in (mdp, to_sparse(mdp)):
        policy, v, rewards = random_policy(mdp), torch.ones(4, dtype=torch.float64), mdp.rewards.clone()
        before, values = mdp.transitions.clone(), world.transitions.clone()
        m.bellman_expectation(world, policy, v), m.solve(world, policy), m.policy_iteration(world)
        m.modified_policy_iteration(world, 3, tol=1e-6)
        assert torch.equal(mdp.rewards, rewards)
        assert torch.equal(mdp.transitions, before)
        assert torch.equal(world.transitions.to_dense(), values.to_dense())
        assert torch.equal(v, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_given_is_the_dtype_returned(dtype):
    mdp = random_mdp(4, 3, 0.9, dtype=dtype)
    for world in (mdp, to_sparse(mdp)):
        solution, policy = m.modified_policy_iteration(world, 3, tol=0.1), random_policy(mdp)
        exact = m.policy_iteration(world)
        results = [
            m.solve(world, policy),
            solution.v,
            solution.q,
            solution.policy,
            solution.residuals,
            exact.v,
            exact.q,
        ]
        assert {result.dtype for result in results} == {dtype}


# --- bad input ----------------------------------------------------------------------------------------------------

P = torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
R = torch.tensor([[1.0, 2.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("transitions", "rewards", "gamma", "message"),
    [
        (P[0], R, 0.9, r"transitions has shape \[2, 2\], expected \[\.\.\., 2, 2, 2\]"),
        (P, R[0], 0.9, r"rewards has shape \[2\], expected \[\.\.\., S, A\]"),
        (P, R[:, :1], 0.9, r"transitions has shape \[2, 2, 2\], expected \[\.\.\., 2, 1, 2\]"),
        (P.tolist(), R, 0.9, "transitions is list, expected a tensor"),
        (P * 0.9, R, 0.9, r"transitions sums to 0.9 at row \[0, 0\], expected 1"),
        (P - torch.tensor([0.6, -0.6]), R, 0.9, r"transitions is -0.1 at index \[0, 0, 0\], expected 0 or more"),
        (P * nan, R, 0.9, "transitions holds nan"),
        (P, R * nan, 0.9, "rewards holds nan"),
        (P, R / 0, 0.9, "rewards holds inf"),
        (P, R, 1.1, r"gamma is 1.1, expected a number in \[0, 1\]"),
        (P, R, -0.1, r"gamma is -0.1, expected a number in \[0, 1\]"),
        (P, R, nan, r"gamma is nan, expected a number in \[0, 1\]"),
        (P, R, "0.9", r"gamma is '0.9' \(str\), expected a number"),
        (P, R.double(), 0.9, "rewards has dtype torch.float64, expected that of transitions, torch.float32"),
        (P, R, torch.tensor(0.9).double(), "gamma has dtype torch.float64, expected that of transitions"),
        (P.expand(3, -1, -1, -1), R, torch.ones(2) / 2, r"leading axes do not broadcast: transitions \[3, 2, 2, 2\]"),
    ],
)
def test_an_impossible_world_is_refused(transitions, rewards, gamma, message):
    with pytest.raises(ValueError, match=message):
        MDP(transitions, rewards, gamma)


@pytest.mark.parametrize(
    ("transitions", "message"),
    [
        (P.view(4, 2)[:2], r"transitions has shape \[2, 2\], expected \[4, 2\]"),
        (torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0], [0.0, 0.9]]), r"transitions sums to 0.9 at row \[1, 1\]"),
        (torch.tensor([[0.5, 0.5], [1.5, -0.5], [0.0, 1.0], [0.0, 1.0]]), r"transitions is -0.5 at row \[0, 1\]"),
        (torch.tensor([[0.5, nan], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), "transitions holds nan"),
    ],
)
def test_an_impossible_sparse_world_is_refused(transitions, message):
    with warnings.catch_warnings(action="ignore"):
        rows = transitions.to_sparse_csr()
    with pytest.raises(ValueError, match=message):
        MDP(rows, R, 0.9)


WORLD = MDP(P, R, 0.9)
POLICY, V = torch.full((2, 2), 0.5), torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.q_from_v(WORLD, torch.zeros(3)), r"v has shape \[3\], expected \[\.\.\., 2\]"),
        (lambda: m.q_from_v(WORLD, V * nan), "v holds nan"),
        (lambda: m.bellman_optimality(WORLD, V + inf), "v holds inf"),
        (lambda: m.bellman_expectation(WORLD, POLICY[:1], V), r"policy has shape \[1, 2\]"),
        (lambda: m.bellman_expectation(WORLD, POLICY * 2, V), r"policy sums to 2 at row \[0\]"),
        (lambda: m.solve(WORLD, POLICY * 0), r"policy sums to 0 at row \[0\]"),
        (lambda: m.solve(WORLD, torch.tensor([[1.5, -0.5], [1, 0]])), r"policy is -0.5 at index \[0, 1\]"),
        (lambda: m.greedy(V), r"q has shape \[2\], expected \[\.\.\., S, A\]"),
        (lambda: m.greedy(POLICY * nan), "q holds nan"),
        (lambda: m.occupancy(WORLD, POLICY, V), "start sums to 0"),
        (lambda: m.occupancy(WORLD, POLICY, POLICY[0, :1]), r"start has shape \[1\]"),
        (lambda: m.occupancy(MDP(P, R, 1.0), POLICY, POLICY[0]), "gamma is 1, expected a number below 1"),
        (lambda: m.value_iteration(WORLD, tol=0.0), "tol is 0, expected a finite number above 0"),
        (lambda: m.value_iteration(WORLD, tol=nan), "tol is nan, expected a finite number above 0"),
        (lambda: m.modified_policy_iteration(WORLD, -1, tol=1.0), "sweeps is -1, expected a whole number, 0 or more"),
        (lambda: m.modified_policy_iteration(WORLD, 1.5, tol=1.0), "sweeps is 1.5, expected a whole number, 0 or more"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
