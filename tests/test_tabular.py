"""The loop visits what it says and learns what the theory says; its compiled twin gives the same tables."""

import pytest
import torch

from rlcore import mdp, td
from rlcore.kernels import control as fast
from rlcore.loops import tabular
from rlcore.loops.replay import Memory
from rlcore.worlds import gridworld, walks

UPDATES = [td.sarsa, td.expected_sarsa, td.q_learning]
SLIPPERY = gridworld.playground(slip=0.2, step_cost=0.04)
SMALL = gridworld.from_text("S..\n.C.\n..G", goal=1.0, fall=-1.0, step_reward=-0.1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def setting(**changes):
    return {"learners": 4, "episodes": 12, "lr": 0.5, "eps_explore": 0.2, "limit": 60, "generator": seeded(1)} | changes


def by_hand(update, world, start, learner, learners, episodes, lr, eps_explore, limit, generator):
    """One learner of several in plain Python: lists, floats, and a row of uniform numbers per step for all of them."""
    transitions, rewards, ends = world.transitions.tolist(), world.rewards.tolist(), world.terminal.tolist()
    states, actions = range(world.states), range(world.actions)
    tables = [[[0.0 for _ in actions] for _ in states] for _ in range(learners)]

    def policy(row):
        best = [value == max(row) for value in row]
        return [eps_explore / len(row) + (1 - eps_explore) * b / sum(best) for b in best]

    def reached(chances, number):
        total = 0.0
        for index, chance in enumerate(chances):
            total += chance
            if total > number:
                return index
        raise AssertionError("a distribution that does not sum to 1")

    returns = []
    for _ in range(episodes):
        uniform = torch.rand(2, learners, generator=generator, dtype=torch.float64)[1].tolist()
        walkers = [[start, reached(policy(q[start]), u), True, 0.0, 0] for q, u in zip(tables, uniform, strict=True)]
        steps = 0
        while any(walker[2] for walker in walkers) and steps < limit:
            steps += 1
            floor, choice = torch.rand(2, learners, generator=generator, dtype=torch.float64).tolist()
            for q, walker, u, w in zip(tables, walkers, floor, choice, strict=True):
                state, action, walking, total, taken = walker
                if not walking:
                    continue
                after = reached(transitions[state][action], u)
                chances = policy(q[after])
                following = reached(chances, w)
                ahead = {
                    td.sarsa: q[after][following],
                    td.expected_sarsa: sum(c * x for c, x in zip(chances, q[after], strict=True)),
                    td.q_learning: max(q[after]),
                }[update]
                reward = rewards[state][action]
                target = reward if ends[after] else reward + world.gamma * ahead
                q[state][action] += lr * (target - q[state][action])
                walker[:] = after, following, not ends[after], total + world.gamma**taken * reward, taken + 1
        returns.append(walkers[learner][3])
    return torch.tensor(tables[learner], dtype=torch.float64), torch.tensor(returns, dtype=torch.float64)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("learner", [0, 2])
def test_the_loop_is_what_one_plays_by_hand_with_the_same_numbers(update, learner):
    world, start = SMALL.to_mdp(gamma=0.9), 0
    records = list(tabular.control(update, world, start, **setting(learners=3, limit=25)))
    q, returns = by_hand(update, world, start, learner, 3, 12, 0.5, 0.2, 25, seeded(1))
    torch.testing.assert_close(records[-1].q[learner], q, atol=1e-12, rtol=0)
    got = torch.stack([record.returns[learner] for record in records])
    torch.testing.assert_close(got, returns, atol=1e-12, rtol=0)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(
    ("place", "start", "gamma"), [(gridworld.cliff(), 36, 1.0), (SLIPPERY, 35, 0.9), (SMALL, 0, 0.9)]
)
def test_the_twin_gives_the_same_tables_returns_and_visits(update, place, start, gamma):
    world = place.to_mdp(gamma)
    rates = {"lr": lambda episode: 0.5 / (1 + episode / 20), "eps_explore": lambda episode: 0.3 * 0.9**episode}
    records = list(tabular.control(update, world, start, **setting(**rates)))
    curves = fast.control(update, world, start, **setting(**rates))
    torch.testing.assert_close(curves.q, records[-1].q, atol=1e-12, rtol=0)
    assert torch.equal(curves.visits.long(), torch.stack([record.visits for record in records]))
    assert torch.equal(curves.steps, torch.stack([record.steps for record in records]))
    returns = torch.stack([record.returns for record in records])
    torch.testing.assert_close(curves.returns, returns, atol=1e-10, rtol=0)


def test_the_twin_reads_on_over_its_blocks_of_draws(monkeypatch):
    world = SLIPPERY.to_mdp(gamma=0.9)
    whole = fast.control(td.sarsa, world, 35, **setting())
    monkeypatch.setattr(fast, "ROWS", 7)
    assert torch.equal(fast.control(td.sarsa, world, 35, **setting()).q, whole.q)


def test_visits_add_up_to_the_steps_and_an_episode_begins_at_the_start():
    for record in tabular.control(td.q_learning, SLIPPERY.to_mdp(gamma=0.9), 35, **setting()):
        assert torch.equal(record.visits.sum(-1), record.steps)
        assert (record.visits[:, 35] >= 1).all()
        assert not record.visits[:, SLIPPERY.to_mdp(gamma=0.9).terminal].any()
        assert (record.steps <= 60).all()


def test_returns_are_discounted():
    """A corridor of one cell before the goal, always to the right: reward 0 by staying at it, then 1 · γ."""
    row = gridworld.from_text("S.G").to_mdp(gamma=0.5)
    records = tabular.control(td.q_learning, row, 0, **setting(eps_explore=0.0, episodes=40))
    last = list(records)[-1]
    assert torch.equal(last.steps, torch.full((4,), 2))
    torch.testing.assert_close(last.returns, torch.full((4,), 0.5, dtype=torch.float64))


def test_q_learning_finds_the_exact_action_values_of_a_world_without_chance():
    world = SMALL.to_mdp(gamma=0.9)
    q = fast.control(td.q_learning, world, 0, **setting(episodes=2000, eps_explore=0.5)).q
    want = mdp.policy_iteration(world).q
    torch.testing.assert_close(q, want.expand_as(q), atol=1e-6, rtol=0)


def test_expected_sarsa_finds_the_exact_action_values_of_the_even_policy():
    """With ε = 1 the policy never changes, and in a world without chance the target is not random: α = 1 is exact."""
    world = SMALL.to_mdp(gamma=0.9)
    q = fast.control(td.expected_sarsa, world, 0, **setting(episodes=2000, lr=1.0, eps_explore=1.0)).q
    want = mdp.q_from_v(world, mdp.solve(world, torch.full((9, 4), 0.25, dtype=torch.float64)))
    torch.testing.assert_close(q, want.expand_as(q), atol=1e-6, rtol=0)


def test_a_function_of_the_readers_own_is_taken():
    def mine(q, states, actions, rewards, discounts, next_states, lr):
        return td.q_learning(q, states, actions, rewards, discounts, next_states, lr)

    world = SMALL.to_mdp(gamma=0.9)
    one, two = (list(tabular.control(update, world, 0, **setting()))[-1].q for update in (mine, td.q_learning))
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match=r"update is 'mine', expected td\.sarsa, td\.expected_sarsa, td\.q_learning"):
        fast.control(mine, world, 0, **setting())


def test_rates_may_differ_between_learners():
    world, eps = SMALL.to_mdp(gamma=0.9), torch.tensor([0.0, 1.0, 0.0, 1.0]).double()
    record = list(tabular.control(td.q_learning, world, 0, **setting(eps_explore=eps, episodes=60)))[-1]
    assert record.steps[0] == 4
    assert record.steps[[1, 3]].max() > 4


def test_replay_learns_from_fewer_steps():
    world = gridworld.slip_room(4, slip=0.0, step_reward=0.0).to_mdp(gamma=0.9)

    def known(replays):
        few = setting(learners=20, episodes=4, limit=100, replays=replays)
        return (list(tabular.control(td.q_learning, world, 0, **few))[-1].q.amax(-1) > 0).double().mean()

    assert known(5) > 1.5 * known(0)  # cells that have heard of the goal


def test_a_walk_in_one_direction_ends_at_the_limit():
    walk = walks.random_walk(9)
    record = next(tabular.control(td.sarsa, walk, 5, **setting(limit=3, eps_explore=1.0)))
    assert torch.equal(record.steps, torch.full((4,), 3))


def test_the_memory_keeps_the_latest_and_draws_them_evenly():
    memory = Memory(learners=2, capacity=3)
    for number in range(5):
        memory.add(torch.tensor([True, number == 0]), states=torch.tensor([number, 10 + number]))
    drawn = torch.stack([memory.draw(g)["states"] for g in [seeded()] for _ in range(3000)])
    assert set(drawn[:, 0].tolist()) == {2, 3, 4}
    assert (torch.bincount(drawn[:, 0])[2:] / 3000 - 1 / 3).abs().max() < 0.04
    assert set(drawn[:, 1].tolist()) == {10}


def test_who_waits_loses_nothing_from_a_full_memory():
    memory = Memory(learners=2, capacity=1)
    memory.add(torch.tensor([True, True]), states=torch.tensor([1, 2]))
    memory.add(torch.tensor([True, False]), states=torch.tensor([3, 4]))
    assert memory.draw(seeded())["states"].tolist() == [3, 2]


def test_learners_that_wait_for_the_others_do_not_replay():
    """An update that counts its calls in a corner of the table: one per step of the slowest, two more per own step."""

    def counting(q, states, actions, rewards, discounts, next_states, lr):
        q = q.clone()
        q[:, 8, 0] += 1
        return q

    record = next(tabular.control(counting, SMALL.to_mdp(gamma=0.9), 0, **setting(replays=2)))
    assert record.steps.min() < record.steps.max()
    assert torch.equal(record.q[:, 8, 0].long(), record.steps.max() + 2 * record.steps)


def test_an_empty_memory_is_refused():
    memory = Memory(learners=2, capacity=3)
    memory.add(torch.tensor([True, False]), states=torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="learner 1 remembers nothing, expected add before draw"):
        memory.draw(seeded())


@pytest.mark.parametrize("control", [tabular.control, fast.control])
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"learners": 0}, "learners is 0, expected a whole number, 1 or more"),
        ({"episodes": 0}, "episodes is 0, expected a whole number, 1 or more"),
        ({"limit": 0}, "limit is 0, expected a whole number, 1 or more"),
        ({"lr": 0.0}, "lr is 0, expected a finite number above 0"),
        ({"eps_explore": 1.5}, r"eps_explore is 1.5, expected a number in \[0, 1\]"),
        ({"start": 9}, "start is 9, expected a state from 0 to 8"),
        ({"start": 8}, "start is 8, a terminal state"),
    ],
)
def test_bad_numbers_are_named(control, changes, match):
    arguments = {"start": 0} | setting(**changes)
    with pytest.raises(ValueError, match=match):
        list(control(td.q_learning, SMALL.to_mdp(gamma=0.9), arguments.pop("start"), **arguments))


def test_only_q_learning_replays():
    with pytest.raises(ValueError, match="replays is 1, expected 0: old steps do not tell next_actions"):
        next(tabular.control(td.sarsa, SMALL.to_mdp(gamma=0.9), 0, **setting(replays=1)))
