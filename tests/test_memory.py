"""At the junction only the cue counts, and nothing that is seen there tells it."""

import pytest
import torch

from rlcore.worlds.memory import CORRIDOR, JUNCTION, Memory


def play(world, choose):
    """One episode of every row: codes seen [B, T], the last step; `choose` gets the codes so far and gives actions."""
    seen = []
    while True:
        seen.append(world.codes)
        step = world.step(choose(torch.stack(seen, 1)))
        if step.ended.any():
            return torch.stack(seen, 1), step


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("corridor", [0, 1, 5])
def test_an_episode_is_a_cue_then_corridor_cells_then_the_junction(corridor):
    world = Memory(20, corridor, seeded())
    seen, step = play(world, lambda codes: codes[:, 0])
    assert set(seen[:, 0].tolist()) == {0, 1}
    assert (seen[:, 1:-1] == CORRIDOR).all()
    assert seen.shape == (20, corridor + 2)
    assert (seen[:, -1] == JUNCTION).all()
    assert step.ended.all()
    assert not step.cut_off.any()


def test_who_obeys_the_cue_is_paid_one_and_who_does_the_opposite_nothing():
    for flip, pays in ((0, 1.0), (1, 0.0)):
        _, step = play(Memory(50, 4, seeded()), lambda codes, flip=flip: codes[:, 0] ^ flip)
        assert (step.rewards == pays).all()


def test_nothing_is_paid_before_the_junction():
    world = Memory(50, 3, seeded())
    for _ in range(4):
        step = world.step(torch.randint(2, (50,), generator=seeded(1)))
        assert not step.rewards.any()
        assert not step.ended.any()


@pytest.mark.parametrize("action", [0, 1])
def test_whoever_sees_only_the_present_cell_is_right_half_of_the_time(action):
    """A rule on the present cell does one thing at the junction, whatever the cue was."""
    _, step = play(Memory(10_000, 2, seeded()), lambda codes: torch.full((10_000,), action))
    assert abs(step.rewards.mean() - 0.5) < 0.02


def test_observations_are_one_hot_codes_and_rows_begin_anew():
    world = Memory(200, 1, seeded(), dtype=torch.float64)
    assert world.observations.dtype is torch.float64
    first = world.codes
    seen, step = play(world, lambda codes: codes[:, 0])
    assert torch.equal(
        torch.nn.functional.one_hot(first, 4).double(), torch.nn.functional.one_hot(seen[:, 0], 4).double()
    )
    assert (step.after.argmax(-1) == JUNCTION).all()  # seen after the last action, not the new cue
    assert set(world.codes.tolist()) == {0, 1}
    assert not torch.equal(world.codes, first)  # a new cue
    assert (world.observations.sum(-1) == 1).all()


def test_cues_come_from_the_generator():
    one, two, other = (Memory(100, 1, seeded(seed)).codes for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("actions", "match"),
    [
        (torch.tensor([0, 2]), r"actions holds 2, expected 0 \(left\) or 1 \(right\)"),
        (torch.tensor([0.0, 1.0]), r"actions has shape \[2\] and dtype torch.float32, expected \[2\] int64"),
        (torch.tensor([0]), r"actions has shape \[1\] and dtype torch.int64, expected \[2\] int64"),
    ],
)
def test_bad_actions_are_named(actions, match):
    with pytest.raises(ValueError, match=match):
        Memory(2, 1, seeded()).step(actions)


def test_a_corridor_of_no_whole_length_is_refused():
    with pytest.raises(ValueError, match="corridor is -1, expected a whole number, 0 or more"):
        Memory(2, -1, seeded())
