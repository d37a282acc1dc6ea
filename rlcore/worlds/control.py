"""How does a policy balance a pole, or swing one up? Two classical control tasks in tensors, equal to gymnasium's.

Many rows move at once, on any device. Left out: drawing, and learning.
"""

import math

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need
from rlcore.worlds.batch import Batch

# CartPole: SI units. The pole's length counts to its centre of mass.
GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MASS = CART_MASS + POLE_MASS
LEVER = POLE_MASS * HALF_LENGTH / MASS  # how far the pole reaches, weighed: 1/22 m
TRACK, TILT = 2.4, math.radians(12)  # beyond these, metres and radians, the episode ends
# Pendulum: a rod of 1 kg and 1 m.
FALL, STEP, MAX_SPEED, MAX_TORQUE = 10.0, 0.05, 8.0, 2.0


def cart_pole_step(state: Tensor, action: Tensor) -> Tensor:
    """A cart is pushed for 0.02 s: where are cart and pole then?

        u = ±F/M + k ω² sin θ,   α = (g sin θ − u cos θ) / (4/3 l − k cos² θ),   a = u − k α cos θ,   k = m l / M

    x, v, θ, ω move by 0.02 s times v, a, ω, α, all taken before the push (explicit Euler).

    Args:
        state:  [..., 4] position x (m), speed v (m/s), angle θ from upright (rad), its speed ω (rad/s).
        action: [...]    0 pushes to the left with 10 N, 1 to the right.
    Returns: [..., 4] the next state. It may lie beyond the bounds that end an episode.
    Raises:  ValueError when shapes disagree.
    Source:  Barto, Sutton & Anderson 1983, section V (without friction), as gymnasium/envs/classic_control/cartpole.py.

    >>> cart_pole_step(torch.zeros(4), torch.tensor(1))     # F/M = 9.09 m/s²: the cart goes right, the pole tilts left
    tensor([ 0.0000,  0.1951,  0.0000, -0.2927])
    """
    need(state=(state, "... 4"))
    need(action=(action, axes(state.shape[:-1])))
    _, v, angle, turn = state.unbind(-1)
    sine, cosine = angle.sin(), angle.cos()
    side = action - 0.5  # ±1/2, exact in every dtype
    u = torch.add(LEVER * turn.square() * sine, side, alpha=2 * FORCE / MASS)
    turning = (GRAVITY * sine - u * cosine) / (4 / 3 * HALF_LENGTH - LEVER * cosine.square())
    speeding = u - LEVER * turning * cosine
    return torch.add(state, torch.stack([v, speeding, turn, turning], -1), alpha=TAU)


def pendulum_step(state: Tensor, torque: Tensor) -> tuple[Tensor, Tensor]:
    """A hanging rod is turned for 0.05 s: where is it then, and what did that cost?

        ω' = ω + (3g/2 · sin θ + 3 u) · 0.05 within ±8,   θ' = θ + ω' · 0.05,   reward = −(θ² + 0.1 ω² + 0.001 u²)

    The reward is that of the state before, with θ taken between −π and π: 0 is upright and at rest, −16.27 the least.

    Args:
        state:  [..., 2] angle θ from upright (rad, never wrapped), its speed ω (rad/s).
        torque: [...]    u (N m); counts as ±2 beyond these.
    Returns: the next state [..., 2] and the reward [...].
    Raises:  ValueError when shapes disagree.
    Source:  gymnasium/envs/classic_control/pendulum.py, with g = 10 m/s², 1 kg and 1 m.

    >>> state, reward = pendulum_step(torch.tensor([torch.pi / 2, 0.0]), torch.tensor(1.0))    # held out sideways
    >>> state, reward                                                                # ω' = (15 + 3) · 0.05 = 0.9
    (tensor([1.6158, 0.9000]), tensor(-2.4684))
    """
    need(state=(state, "... 2"))
    need(torque=(torque, axes(state.shape[:-1])))
    angle, turn = state.unbind(-1)
    torque = torque.clamp(-MAX_TORQUE, MAX_TORQUE)
    wrapped = (angle + math.pi).remainder(2 * math.pi) - math.pi
    reward = -(wrapped.square() + 0.1 * turn.square() + 0.001 * torque.square())
    turn = (turn + (1.5 * FALL * angle.sin() + 3 * torque) * STEP).clamp(-MAX_SPEED, MAX_SPEED)
    return torch.stack([angle + turn * STEP, turn], -1), reward


class CartPole(Batch):
    """Keep a pole upright on a cart by pushing left or right: +1 for every step, gymnasium's CartPole-v1.

    Ends beyond 2.4 m or 12 degrees. All four numbers start between −0.05 and 0.05. Observed: the state [B, 4].
    `step` takes actions [B], int64, 0 left or 1 right. Arguments and errors: see Batch.

    Source: Barto, Sutton & Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
    problems"; gymnasium/envs/classic_control/cartpole.py, whose v1 cuts off after 500 steps.

    >>> world = CartPole(2, torch.Generator().manual_seed(0))
    >>> for push in range(11):                                        # always to the right: the poles fall to the left
    ...     step = world.step(torch.ones(2, dtype=torch.int64))
    >>> step.rewards, world.observations.shape
    (tensor([1., 1.]), torch.Size([2, 4]))
    """

    def __init__(self, rows: int, generator: torch.Generator, limit: int = 500, device="cpu", dtype=torch.float32):
        super().__init__(rows, generator, limit, device, dtype)
        self._rewards = torch.ones(rows, device=device, dtype=dtype)
        self._bounds = torch.tensor([TRACK, math.inf, TILT, math.inf], device=device, dtype=dtype)

    def _check(self, actions: Tensor) -> None:
        need(actions=(actions, f"{self.rows}"))
        if actions.dtype is not torch.int64:
            raise ValueError(f"actions has dtype {actions.dtype}, expected torch.int64")
        if (actions >> 1).any():  # only 0 and 1 have no higher bit
            wrong = actions[actions >> 1 != 0][0].item()
            raise ValueError(f"actions holds {wrong}, expected 0 (left) or 1 (right)")

    def _start(self, rows: int) -> Tensor:
        return self._uniform(rows, 0.05, 0.05, 0.05, 0.05)

    def _move(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states = cart_pole_step(states, actions)
        return states, self._rewards, (states.abs() > self._bounds).any(-1)


class Pendulum(Batch):
    """Swing a rod up and hold it there with a motor too weak to lift it at once: gymnasium's Pendulum-v1.

    Never ends, only the limit cuts it off. Starts at any angle, with a speed between −1 and 1. Observed: cos θ, sin θ
    and ω [B, 3]. `step` takes actions [B, 1], a floating-point torque in N m. Arguments and errors: see Batch.

    Source: gymnasium/envs/classic_control/pendulum.py, whose v1 cuts off after 200 steps.

    >>> world = Pendulum(2, torch.Generator().manual_seed(0), limit=1)
    >>> world.step(torch.zeros(2, 1)).cut_off, world.observations.shape
    (tensor([True, True]), torch.Size([2, 3]))
    """

    def __init__(self, rows: int, generator: torch.Generator, limit: int = 200, device="cpu", dtype=torch.float32):
        super().__init__(rows, generator, limit, device, dtype)
        self._never = torch.zeros(rows, device=device, dtype=torch.bool)

    def _check(self, actions: Tensor) -> None:
        need(actions=(actions, f"{self.rows} 1"))
        if not actions.is_floating_point():
            raise ValueError(f"actions has dtype {actions.dtype}, expected a floating-point torque")
        if not actions.isfinite().all():
            finite(actions=actions)

    def _start(self, rows: int) -> Tensor:
        return self._uniform(rows, math.pi, 1.0)

    def _move(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, rewards = pendulum_step(states, actions.squeeze(1).to(self.dtype))
        return states, rewards, self._never

    def _observe(self, states: Tensor) -> Tensor:
        angle, turn = states.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), turn], -1)
