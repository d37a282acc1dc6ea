"""rlcore.td against one-transition-at-a-time loops, the forward view, enumerated transitions, published values."""

import itertools
from math import inf, nan

import pytest
import torch
from torch import Tensor

from rlcore import mdp as m
from rlcore import td
from rlcore.cases import of
from rlcore.check import agrees
from rlcore.mdp import MDP
from rlcore.worlds.gridworld import cliff


def close(got, want, atol=1e-12) -> bool:
    return torch.allclose(torch.as_tensor(got), torch.as_tensor(want, dtype=torch.float64), rtol=0, atol=atol)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def index(size: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def random_mdp(states=4, actions=3, gamma=0.8) -> MDP:
    return MDP((2 * normal(states, actions, states)).softmax(-1), normal(states, actions, seed=1), gamma)


def episodes(learners=3, steps=6, states=4):
    """Streams of steps with an end in the middle of the first row, and padding behind the second and the third."""
    discounts = torch.full((learners, steps), 0.7, dtype=torch.float64)
    discounts[0, 2] = 0
    discounts[1, 3] = 0
    mask = torch.ones(learners, steps, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 4:] = False  # cut off, not ended: the discount of step 3 stays
    visited = index(states, learners, steps + 1)
    return normal(learners, states, seed=2), visited, normal(learners, steps, seed=3), discounts, mask


def every_transition(mdp: MDP):
    """All (s, a, s'), flat, with the probability of s'. Zero-probability ones too: they weigh nothing."""
    triples = list(itertools.product(range(mdp.states), range(mdp.actions), range(mdp.states)))
    states, actions, after = torch.tensor(triples).unbind(-1)
    return states, actions, after, mdp.transitions[states, actions, after]


def mean_change(update, table: Tensor, weights: Tensor) -> Tensor:
    """What an update changes on average: each transition has its own copy of the table."""
    copies = table.expand(len(weights), *table.shape)
    return ((update(copies) - table) * weights.reshape(-1, *[1] * table.ndim)).sum(0)


# --- several learners, several visits -----------------------------------------------------------------------------


def test_monte_carlo_measures_every_visit_against_the_table_it_was_given_and_adds_up():
    v, states, returns, _, mask = episodes()
    lr = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    got = td.monte_carlo(v, states[:, :-1], returns, mask, lr)
    want = v.tolist()
    for row, step in itertools.product(range(3), range(6)):
        if mask[row, step]:
            state = int(states[row, step])
            want[row][state] += float(lr[row]) * (float(returns[row, step]) - float(v[row, state]))
    assert close(got, want)


def test_visit_by_visit_monte_carlo_is_one_call_per_step():
    v, states, returns, _, mask = episodes()
    want = v.tolist()
    for step in range(6):
        part = slice(step, step + 1)
        v = td.monte_carlo(v, states[:, part], returns[:, part], mask[:, part], 0.25)
        for row in range(3):
            state = int(states[row, step])
            want[row][state] += 0.25 * (float(returns[row, step]) - want[row][state]) if mask[row, step] else 0
    assert close(v, want)


def loop_step(table: list, s: int, a: int, target: float, lr: float) -> None:
    table[s][a] += lr * (target - table[s][a])


@pytest.mark.parametrize("kind", ["td_zero", "sarsa", "expected_sarsa", "q_learning"])
def test_independent_learners_equal_loops_over_single_transitions(kind):
    learners, steps, states, actions = 5, 40, 4, 3
    s, s2 = index(states, steps, learners, seed=1), index(states, steps, learners, seed=2)
    a, a2 = index(actions, steps, learners, seed=3), index(actions, steps, learners, seed=4)
    rewards, policy = normal(steps, learners, seed=5), normal(steps, learners, actions, seed=6).softmax(-1)
    discounts = torch.where(index(4, steps, learners, seed=7) == 0, 0.0, 0.9).double()
    lr = torch.linspace(0.1, 0.9, learners, dtype=torch.float64)
    q = normal(learners, states, actions)
    q = q if kind != "td_zero" else q[..., :1]
    table = q.tolist()
    for t in range(steps):
        if kind == "td_zero":
            q = td.td_zero(q[..., 0], s[t], rewards[t], discounts[t], s2[t], lr)[..., None]
        elif kind == "sarsa":
            q = td.sarsa(q, s[t], a[t], rewards[t], discounts[t], s2[t], a2[t], lr)
        elif kind == "expected_sarsa":
            q = td.expected_sarsa(q, s[t], a[t], rewards[t], discounts[t], s2[t], policy[t], lr)
        else:
            q = td.q_learning(q, s[t], a[t], rewards[t], discounts[t], s2[t], lr)
        for n in range(learners):
            row, pi = table[n][s2[t, n]], policy[t, n].tolist()
            follows = {
                "td_zero": row[0],
                "sarsa": row[min(a2[t, n], len(row) - 1)],
                "expected_sarsa": sum(p * x for p, x in zip(pi, row, strict=False)),
                "q_learning": max(row),
            }[kind]
            target = float(rewards[t, n]) + float(discounts[t, n]) * follows
            loop_step(table[n], s[t, n], 0 if kind == "td_zero" else a[t, n], target, float(lr[n]))
    assert close(q, table)


def test_one_learner_needs_no_leading_axis_and_a_grid_of_learners_may_have_two():
    q, s, a = normal(2, 3, 4, 5), index(4, 2, 3), index(5, 2, 3)
    reward, discount, after = normal(2, 3, seed=1), torch.full((2, 3), 0.5, dtype=torch.float64), index(4, 2, 3, seed=1)
    got = td.q_learning(q, s, a, reward, discount, after, 0.5)
    for i, j in itertools.product(range(2), range(3)):
        alone = td.q_learning(q[i, j], s[i, j], a[i, j], reward[i, j], discount[i, j], after[i, j], 0.5)
        assert close(got[i, j], alone)


def predictor():
    """Example 6.4: A0B0, six times B1, once B0. A is state 0, B is 1. Transitions in that order."""
    states = torch.tensor([0, 1, *[1] * 6, 1])
    rewards = torch.tensor([0.0, 0, *[1.0] * 6, 0], dtype=torch.float64)
    discounts = torch.tensor([1.0, *[0.0] * 8], dtype=torch.float64)
    return states, rewards, discounts, torch.ones(9, dtype=torch.int64)


def test_batch_td_predicts_three_quarters_where_batch_monte_carlo_predicts_0():
    states, rewards, discounts, after = predictor()
    by_td = by_mc = torch.zeros(2, dtype=torch.float64)
    returns = torch.tensor([0.0, 0, *[1.0] * 6, 0], dtype=torch.float64)
    for _ in range(3000):
        by_td = by_td + (td.td_zero(by_td.expand(9, -1), states, rewards, discounts, after, 0.02) - by_td).sum(0)
        by_mc = td.monte_carlo(by_mc, states, returns, torch.ones(9, dtype=torch.bool), 0.02)
    assert close(by_td, [0.75, 0.75], 1e-9)
    assert close(by_mc, [0.0, 0.75], 1e-9)


# --- several steps ------------------------------------------------------------------------------------------------


def n_step_by_definition(rewards, discounts, values, t, n):
    """Σ_k (product of discounts) r + product · V, over at most n steps."""
    total, weight, end = 0.0, 1.0, min(t + n, len(rewards))
    for k in range(t, end):
        total += weight * float(rewards[k])
        weight *= float(discounts[k])
    return total + weight * float(values[end])


@pytest.mark.parametrize("n", [1, 2, 3, 6, 50])
def test_n_step_targets_are_the_discounted_sum_of_their_definition(n):
    _, _, rewards, discounts, _ = episodes()
    values = normal(3, 7)
    got = td.n_step_targets(rewards, discounts, values, n)
    want = [[n_step_by_definition(rewards[b], discounts[b], values[b], t, n) for t in range(6)] for b in range(3)]
    assert close(got, want)


def test_n_step_targets_on_the_exact_values_are_exact_on_average():
    mdp = random_mdp(3, 2)
    policy = normal(3, 2, seed=3).softmax(-1)
    v, chance, rows = m.solve(mdp, policy), [], []
    for path in itertools.product(range(3), range(2), range(3), range(2), range(3)):  # s a s' a' s''
        s, a, s1, a1, s2 = path
        start = [1.0, 0, 0][s]
        chance.append(start * policy[s, a] * mdp.transitions[s, a, s1] * policy[s1, a1] * mdp.transitions[s1, a1, s2])
        rows.append((mdp.rewards[s, a], mdp.rewards[s1, a1], *v[[s, s1, s2]]))
    rows = torch.tensor(rows, dtype=torch.float64)
    targets = td.n_step_targets(rows[:, :2], torch.full_like(rows[:, :2], 0.8), rows[:, 2:], 2)[:, 0]
    assert close((torch.tensor(chance, dtype=torch.float64) * targets).sum(), v[0])


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9, 1.0])
def test_the_traces_give_the_same_as_moving_every_visit_towards_its_lambda_return(lam):
    v, states, rewards, discounts, mask = episodes()
    got = td.td_lambda(v, states, rewards, discounts, mask, lam, 0.3)
    want = v.clone()
    for row in range(3):
        steps, values = int(mask[row].sum()), v[row][states[row]]
        for t in range(steps):
            n_step = [
                n_step_by_definition(rewards[row, :steps], discounts[row], values, t, n)
                for n in range(1, steps - t + 1)
            ]
            share = [(1 - lam) * lam**n for n in range(len(n_step) - 1)] + [lam ** (len(n_step) - 1)]
            target = sum(w * g for w, g in zip(share, n_step, strict=True))
            want[row, states[row, t]] += 0.3 * (target - v[row, states[row, t]])
    assert close(got, want)


def test_td_lambda_at_0_is_the_sum_of_td_zero_changes_and_at_1_monte_carlo():
    v, states, rewards, discounts, mask = episodes()
    changes = sum(
        torch.where(
            mask[:, t, None],
            td.td_zero(v, states[:, t], rewards[:, t], discounts[:, t], states[:, t + 1], 0.3) - v,
            0.0,
        )
        for t in range(6)
    )
    assert close(td.td_lambda(v, states, rewards, discounts, mask, 0.0, 0.3), v + changes)
    ended = discounts.clone()
    ended[2, 3] = 0  # the cut row ends instead, so nothing bootstraps
    ended[0, 5] = 0
    returns = td.n_step_targets(rewards, ended, normal(3, 7), 6)
    want = td.monte_carlo(v, states[:, :-1], returns, mask, 0.3)
    assert close(td.td_lambda(v, states, rewards, ended, mask, 1.0, 0.3), want)


# --- fixed points -------------------------------------------------------------------------------------------------


def test_td_zero_changes_nothing_on_average_at_the_exact_values():
    mdp, policy = random_mdp(), normal(4, 3, seed=3).softmax(-1)
    s, a, after, chance = every_transition(mdp)
    v, discounts = m.solve(mdp, policy), torch.full_like(chance, 0.8)
    change = mean_change(lambda v: td.td_zero(v, s, mdp.rewards[s, a], discounts, after, 0.5), v, chance * policy[s, a])
    assert close(change, torch.zeros(4))
    off = mean_change(
        lambda v: td.td_zero(v, s, mdp.rewards[s, a], discounts, after, 0.5), v + 1, chance * policy[s, a]
    )
    assert close(off, [-0.1] * 4)  # ½ (γ − 1): a constant error shrinks


def test_sarsa_and_expected_sarsa_change_nothing_on_average_at_the_exact_action_values():
    mdp, policy = random_mdp(), normal(4, 3, seed=3).softmax(-1)
    s, a, after, chance = every_transition(mdp)
    q, discounts = m.q_from_v(mdp, m.solve(mdp, policy)), torch.full_like(chance, 0.8)
    rewards = mdp.rewards[s, a]
    change = mean_change(lambda q: td.expected_sarsa(q, s, a, rewards, discounts, after, policy[after], 0.5), q, chance)
    assert close(change, torch.zeros(4, 3))
    parts = [
        mean_change(
            lambda q, choice=choice: td.sarsa(q, s, a, rewards, discounts, after, torch.full_like(s, choice), 0.5),
            q,
            chance * policy[after, choice],
        )
        for choice in range(3)
    ]
    assert close(sum(parts), torch.zeros(4, 3))
    assert all(part.abs().max() > 1e-3 for part in parts)  # single actions do change something: only the mean is 0


def test_expected_sarsa_is_the_mean_of_sarsa_over_next_actions():
    q, s, a, after = normal(6, 4, 3), index(4, 6), index(3, 6), index(4, 6, seed=1)
    rewards, discounts, policy = normal(6, seed=1), torch.full((6,), 0.8).double(), normal(6, 3, seed=2).softmax(-1)
    each = [td.sarsa(q, s, a, rewards, discounts, after, torch.full_like(s, choice), 0.5) for choice in range(3)]
    want = sum(policy[:, choice, None, None] * table for choice, table in enumerate(each))
    assert close(td.expected_sarsa(q, s, a, rewards, discounts, after, policy, 0.5), want)


def test_q_learning_comes_to_rest_at_the_values_of_value_iteration():
    mdp = random_mdp()
    s, a, after, chance = every_transition(mdp)
    discounts, rewards = torch.full_like(chance, 0.8), mdp.rewards[s, a]
    best, q = m.value_iteration(mdp, tol=1e-11).q, torch.zeros(4, 3, dtype=torch.float64)

    def learn(q):
        return td.q_learning(q, s, a, rewards, discounts, after, 1.0)

    assert close(mean_change(learn, best, chance), torch.zeros(4, 3), 1e-10)
    for _ in range(150):
        q = q + mean_change(learn, q, chance)
    assert close(q, best, 1e-10)


def test_q_learning_from_random_experience_finds_the_13_steps_along_the_cliff():
    mdp = cliff().to_mdp(gamma=1.0)
    landing, start = mdp.transitions.argmax(-1), cliff().index(cliff().start)  # nothing is random here
    generator = torch.Generator().manual_seed(0)
    q = torch.zeros(64, mdp.states, mdp.actions, dtype=torch.float64)
    state = torch.full((64,), start)
    for _ in range(6000):
        policy = td.epsilon_greedy(q[torch.arange(64), state], eps_explore=0.1)
        action = policy.multinomial(1, generator=generator)[:, 0]
        after = landing[state, action]
        ended = mdp.terminal[after]
        q = td.q_learning(q, state, action, mdp.rewards[state, action], (~ended).double(), after, 1.0)
        state = torch.where(ended, start, after)
    assert close(q[:, start].amax(-1), torch.full((64,), -13.0))


# --- exploration --------------------------------------------------------------------------------------------------


def test_ties_split_evenly_give_the_known_value_of_exploring_along_the_cliff():
    mdp = cliff().to_mdp(gamma=1.0)
    policy = td.epsilon_greedy(m.value_iteration(mdp, tol=1e-9).q, eps_explore=0.1)
    assert close(m.solve(mdp, policy)[cliff().index(cliff().start)], -50.800, 5e-4)


def test_the_best_of_four_actions_has_925_of_1000_and_each_learner_its_own_exploration():
    got = td.epsilon_greedy(torch.eye(4, dtype=torch.float64)[:3], torch.tensor([0.1, 0.0, 1.0], dtype=torch.float64))
    assert close(got, [[0.925, 0.025, 0.025, 0.025], [0, 1, 0, 0], [0.25] * 4])


def test_drawing_as_it_is_told_hits_each_action_as_often_as_the_policy_says():
    q, generator = torch.tensor([0.3, 0.9, 0.9]), torch.Generator().manual_seed(0)
    explore, best = torch.rand(100_000, generator=generator) < 0.3, torch.tensor([1, 2])
    drawn = torch.where(
        explore,
        torch.randint(3, (100_000,), generator=generator),
        best[torch.randint(2, (100_000,), generator=generator)],
    )
    assert close(td.epsilon_greedy(q, 0.3).double(), drawn.bincount().double() / 100_000, atol=0.005)


def test_decays_start_and_end_where_they_are_told_and_never_rise():
    steps = torch.arange(200)
    for start, end in ((1.0, 0.05), (0.5, 0.0), (0.3, 0.3)):
        line, curve = td.linear_decay(steps, start, end, 50), td.exponential_decay(steps, start, end, 10.0)
        for values in (line, curve):
            assert close(values[0].double(), start, 1e-6)
            assert close(values[-1].double(), end, 1e-5)
            assert (values.diff() <= 1e-7).all()
        assert close(line.double(), [td.linear_decay(step, start, end, 50) for step in range(200)], 1e-6)
        assert close(curve.double(), [td.exponential_decay(step, start, end, 10.0) for step in range(200)], 1e-6)


def test_linear_decay_loses_the_same_every_step_and_exponential_decay_the_same_share():
    line = torch.tensor([td.linear_decay(step, 0.9, 0.1, 8) for step in range(9)], dtype=torch.float64)
    assert close(line.diff(), [-0.1] * 8)
    curve = torch.tensor([td.exponential_decay(step, 0.9, 0.1, 3) for step in range(9)], dtype=torch.float64) - 0.1
    assert close(curve[3:] / curve[:-3], [0.5] * 6)


# --- published: random walk ---------------------------------------------------------------------------------------


def test_td_zero_learns_the_random_walk_from_an_error_of_0_2357_to_below_0_1():
    true, generator = torch.arange(1, 6, dtype=torch.float64) / 6, torch.Generator().manual_seed(0)
    v, state = torch.full((50, 5), 0.5, dtype=torch.float64), torch.full((50,), 2)
    assert close(((v - true) ** 2).mean(-1).sqrt(), torch.full((50,), 0.23570), 5e-6)
    for _ in range(900):  # about 100 episodes of 9 steps
        after = state + 2 * torch.randint(2, (50,), generator=generator) - 1
        ended, reward = (after < 0) | (after > 4), (after > 4).double()
        v = td.td_zero(v, state, reward, (~ended).double(), after, 0.1)  # −1 and 5 are not read: the discount is 0
        state = torch.where(ended, 2, after)
    assert ((v - true) ** 2).mean(-1).sqrt().mean() < 0.1


# --- ends, masks, gradients ---------------------------------------------------------------------------------------


def calls():
    """Each update with NaN and impossible indices behind the end and behind the mask, as a function of its table."""
    s, a, nowhere = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([99, 1])
    reward, discount = torch.tensor([1.0, 2.0]).double(), torch.tensor([0.0, 0.5]).double()
    policy = torch.tensor([[nan, nan], [0.5, 0.5]]).double()
    path, paid = torch.tensor([[0, 1, 99], [1, 0, 1]]), torch.tensor([[1.0, nan], [2.0, 3.0]]).double()
    mask, discounts = torch.tensor([[True, False], [True, True]]), torch.tensor([[0.0, nan], [0.5, 0.5]]).double()
    return {
        "monte_carlo": lambda q: td.monte_carlo(q[..., 0], path[:, :-1], paid, mask, 0.5),
        "td_zero": lambda q: td.td_zero(q[..., 0], s, reward, discount, nowhere, 0.5),
        "td_lambda": lambda q: td.td_lambda(q[..., 0], path, paid, discounts, mask, 0.5, 0.5),
        "sarsa": lambda q: td.sarsa(q, s, a, reward, discount, nowhere, nowhere, 0.5),
        "expected_sarsa": lambda q: td.expected_sarsa(q, s, a, reward, discount, nowhere, policy, 0.5),
        "q_learning": lambda q: td.q_learning(q, s, a, reward, discount, nowhere, 0.5),
    }


@pytest.mark.parametrize("name", calls())
def test_what_stands_behind_an_end_or_a_mask_is_not_read_and_gradients_are_finite(name):
    q = normal(2, 2, 2).requires_grad_()
    got = calls()[name](q)
    assert torch.isfinite(got).all()
    assert torch.autograd.gradcheck(calls()[name], (q,))


def test_an_end_and_a_mask_hide_the_first_state_as_well():
    v, end = torch.tensor([nan, 2.0]), torch.tensor(0.0)
    here, mask = torch.tensor(1), torch.tensor([True, False])
    q, path, paid = v[:, None].expand(2, 2), torch.tensor([1, 0, 0]), torch.tensor([4.0, nan])
    for got in (
        td.td_zero(v, here, paid[0], end, torch.tensor(0), 0.5)[1],
        td.q_learning(q, here, here, paid[0], end, torch.tensor(0), 0.5)[1, 1],
        td.sarsa(q, here, here, paid[0], end, torch.tensor(0), here, 0.5)[1, 1],
        td.expected_sarsa(q, here, here, paid[0], end, torch.tensor(0), torch.tensor([nan, nan]), 0.5)[1, 1],
        td.monte_carlo(v, path[:2], paid, mask, 0.5)[1],
    ):
        assert close(got.double(), 3.0)
    unread = torch.tensor([2.0, nan])  # state 1 is never visited, its trace stays 0
    assert close(td.td_lambda(unread, torch.tensor([0, 1, 1]), paid, torch.zeros(2), mask, 0.5, 0.5)[0].double(), 3.0)
    assert close(td.td_lambda(v, path, paid, torch.zeros(2), mask, 0.5, 0.5)[1].double(), 3.0)


def test_n_step_targets_pass_gradients_to_rewards_discounts_and_values_but_not_through_an_end():
    rewards, values = normal(2, 3).requires_grad_(), normal(2, 4, seed=1).requires_grad_()
    discounts = torch.tensor([[0.5, 0.0, 0.5], [0.9, 0.8, 0.7]]).double()
    assert torch.autograd.gradcheck(lambda r, v: td.n_step_targets(r, discounts, v, 2), (rewards, values))
    holes = values.detach().clone()
    holes[0, 2] = nan
    rewards.grad, live = None, discounts.clone().requires_grad_()
    td.n_step_targets(rewards, live, holes, 2).sum().backward()
    assert torch.isfinite(rewards.grad).all()
    assert torch.isfinite(live.grad).all()


@pytest.mark.parametrize("name", calls())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_table_given_is_not_changed(name, dtype):
    q = normal(2, 2, 2)
    before, got = q.clone(), calls()[name](q)
    assert torch.equal(q, before)
    assert not torch.equal(got, q[..., 0] if got.ndim == 2 else q)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_given_is_the_dtype_returned(dtype):
    v, states, rewards, discounts, mask = (x.to(dtype) if x.is_floating_point() else x for x in episodes())
    q, policy = v[..., None].expand(-1, -1, 3), torch.ones(3, 3, dtype=dtype) / 3
    s, a, r, d, s2 = states[:, 0], states[:, 0] % 3, rewards[:, 0], discounts[:, 0], states[:, 1]
    results = [
        td.monte_carlo(v, states[:, :-1], rewards, mask, 0.5),
        td.td_zero(v, s, r, d, s2, 0.5),
        td.n_step_targets(rewards, discounts, torch.ones(3, 7, dtype=dtype), 2),
        td.td_lambda(v, states, rewards, discounts, mask, 0.5, 0.5),
        td.sarsa(q, s, a, r, d, s2, a, 0.5),
        td.expected_sarsa(q, s, a, r, d, s2, policy, 0.5),
        td.q_learning(q, s, a, r, d, s2, 0.5),
        td.epsilon_greedy(q, 0.1),
    ]
    assert {result.dtype for result in results} == {dtype}


# --- bad input ----------------------------------------------------------------------------------------------------

V, Q = torch.zeros(2, 3), torch.zeros(2, 3, 2)
S, A, ONE, HALF = torch.tensor([0, 2]), torch.tensor([0, 1]), torch.ones(2), torch.full((2,), 0.5)
PATH, PAID, MASK = torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)
V_NAN, Q_NAN = V.index_fill(1, torch.tensor(2), nan), Q.index_fill(1, torch.tensor(2), nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.td_zero(V, S[:1], ONE, HALF, S, 0.1), r"states has shape \[1\], expected \[2\]"),
        (lambda: td.td_zero(V, S, 1.0, HALF, S, 0.1), r"rewards is 1.0 \(float\), expected a tensor of shape \[2\]"),
        (lambda: td.td_zero(V, S, ONE[:, None], HALF, S, 0.1), r"rewards has shape \[2, 1\], expected \[2\]"),
        (lambda: td.td_zero(V, S, ONE, HALF[:1], S, 0.1), r"discounts has shape \[1\], expected \[2\]"),
        (lambda: td.td_zero(V, S, ONE, HALF, S[0], 0.1), r"next_states has shape \[\], expected \[2\]"),
        (lambda: td.td_zero(V, S + 1, ONE, HALF, S, 0.1), "states holds 3, expected whole numbers from 0 to 2"),
        (lambda: td.td_zero(V, S - 1, ONE, HALF, S, 0.1), "states holds -1, expected whole numbers from 0 to 2"),
        (lambda: td.td_zero(V, S, ONE, HALF, S + 1, 0.1), "next_states holds 3, expected whole numbers from 0 to 2"),
        (lambda: td.td_zero(V, S.float(), ONE, HALF, S, 0.1), "states has dtype torch.float32, expected torch.int64"),
        (lambda: td.td_zero(V, S, ONE * nan, HALF, S, 0.1), r"rewards holds nan at index \[0\]"),
        (lambda: td.td_zero(V, S, ONE, HALF * 3, S, 0.1), r"discounts is 1.5, expected a number in \[0, 1\]"),
        (lambda: td.td_zero(V, S, ONE, HALF * nan, S, 0.1), r"discounts is nan, expected a number in \[0, 1\]"),
        (lambda: td.td_zero(V_NAN, S, ONE, 0 * HALF, S, 0.1), r"v at states holds nan at index \[1\]"),
        (lambda: td.td_zero(V_NAN, S * 0, ONE, HALF, S, 0.1), r"v at next_states holds nan at index \[1\]"),
        (lambda: td.td_zero(V, S, ONE, HALF, S, 0.0), "lr is 0, expected a finite number above 0"),
        (lambda: td.td_zero(V, S, ONE, HALF, S, inf), "lr is inf, expected a finite number above 0"),
        (lambda: td.td_zero(V, S, ONE, HALF, S, torch.ones(3)), r"lr has shape \[3\], expected one number, or \[2\]"),
        (lambda: td.monte_carlo(V, PATH[:, :2], PAID, MASK[:1], 0.1), r"mask has shape \[1, 2\], expected \[2, 2\]"),
        (lambda: td.monte_carlo(V[:1], PATH[:, :2], PAID, MASK, 0.1), r"mask has shape \[2, 2\], expected \[1, 2\]"),
        (lambda: td.monte_carlo(V, PATH, PAID, MASK, 0.1), r"states has shape \[2, 3\], expected \[2, 2\]"),
        (lambda: td.monte_carlo(V, PATH[:, :2], PATH, MASK, 0.1), r"returns has shape \[2, 3\], expected \[2, 2\]"),
        (lambda: td.monte_carlo(V, PATH[:, :2], PAID, PAID, 0.1), "mask has dtype torch.float32, expected torch.bool"),
        (lambda: td.monte_carlo(V, PATH[:, :2], PAID * inf, MASK, 0.1), r"returns holds inf at index \[0, 0\]"),
        (lambda: td.monte_carlo(V_NAN, PATH[:, :2], PAID, MASK, 0.1), r"v at states holds nan at index \[1, 0\]"),
        (lambda: td.n_step_targets(PAID, PAID, PAID, 1), r"values has shape \[2, 2\], expected \[..., T\+1\]"),
        (lambda: td.n_step_targets(PAID, PAID[:1], V, 1), r"discounts has shape \[1, 2\], expected \[2, 2\]"),
        (lambda: td.n_step_targets(PAID, PAID, V, 0), "n is 0, expected a whole number, 1 or more"),
        (lambda: td.n_step_targets(PAID, PAID, V, 1.0), "n is 1.0, expected a whole number, 1 or more"),
        (lambda: td.n_step_targets(PAID, PAID, V_NAN, 1), r"values holds nan at index \[0, 1\]"),
        (lambda: td.n_step_targets(PAID / 0, PAID, V, 1), "rewards holds inf"),
        (lambda: td.td_lambda(V, PATH, PAID, PAID, MASK, 1.1, 0.1), r"lam is 1.1, expected a number in \[0, 1\]"),
        (lambda: td.td_lambda(V, PATH[:, :2], PAID, PAID, MASK, 1.0, 0.1), r"mask has shape \[2, 2\], expected"),
        (lambda: td.td_lambda(V[:1], PATH, PAID, PAID, MASK, 1.0, 0.1), r"mask has shape \[2, 2\], expected \[1, 2\]"),
        (lambda: td.td_lambda(V, PATH[:1], PAID, PAID, MASK, 1.0, 0.1), r"states\[..., 1:\] has shape \[1, 2\]"),
        (lambda: td.td_lambda(V, PATH, PAID[:1], PAID, MASK, 1.0, 0.1), r"rewards has shape \[1, 2\]"),
        (lambda: td.td_lambda(V, PATH, PAID, 2 * PAID, MASK, 1.0, 0.1), "discounts is 2, expected a number in"),
        (lambda: td.td_lambda(V, PATH, PAID, PAID, PAID, 1.0, 0.1), "mask has dtype torch.float32"),
        (lambda: td.td_lambda(V, PATH + 1, PAID, PAID, MASK, 1.0, 0.1), "states holds 3"),
        (lambda: td.td_lambda(V_NAN, PATH, PAID, PAID, MASK, 1.0, 0.1), r"v at states holds nan at index \[1, 0\]"),
        (lambda: td.sarsa(V, S, A, ONE, HALF, S, A, 0.1), r"discounts has shape \[2\], expected \[\]"),
        (lambda: td.sarsa(Q, S, A + 1, ONE, HALF, S, A, 0.1), "actions holds 2, expected whole numbers from 0 to 1"),
        (lambda: td.sarsa(Q, S, A, ONE, HALF, S, A + 1, 0.1), "next_actions holds 2, expected whole numbers from 0"),
        (lambda: td.sarsa(Q, S, A, ONE, HALF, S, A[:1], 0.1), r"next_actions has shape \[1\], expected \[2\]"),
        (lambda: td.sarsa(Q_NAN, S * 0, A, ONE, HALF, S, A, 0.1), r"q at next_states holds nan at index \[1\]"),
        (lambda: td.q_learning(Q, S[:1], A, ONE, HALF, S, 0.1), r"states has shape \[1\], expected \[2\]"),
        (lambda: td.q_learning(Q, S, A[:1], ONE, HALF, S, 0.1), r"actions has shape \[1\], expected \[2\]"),
        (lambda: td.q_learning(Q, S, A, ONE[:1], HALF, S, 0.1), r"rewards has shape \[1\], expected \[2\]"),
        (lambda: td.q_learning(Q, S + 1, A, ONE, HALF, S, 0.1), "states holds 3, expected whole numbers from 0 to 2"),
        (lambda: td.q_learning(Q, S, A, ONE, HALF, S + 1, 0.1), "next_states holds 3, expected whole numbers"),
        (lambda: td.q_learning(Q_NAN, S, A, ONE, 0 * HALF, S, 0.1), r"q at states holds nan at index \[1\]"),
        (lambda: td.q_learning(Q, S, A, ONE, HALF, S, -1), "lr is -1, expected a finite number above 0"),
        (
            lambda: td.expected_sarsa(Q, S, A, ONE, HALF, S, HALF, 0.1),
            r"next_policy has shape \[2\], expected \[2, 2\]",
        ),
        (
            lambda: td.expected_sarsa(Q, S, A, ONE, HALF, S, PAID, 0.1),
            r"next_policy sums to 2 at row \[0\], expected 1",
        ),
        (lambda: td.epsilon_greedy(Q, 1.5), r"eps_explore is 1.5, expected a number in \[0, 1\]"),
        (lambda: td.epsilon_greedy(Q, HALF), r"eps_explore has shape \[2\], expected one number, or \[2, 3\]"),
        (lambda: td.epsilon_greedy(Q_NAN, 0.5), r"q holds nan at index \[0, 2, 0\]"),
        (lambda: td.linear_decay(-1, 1.0, 0.0, 10), r"step is -1, expected a number in \[0, inf\]"),
        (lambda: td.linear_decay(1, 1.5, 0.0, 10), r"start is 1.5, expected a number in \[0, 1\]"),
        (lambda: td.linear_decay(1, 1.0, -0.5, 10), r"end is -0.5, expected a number in \[0, 1\]"),
        (lambda: td.linear_decay(1, 1.0, 0.0, 0), "steps is 0, expected a finite number above 0"),
        (lambda: td.exponential_decay(-1, 1.0, 0.0, 10), r"step is -1, expected a number in \[0, inf\]"),
        (lambda: td.exponential_decay(1, 1.5, 0.0, 10), r"start is 1.5, expected a number in \[0, 1\]"),
        (lambda: td.exponential_decay(1, 1.0, 0.0, 0), "half_life is 0, expected a finite number above 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "function",
    [
        td.monte_carlo,
        td.td_zero,
        td.n_step_targets,
        td.td_lambda,
        td.sarsa,
        td.expected_sarsa,
        td.q_learning,
        td.epsilon_greedy,
        td.linear_decay,
        td.exponential_decay,
    ],
)
def test_every_function_has_cases(function):
    assert all(agrees(function(**case.args), case.want, case.atol) for case in of(function))
