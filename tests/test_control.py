"""CartPole and Pendulum against gymnasium's, step for step in float64, and against a pencil."""

import math

import gymnasium
import pytest
import torch
from scipy import stats

from rlcore.worlds.control import CartPole, Pendulum, cart_pole_step, pendulum_step

NAMES = {CartPole: "CartPole-v1", Pendulum: "Pendulum-v1"}
BOTH = pytest.mark.parametrize("kind", [CartPole, Pendulum])


def generator(number=0):
    return torch.Generator().manual_seed(number)


def any_actions(world, steps, number=7):
    """[steps, B] for CartPole; [steps, B, 1] for Pendulum, beyond its bounds too."""
    if isinstance(world, CartPole):
        return torch.randint(0, 2, (steps, world.rows), generator=generator(number))
    return 2 * torch.randn(steps, world.rows, 1, generator=generator(number), dtype=torch.float64)


def close(got, wanted, **tolerance):
    tolerance = tolerance or {"atol": 1e-12, "rtol": 0}
    torch.testing.assert_close(got, torch.as_tensor(wanted, dtype=got.dtype), **tolerance)


def beside_gymnasium(world, actions, limit=None):
    """Step both, gymnasium's from our state each time; compare everything; count (ended, cut off, both at once)."""
    name = NAMES[type(world)]
    envs = [gymnasium.make(name, max_episode_steps=limit, disable_env_checker=True) for _ in range(world.rows)]
    for env in envs:
        env.reset(seed=0)
    happened = [0, 0, 0]
    for action in actions:
        before = world.states
        step = world.step(action)
        for row, env in enumerate(envs):
            env.unwrapped.state = before[row].numpy()
            plain = int(action[row]) if isinstance(world, CartPole) else action[row].numpy()
            seen, reward, terminated, truncated, _ = env.step(plain)
            close(step.after[row].float(), seen, atol=1e-6, rtol=1e-6)  # gymnasium shows float32
            close(step.rewards[row], reward)
            assert bool(step.ended[row]) == terminated
            assert bool(step.cut_off[row]) == (truncated and not terminated)
            over = terminated or truncated
            if over:
                env.reset()
            else:
                close(world.states[row], env.unwrapped.state)
            assert (world.counts[row] == 0) == over
            happened[0] += terminated
            happened[1] += truncated and not terminated
            happened[2] += truncated and terminated
    return happened


def test_cart_pole_walks_as_gymnasiums_through_ends_and_limits():
    world = CartPole(4, generator(), limit=12, dtype=torch.float64)
    ended, cut_off, both = beside_gymnasium(world, any_actions(world, 1500), limit=12)
    assert ended > 50
    assert cut_off > 50
    assert both > 5


def test_cart_pole_walks_as_gymnasiums_where_it_runs_fast_and_far():
    """States a random policy hardly meets: both sides of both bounds, high speeds."""
    world = CartPole(4, generator(), dtype=torch.float64)
    reach = torch.tensor([2.5, 3.0, 0.25, 3.0], dtype=torch.float64)
    for number in range(300):
        start = reach * (2 * torch.rand(4, 4, generator=generator(number), dtype=torch.float64) - 1)
        world.states, world.counts = start, torch.zeros(4, dtype=torch.int64)
        beside_gymnasium(world, any_actions(world, 1, number))


def test_cart_pole_next_states_are_gymnasiums_also_where_the_episode_ends():
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    reach = torch.tensor([2.5, 3.0, 0.25, 3.0], dtype=torch.float64)
    states = reach * (2 * torch.rand(1000, 4, generator=generator(), dtype=torch.float64) - 1)
    actions = torch.randint(0, 2, (1000,), generator=generator(1))
    for state, action, got in zip(states, actions, cart_pole_step(states, actions), strict=True):
        env.reset(seed=0)
        env.unwrapped.state = state.numpy()
        env.step(int(action))
        close(got, env.unwrapped.state)


def test_pendulum_swings_as_gymnasiums_through_limits_and_bounds():
    world = Pendulum(4, generator(), dtype=torch.float64)
    ended, cut_off, _ = beside_gymnasium(world, any_actions(world, 1000))
    assert (ended, cut_off) == (0, 4 * 5)  # 200 steps each


def test_pendulum_swings_as_gymnasiums_where_it_is_fast_and_wound_up():
    world = Pendulum(4, generator(), dtype=torch.float64)
    world.states = torch.tensor([[30.0, 7.9], [-30.0, -7.9], [math.pi, 8.0], [-math.pi, -8.0]], dtype=torch.float64)
    beside_gymnasium(world, any_actions(world, 190))


@BOTH
def test_the_limit_is_gymnasiums(kind):
    assert kind(1, generator()).limit == gymnasium.spec(NAMES[kind]).max_episode_steps


def test_a_balanced_pole_is_cut_off_at_500_steps_and_not_before():
    world = CartPole(3, generator(), dtype=torch.float64)
    for count in range(1, 501):
        x, v, angle, turn = world.observations.unbind(-1)
        step = world.step((0.3 * x + 0.6 * v + 10 * angle + 3 * turn > 0).long())
        assert not step.ended.any()
        assert bool(step.cut_off.all()) == bool(step.cut_off.any()) == (count == 500)


def test_a_push_by_pencil():
    """From rest: u = 10/1.1, α = −u / (2/3 − 1/22) = −14.634, a = u + 14.634/22 = 9.756; times 0.02."""
    u = 10 / 1.1
    alpha = -u / (2 / 3 - 1 / 22)
    right = cart_pole_step(torch.zeros(4, dtype=torch.float64), torch.tensor(1))
    close(right, [0, 0.02 * (u - alpha / 22), 0, 0.02 * alpha])
    close(right, [0, 0.195122, 0, -0.292683], atol=1e-6, rtol=0)
    close(cart_pole_step(torch.zeros(4, dtype=torch.float64), torch.tensor(0)), -right)


def test_speeds_move_positions_before_they_change():
    state = torch.tensor([1.0, 2.0, 0.1, -3.0], dtype=torch.float64)
    close(cart_pole_step(state, torch.tensor(1))[::2], [1.04, 0.04])


def test_a_swing_by_pencil():
    """Sideways at rest, torque 1: ω' = (15 + 3)·0.05 = 0.9; θ' = π/2 + 0.045; reward = −(π²/4 + 0.001)."""
    state, reward = pendulum_step(torch.tensor([math.pi / 2, 0.0], dtype=torch.float64), torch.tensor(1.0).double())
    close(state, [math.pi / 2 + 0.045, 0.9])
    close(reward, -(math.pi**2 / 4 + 0.001))


def test_a_torque_beyond_2_counts_as_2_and_a_speed_beyond_8_as_8():
    state = torch.tensor([[0.0, 0.0], [math.pi / 2, 7.9]], dtype=torch.float64)
    moved, reward = pendulum_step(state, torch.tensor([50.0, -50.0], dtype=torch.float64))
    close(moved, [[0.015, 0.3], [math.pi / 2 + 0.4, 8.0]])  # 7.9 + (15 − 6)·0.05 = 8.35
    close(reward[0], -0.004)


def test_a_full_turn_costs_nothing():
    state = torch.tensor([[2 * math.pi, 0.0], [-4 * math.pi, 0.0]], dtype=torch.float64)
    close(pendulum_step(state, torch.zeros(2, dtype=torch.float64))[1], [0.0, 0.0])


@pytest.mark.parametrize(("kind", "reach"), [(CartPole, [0.05] * 4), (Pendulum, [math.pi, 1.0])])
def test_starts_are_uniform_and_apart_from_each_other(kind, reach):
    """Kolmogorov–Smirnov, 4000 draws: a right generator fails once in 10⁴ numbers, and this seed is fixed."""
    starts = kind(4000, generator(), dtype=torch.float64).states
    for column, most in zip(starts.T, reach, strict=True):
        assert stats.kstest(column.numpy(), stats.uniform(-most, 2 * most).cdf).pvalue > 1e-4
        assert most * 0.995 < column.abs().max() <= most  # of 4000 draws, the furthest lies this near but for e⁻²⁰
    between = torch.corrcoef(starts.T) - torch.eye(len(reach))
    assert between.abs().max() < 4 / math.sqrt(4000)


@BOTH
def test_starts_after_an_episode_are_as_uniform_as_the_first(kind):
    world = kind(4000, generator(), limit=1, dtype=torch.float64)
    first = world.states
    world.step(any_actions(world, 1)[0])
    assert not (world.states == first).any()
    for before, after in zip(first.T, world.states.T, strict=True):
        assert stats.ks_2samp(before.numpy(), after.numpy()).pvalue > 1e-4


@BOTH
def test_after_is_the_next_observation_unless_a_row_starts_anew(kind):
    world = kind(8, generator(), limit=7)
    anew = 0
    for action in any_actions(world, 60):
        step = world.step(action)
        over = step.ended | step.cut_off
        assert torch.equal((step.after == world.observations).all(-1), ~over)
        assert torch.equal(world.counts == 0, over)
        anew += int(over.sum())
    assert anew >= 8 * 8


@BOTH
def test_what_a_loop_has_kept_of_a_world_stays_as_it_was(kind):
    world = kind(8, generator(), limit=7)
    for action in any_actions(world, 20):
        kept = world.states, world.observations, world.counts
        copies = [x.clone() for x in kept]
        world.step(action)
        assert all(torch.equal(x, copy) for x, copy in zip(kept, copies, strict=True))


def test_both_at_once_counts_as_ended():
    world = CartPole(2, generator(), limit=1)
    world.states = torch.tensor([[2.4, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    step = world.step(torch.tensor([1, 1]))
    assert step.ended.tolist() == [True, False]
    assert step.cut_off.tolist() == [False, True]
    assert step.rewards.tolist() == [1.0, 1.0]
    assert step.after[0, 0] > 2.4
    assert world.observations.abs().max() <= 0.05


@BOTH
def test_what_was_kept_from_earlier_steps_stays_as_it_was(kind):
    world = kind(4, generator(), limit=3)
    kept, copies = [], []
    for action in any_actions(world, 20):
        parts = [world.observations, *world.step(action)]
        kept += parts
        copies += [part.clone() for part in parts]
    assert all(torch.equal(part, copy) for part, copy in zip(kept, copies, strict=True))


def run(world, steps=60):
    """Everything it shows and says on the way, on the CPU."""
    seen = [world.observations]
    for action in any_actions(world, steps):
        step = world.step(action.to(world.device))
        seen += [*step, world.observations]
    return [part.cpu() for part in seen]


@BOTH
def test_the_generator_decides_everything(kind):
    torch.manual_seed(1)
    one = run(kind(3, generator(5), limit=9))
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one, run(kind(3, generator(5), limit=9)), strict=True))
    assert not torch.equal(one[0], kind(3, generator(6)).observations)


@BOTH
def test_float32_gives_the_same_numbers_in_float32(kind):
    exact, short = (run(kind(3, generator(), limit=9, dtype=dtype)) for dtype in (torch.float64, torch.float32))
    for long, got in zip(exact, short, strict=True):
        assert got.dtype is (torch.bool if long.dtype is torch.bool else torch.float32)
        torch.testing.assert_close(got.double(), long.double(), atol=2e-4, rtol=0)


@BOTH
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_numbers_with_the_generator_on_the_cpu(kind):
    world = kind(5, generator(), limit=9, device="cuda", dtype=torch.float64)
    assert all(part.is_cuda for part in (*world.step(any_actions(world, 1)[0].cuda()), world.observations))
    on_gpu, on_cpu = (run(kind(5, generator(), limit=9, device=d, dtype=torch.float64)) for d in ("cuda", "cpu"))
    for got, wanted in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)
    world = kind(5, torch.Generator("cuda").manual_seed(0), device="cuda")
    assert world.observations.is_cuda


def test_a_torque_that_wants_a_gradient_leaves_none_in_the_world():
    world = Pendulum(2, generator())
    step = world.step(torch.zeros(2, 1, requires_grad=True))
    assert not any(part.requires_grad for part in (*step, world.observations, world.states))


def test_the_dynamics_have_gradients_and_take_any_leading_axes():
    state = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
    push = torch.zeros(2, 3, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda s: cart_pole_step(s, push), state)
    torque = torch.full((2, 3), 0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pendulum_step, (torch.ones(2, 3, 2).double().requires_grad_(), torque))


@pytest.mark.parametrize(
    ("kind", "actions", "message"),
    [
        (CartPole, torch.zeros(3, dtype=torch.int64), r"actions has shape \[3\], expected \[2\]"),
        (CartPole, torch.zeros(2, 1, dtype=torch.int64), r"actions has shape \[2, 1\], expected \[2\]"),
        (CartPole, torch.zeros(2), r"actions has dtype torch\.float32, expected torch\.int64"),
        (CartPole, torch.tensor([0, 2]), r"actions holds 2, expected 0 \(left\) or 1 \(right\)"),
        (CartPole, torch.tensor([-1, 0]), r"actions holds -1, expected 0"),
        (CartPole, [0, 1], r"actions is list, expected a tensor"),
        (Pendulum, torch.zeros(2), r"actions has shape \[2\], expected \[2, 1\]"),
        (Pendulum, torch.zeros(2, 1, dtype=torch.int64), r"actions has dtype torch\.int64, expected a floating"),
        (Pendulum, torch.tensor([[0.0], [math.nan]]), r"actions holds nan at index \[1, 0\]"),
    ],
)
def test_what_is_no_action_is_refused_and_nothing_moves(kind, actions, message):
    world = kind(2, generator())
    before = world.states
    with pytest.raises(ValueError, match=message):
        world.step(actions)
    assert world.states is before
    assert world.counts.tolist() == [0, 0]


@BOTH
def test_no_rows_and_no_steps_are_refused(kind):
    with pytest.raises(ValueError, match="rows is 0, expected a whole number, 1 or more"):
        kind(0, generator())
    with pytest.raises(ValueError, match=r"limit is 1\.5, expected a whole number"):
        kind(1, generator(), limit=1.5)


def test_states_and_actions_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"state has shape \[3\], expected \[\.\.\., 4\]"):
        cart_pole_step(torch.zeros(3), torch.tensor(1))
    with pytest.raises(ValueError, match=r"action has shape \[\], expected \[2\]"):
        cart_pole_step(torch.zeros(2, 4), torch.tensor(1))
    with pytest.raises(ValueError, match=r"torque has shape \[2, 1\], expected \[2\]"):
        pendulum_step(torch.zeros(2, 2), torch.zeros(2, 1))
