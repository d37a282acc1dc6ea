"""Gridworlds against the literature, a pencil, and loops that walk one step at a time."""

import dataclasses
import math

import pytest
import torch

from rlcore import mdp as bellman
from rlcore.worlds.gridworld import (
    ACTIONS,
    Gridworld,
    cliff,
    corners_4x4,
    from_text,
    jumps_5x5,
    playground,
    slip_room,
)

UP, RIGHT, DOWN, LEFT = range(4)


def uniform(world):
    return torch.full((world.states, 4), 0.25, dtype=torch.float64)


def walk(world, cell, direction):
    """One step without slipping, in plain words: (cell afterwards, reward)."""
    if cell in world.walls or cell in world.terminals or cell in world.cliffs:
        return cell, 0.0
    if cell in world.jumps:
        target, amount = world.jumps[cell]
        return target, world.step_reward + amount
    row, column = cell
    ahead = [(row - 1, column), (row, column + 1), (row + 1, column), (row, column - 1)][direction]
    off = not (0 <= ahead[0] < world.height and 0 <= ahead[1] < world.width)
    if off or ahead in world.walls:
        return cell, world.step_reward + world.bump_reward
    if ahead in world.cliffs:
        return world.start, world.step_reward + world.cliffs[ahead]
    return ahead, world.step_reward + world.terminals.get(ahead, 0.0)


def loops(world):
    """Transitions and rewards written down with loops over cells, actions and ways to slip."""
    transitions = torch.zeros(world.states, 4, world.states, dtype=torch.float64)
    rewards = torch.zeros(world.states, 4, dtype=torch.float64)
    for row in range(world.height):
        for column in range(world.width):
            for action in range(4):
                chances = {
                    action: 1 - world.slip,
                    (action + 1) % 4: world.slip / 2,
                    (action + 3) % 4: world.slip / 2,
                }
                for direction, chance in chances.items():
                    (r, c), reward = walk(world, (row, column), direction)
                    s = row * world.width + column
                    transitions[s, action, r * world.width + c] += chance
                    rewards[s, action] += chance * reward
    return transitions, rewards


EVERYTHING = Gridworld(
    4,
    5,
    walls=[(1, 1), (2, 3)],
    terminals={(0, 4): 2.0, (3, 4): -1.5},
    cliffs={(3, 1): -7.0, (3, 2): -8.0},
    jumps={(0, 2): ((3, 3), 0.5)},
    step_reward=-0.25,
    bump_reward=-0.1,
    slip=0.3,
    start=(3, 0),
)
NAMED = {
    "corners": corners_4x4(),
    "jumps": jumps_5x5(),
    "cliff": cliff(),
    "slip room": slip_room(5, 0.2, -0.04),
    "playground": playground(0.2, 0.04),
    "everything": EVERYTHING,
    "always slips": dataclasses.replace(EVERYTHING, slip=1.0),
}


@pytest.mark.parametrize("name", NAMED)
def test_transitions_and_rewards_are_those_of_a_walk_step_by_step(name):
    mdp = NAMED[name].to_mdp(gamma=0.9)
    transitions, rewards = loops(NAMED[name])
    torch.testing.assert_close(mdp.transitions, transitions, atol=1e-15, rtol=0)
    torch.testing.assert_close(mdp.rewards, rewards, atol=1e-14, rtol=0)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_transitions_hold_the_dense_rows(name, dtype):
    world = NAMED[name]
    dense, sparse = world.to_mdp(0.9, dtype), world.to_mdp(0.9, dtype, sparse=True)
    assert sparse.transitions.layout is torch.sparse_csr
    assert sparse.transitions.dtype is dense.transitions.dtype is dense.rewards.dtype is dtype
    torch.testing.assert_close(sparse.transitions.to_dense(), dense.transitions.flatten(0, 1), atol=0, rtol=0)
    assert torch.equal(sparse.rewards, dense.rewards)


@pytest.mark.parametrize("name", NAMED)
def test_rows_sum_to_one_and_terminals_absorb_without_reward(name):
    world = NAMED[name]
    mdp = world.to_mdp(gamma=0.9)
    torch.testing.assert_close(mdp.transitions.sum(-1), torch.ones_like(mdp.rewards), atol=1e-15, rtol=0)
    for cell in [*world.terminals, *world.walls, *world.cliffs]:
        state = world.index(cell)
        assert (mdp.transitions[state, :, state] == 1).all()
        assert (mdp.rewards[state] == 0).all()
    never = [world.index(cell) for cell in [*world.walls, *world.cliffs]]
    others = [s for s in range(world.states) if s not in never]
    assert not mdp.transitions[others][..., never].any()


def test_slipping_by_pencil_in_the_open_and_against_a_wall():
    """3 × 3 room, slip 0.2, wall at (0, 1). From the middle, up: 0.8 bumps and stays, 0.1 left, 0.1 right."""
    room = Gridworld(3, 3, walls=[(0, 1)], step_reward=-1.0, bump_reward=-2.0, slip=0.2)
    mdp, middle = room.to_mdp(gamma=0.5), room.index((1, 1))
    up = {(1, 1): 0.8, (1, 0): 0.1, (1, 2): 0.1}
    right = {(1, 2): 0.8, (1, 1): 0.1, (2, 1): 0.1}
    for action, chances in [(UP, up), (RIGHT, right)]:
        want = torch.zeros(9, dtype=torch.float64)
        for cell, chance in chances.items():
            want[room.index(cell)] = chance
        torch.testing.assert_close(mdp.transitions[middle, action], want)
    assert mdp.rewards[middle, UP].item() == pytest.approx(-1 - 0.8 * 2)
    assert mdp.rewards[middle, RIGHT].item() == pytest.approx(-1 - 0.1 * 2)
    assert mdp.rewards[middle, DOWN].item() == pytest.approx(-1)


def test_the_action_order_is_up_right_down_left():
    world = Gridworld(3, 3)
    landed = world.to_mdp(0.9).transitions[world.index((1, 1))].argmax(-1).tolist()
    assert [world.cell(s) for s in landed] == [(0, 1), (1, 2), (2, 1), (1, 0)]
    assert ACTIONS == ("up", "right", "down", "left")


def test_corners_4x4_random_walk_has_the_published_values():
    """Sutton & Barto, Figure 4.1, k = ∞."""
    world = corners_4x4()
    want = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    got = world.picture(bellman.solve(world.to_mdp(gamma=1.0), uniform(world)))
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), atol=1e-9, rtol=0)


def test_corners_4x4_sweeps_have_the_published_values_and_need_173():
    """Sutton & Barto, Figure 4.1: k = 1, 2, 3, 10; then to a change below 1e-4."""
    world = corners_4x4()
    mdp, v, kept = world.to_mdp(gamma=1.0), torch.zeros(16, dtype=torch.float64), {}
    for sweep in range(1, 400):
        new = bellman.bellman_expectation(mdp, uniform(world), v)
        change, v = (new - v).abs().max(), new
        kept[sweep] = world.picture(v)
        if change < 1e-4:
            break
    assert sweep == 173
    assert (kept[1].flatten()[1:-1] == -1).all()
    assert kept[2][0].tolist() == [0, -1.75, -2, -2]
    assert kept[3][:2, :2].tolist() == [[0, -2.4375], [-2.4375, -2.875]]
    assert kept[3][0, 2:].tolist() == [-2.9375, -3]
    want = torch.tensor([[0, -6.1380, -8.3524, -8.9673], [-6.1380, -7.7374, -8.4278, -8.3524]], dtype=torch.float64)
    torch.testing.assert_close(kept[10][:2], want, atol=5e-5, rtol=0)


def test_corners_4x4_optimal_value_is_minus_the_distance_to_a_corner():
    world = corners_4x4()
    got = world.picture(bellman.policy_iteration(world.to_mdp(gamma=1.0)).v)
    want = [[-float(min(r + c, 6 - r - c)) for c in range(4)] for r in range(4)]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), atol=1e-9, rtol=0)


def test_jumps_5x5_has_the_published_values():
    """Sutton & Barto, Figures 3.2 and 3.5."""
    random = """ 3.3  8.8  4.4  5.3  1.5
                 1.5  3.0  2.3  1.9  0.5
                 0.1  0.7  0.7  0.4 -0.4
                -1.0 -0.4 -0.4 -0.6 -1.2
                -1.9 -1.3 -1.2 -1.4 -2.0"""
    optimal = """22.0 24.4 22.0 19.4 17.5
                 19.8 22.0 19.8 17.8 16.0
                 17.8 19.8 17.8 16.0 14.4
                 16.0 17.8 16.0 14.4 13.0
                 14.4 16.0 14.4 13.0 11.7"""
    world = jumps_5x5()
    mdp = world.to_mdp(gamma=0.9)
    for v, text in [(bellman.solve(mdp, uniform(world)), random), (bellman.policy_iteration(mdp).v, optimal)]:
        want = torch.tensor([[float(x) for x in line.split()] for line in text.splitlines()], dtype=torch.float64)
        torch.testing.assert_close(world.picture(v), want, atol=0.0501, rtol=0)
    v = bellman.solve(mdp, uniform(world))
    assert v[world.index((0, 1))].item() == pytest.approx(8.78929, abs=1e-5)
    assert v[world.index((0, 3))].item() == pytest.approx(5.32237, abs=1e-5)
    best = bellman.policy_iteration(mdp).v[world.index((0, 1))].item()
    assert best == pytest.approx(10 / (1 - 0.9**5), abs=1e-9)


def test_cliff_takes_13_steps_along_the_edge():
    world = cliff()
    solution = bellman.policy_iteration(world.to_mdp(gamma=1.0))
    assert solution.v[world.index((3, 0))].item() == pytest.approx(-13, abs=1e-9)
    path = world.path(solution.q.argmax(-1))
    assert path == [(3, 0), *[(2, column) for column in range(12)], (3, 11)]


def test_cliff_fall_costs_100_and_leads_back_to_the_start():
    world = cliff()
    mdp, edge = world.to_mdp(gamma=1.0), world.index((2, 5))
    assert mdp.rewards[edge, DOWN] == -100
    assert mdp.transitions[edge, DOWN, world.index((3, 0))] == 1


def test_cliff_epsilon_greedy_on_optimal_values_is_worth_what_exact_solutions_say():
    """ε = 0.1: −45.803 when ties go to the first action, −50.800 when they are split evenly."""
    world = cliff()
    mdp = world.to_mdp(gamma=1.0)
    q = bellman.policy_iteration(mdp).q
    first = bellman.greedy(q.round(decimals=9))
    tied = (q >= q.amax(-1, keepdim=True) - 1e-9).double()
    for greedy, want in [(first, -45.803), (tied / tied.sum(-1, keepdim=True), -50.800)]:
        v = bellman.solve(mdp, 0.9 * greedy + 0.1 * uniform(world))
        assert v[world.index((3, 0))].item() == pytest.approx(want, abs=1e-3)


@pytest.mark.parametrize(("eps_explore", "want"), [(0.1, -20.708), (0.05, -17.519), (0.01, -15.441)])
def test_cliff_best_soft_policy_walks_two_cells_from_the_edge(eps_explore, want):
    """The best ε-soft policy is the best policy of a world that takes a random action with probability ε."""
    world = cliff()
    mdp = world.to_mdp(gamma=1.0)
    mix = (1 - eps_explore) * torch.eye(4, dtype=torch.float64) + eps_explore / 4
    shaken = bellman.MDP(torch.einsum("ab,sbt->sat", mix, mdp.transitions), mdp.rewards @ mix.T, gamma=1.0)
    solution = bellman.policy_iteration(shaken)
    assert solution.v[world.index((3, 0))].item() == pytest.approx(want, abs=1e-3)
    path = world.path(solution.q.argmax(-1))
    assert len(path) - 1 == 15
    assert {row for row, column in path if 0 < column < 11} == {1}


def best_path(slip, step_cost, gamma):
    world = playground(slip, step_cost)
    path = world.path(bellman.policy_iteration(world.to_mdp(gamma)).q.argmax(-1))
    pit = next(cell for cell, reward in world.terminals.items() if reward < 0)
    return path, min(math.dist(cell, pit) for cell in path)


@pytest.mark.parametrize(
    ("slip", "step_cost", "gamma", "steps", "brushes"),
    [
        (0.0, 0.04, 0.95, 9, True),
        (0.1, 0.04, 0.95, 9, True),
        (0.2, 0.04, 0.95, 13, False),
        (0.4, 0.04, 0.95, 13, False),
        (0.2, 0.2, 0.95, 9, True),
        (0.4, 0.2, 0.95, 9, True),
        (0.2, 0.04, 0.8, 9, True),
    ],
)
def test_playground_best_path_brushes_the_pit_only_where_that_pays(slip, step_cost, gamma, steps, brushes):
    path, distance = best_path(slip, step_cost, gamma)
    assert path[-1] == (2, 6)
    assert (len(path) - 1, distance == 1) == (steps, brushes)


def test_playground_with_own_walls_has_those_and_no_others():
    world = playground(0.1, 0.0, walls=[(0, 0)])
    assert world.walls == {(0, 0)}
    assert world.terminals == playground(0.1, 0.0).terminals
    assert world.start == (5, 0)


def test_slip_room_sends_an_even_walker_to_the_far_corner():
    world = slip_room(4, slip=0.0, step_reward=-1.0)
    v = bellman.policy_iteration(world.to_mdp(gamma=1.0)).v
    assert v[0].item() == pytest.approx(-6 + 1, abs=1e-12)


def test_a_large_world_is_built_sparse_and_small():
    mdp = slip_room(200, slip=0.2, step_reward=-0.01).to_mdp(gamma=0.99, sparse=True)
    transitions = mdp.transitions
    assert transitions.shape == (160_000, 40_000)
    assert transitions.values().numel() < 160_000 * 3
    sums = transitions @ torch.ones(40_000, dtype=torch.float64)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-12, rtol=0)


def test_a_goal_walled_in_is_no_error_and_worth_nothing_to_others():
    world = from_text("S.#G")
    assert bellman.policy_iteration(world.to_mdp(gamma=0.9)).v.tolist() == [0, 0, 0, 0]


def test_picture_shows_rows_top_down_with_nan_where_nobody_stands():
    world = from_text("S.#\nC.G")
    picture = world.picture(torch.arange(12.0).view(2, 6))
    assert picture.shape == (2, 2, 3)
    shown = torch.tensor([[[0, 1, math.nan], [math.nan, 4, 5]], [[6, 7, math.nan], [math.nan, 10, 11]]])
    torch.testing.assert_close(picture, shown, equal_nan=True)


def test_index_and_cell_are_inverse():
    world = Gridworld(3, 5)
    cells = [(r, c) for r in range(3) for c in range(5)]
    assert [world.index(cell) for cell in cells] == list(range(15))
    assert [world.cell(state) for state in range(15)] == cells


def test_path_stops_where_it_would_come_back():
    world = Gridworld(1, 3, start=(0, 0))
    assert world.path(torch.tensor([RIGHT, LEFT, LEFT])) == [(0, 0), (0, 1)]
    assert world.path(torch.tensor([LEFT] * 3), start=(0, 2)) == [(0, 2), (0, 1), (0, 0)]


def test_a_world_keeps_its_own_copy_of_what_it_was_given():
    goals = {(0, 1): 1.0}
    world = Gridworld(1, 2, terminals=goals)
    goals[(0, 0)] = 5.0
    assert world.terminals == {(0, 1): 1.0}


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "height is 0, expected a whole number of cells"),
        ({"width": 2.0}, "width is 2.0, expected a whole number of cells"),
        ({"slip": -0.1}, r"slip is -0.1, expected a number in \[0, 1\]"),
        ({"slip": 1.5}, r"slip is 1.5, expected a number in \[0, 1\]"),
        ({"slip": NAN}, "slip is nan"),
        ({"walls": [(0, 3)]}, r"a cell of walls is \(0, 3\), outside the grid: expected row < 2, column < 3"),
        ({"walls": [(-1, 0)]}, r"a cell of walls is \(-1, 0\), outside the grid"),
        ({"walls": [3]}, r"a cell of walls is 3, expected a cell \(row, column\)"),
        ({"terminals": {(2, 0): 1.0}}, r"a cell of terminals is \(2, 0\), outside"),
        ({"walls": [(0, 1)], "terminals": {(0, 1): 1.0}}, r"cell \(0, 1\) is in walls and in terminals"),
        ({"terminals": {(0, 1): 1.0}, "jumps": {(0, 1): ((0, 0), 1.0)}}, "is in terminals and in jumps"),
        ({"jumps": {(0, 1): ((5, 0), 1.0)}}, r"the target of jump \(0, 1\) is \(5, 0\), outside the grid"),
        ({"jumps": {(0, 1): ((0, 0), 1.0)}, "walls": [(0, 0)]}, r"the target of jump .* a cell of walls"),
        ({"start": (0, 0), "walls": [(0, 0)]}, r"start is \(0, 0\), a cell of walls, expected a cell to stand on"),
        ({"start": (7, 0)}, r"start is \(7, 0\), outside the grid"),
        ({"cliffs": {(0, 1): -1.0}}, r"start is None, expected a cell \(row, column\)"),
        ({"terminals": {(0, 1): NAN}}, r"the reward of \(0, 1\) is nan, expected a finite number"),
        ({"jumps": {(0, 1): ((0, 0), math.inf)}}, r"the reward of \(0, 1\) is inf"),
        ({"step_reward": NAN}, "step_reward is nan, expected a finite number"),
        ({"bump_reward": "-1"}, "bump_reward is '-1', expected a finite number"),
    ],
)
def test_a_world_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gridworld(**{"height": 2, "width": 3, **arguments})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S..\n..", r"text has rows of lengths \[3, 2\], expected one length"),
        ("", r"text has rows of lengths \[\]"),
        ("S.x", r"text has 'x' at \(0, 2\), expected one of S"),
        ("SS", r"text has an S at \[\(0, 0\), \(0, 1\)\], expected one at most"),
    ],
)
def test_a_text_that_is_no_map_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_text(text)


def test_questions_that_do_not_fit_the_world_are_refused():
    world = corners_4x4()
    with pytest.raises(ValueError, match=r"cell is \(4, 0\), outside the grid"):
        world.index((4, 0))
    with pytest.raises(ValueError, match=r"state is 16, expected a number in \[0, 15\]"):
        world.cell(16)
    with pytest.raises(ValueError, match=r"values has shape \[4, 4\]"):
        world.picture(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"actions has shape \[3\]"):
        world.path(torch.zeros(3))
    with pytest.raises(ValueError, match="start is None and the world has none"):
        world.path(torch.zeros(16))
    with pytest.raises(ValueError, match=r"gamma is 1\.5"):
        world.to_mdp(gamma=1.5)
