"""The random walk has its published values, and sampled episodes are what the policy would play."""

import pytest
import torch

from rlcore import mdp, returns
from rlcore.worlds import gridworld, walks

COIN = torch.full((7, 2), 0.5, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_five_states_are_worth_one_to_five_sixths():
    """Sutton & Barto 2018, Example 6.2."""
    v = mdp.solve(walks.random_walk(5), COIN)
    torch.testing.assert_close(v, torch.tensor([0, 1, 2, 3, 4, 5, 0]).double() / 6, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_walk_keeps_its_dtype_and_has_two_ends(dtype):
    walk = walks.random_walk(3, dtype)
    assert walk.transitions.dtype is walk.rewards.dtype is dtype
    assert walk.terminal.tolist() == [True, False, False, False, True]


def test_every_sampled_step_is_a_step_of_the_walk():
    walk = walks.random_walk(5)
    played = walks.sample(walk, COIN, 3, 200, most_steps=400, generator=seeded())
    here, after = played.states[:, :-1], played.states[:, 1:]
    moved = torch.where(played.actions == walks.RIGHT, 1, -1)
    assert torch.equal(after[played.mask] - here[played.mask], moved[played.mask])
    assert torch.equal(played.rewards == 1, played.mask & (after == 6))
    ended = (after == 0) | (after == 6)
    assert torch.equal(played.discounts == 0, ended)  # also behind the end, where the terminal state stays
    assert (played.discounts[~ended] == 1).all()
    assert not played.mask[:, 1:][ended[:, :-1]].any()
    assert played.mask[:, 0].all()
    assert played.mask[:, -1].any()  # T is the length of the longest


def test_mean_return_is_the_exact_value_from_every_start():
    walk, starts = walks.random_walk(5), torch.arange(1, 6).repeat_interleave(4000)
    played = walks.sample(walk, COIN, starts, 20_000, most_steps=1000, generator=seeded(1))
    got = returns.discounted_returns(played.rewards, played.discounts, torch.zeros(20_000).double())[:, 0]
    assert torch.equal(played.states[:, 0], starts)
    mean, true = got.view(5, 4000).mean(1), mdp.solve(walk, COIN)[1:6]
    assert ((mean - true).abs() < 4 * (true * (1 - true) / 4000).sqrt()).all()


def test_actions_and_slips_are_as_frequent_as_the_policy_and_the_floor_say():
    """From the middle of a row of five, right with chance 0.7, on a floor that slips with chance 0.2."""
    room = gridworld.Gridworld(1, 5, slip=0.2)
    policy = torch.tensor([0.0, 0.7, 0.0, 0.3]).double().expand(5, 4)
    played = walks.sample(room.to_mdp(gamma=0.9), policy, 2, 20_000, most_steps=1, generator=seeded(2))
    landed = torch.bincount(played.states[:, 1], minlength=5) / 20_000
    want = torch.tensor([0, 0.3 * 0.8, 0.2, 0.7 * 0.8, 0])
    assert (landed - want).abs().max() < 0.015
    assert torch.equal(played.discounts, torch.full((20_000, 1), 0.9, dtype=torch.float64))


def test_a_cut_off_episode_keeps_its_last_discount():
    played = walks.sample(walks.random_walk(9), torch.full((11, 2), 0.5), 5, 50, most_steps=3, generator=seeded())
    assert played.mask.shape == (50, 3)
    assert played.mask.all()
    assert (played.discounts == 1).all()


def test_the_same_generator_plays_the_same_episodes():
    one, two = (walks.sample(walks.random_walk(5), COIN, 3, 9, 99, seeded(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"policy": torch.full((6, 2), 0.5)}, r"policy has shape \[6, 2\], expected \[7, 2\]"),
        ({"policy": torch.ones(7, 2)}, "policy sums to 2"),
        ({"episodes": 0}, "episodes is 0, expected a whole number, 1 or more"),
        ({"most_steps": 0}, "most_steps is 0, expected a whole number, 1 or more"),
        ({"start": 0}, "start is 0, a terminal state, expected one where"),
        ({"start": torch.tensor([3, 7])}, "start is 7, expected a state from 0 to 6"),
    ],
)
def test_bad_input_is_named(arguments, match):
    good = {"policy": COIN, "start": 3, "episodes": 2, "most_steps": 9, "generator": seeded()}
    with pytest.raises(ValueError, match=match):
        walks.sample(walks.random_walk(5), **good | arguments)
    with pytest.raises(ValueError, match="length is 0, expected a whole number, 1 or more"):
        walks.random_walk(0)
