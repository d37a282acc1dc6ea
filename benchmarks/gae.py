"""Generalised advantages in float32, to 3e-6 of float64; our other forms and the peers may be off by 2e-5.

Rows with episode ends: the loop as CleanRL writes it, in its own layout, time first: rewards[t] lies together in
memory; TorchRL's loop and its vectorised form, called as they are installed. One episode a row, which is all they know:
the loops as TRL and verl write them. None of them is made for gradients, so with gradients our three forms meet one
another. Our checks of input are timed. The three are timed on a GPU too where there is one.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Entry, Missing, compare
from rlcore import returns
from rlcore.kernels import blocked
from rlcore.kernels import returns as twins

try:
    from torchrl.objectives.value import functional as torchrl
except ImportError:
    torchrl = None

SHAPES = [(64, 512), (256, 4096), (8, 32768)]  # [B, T]
SHAPES_GPU = [(64, 512), (4096, 4096), (8, 32768)]
GAMMA, LAM, ENDS = 0.99, 0.95, 0.01  # one step in a hundred ends an episode
TOL = 2e-5  # advantages reach about 15
TOL_OURS = 3e-6
TOL_GRADIENTS = 3e-4  # gradients reach about 150


def run() -> None:
    """Print three tables per shape, and the ratios together at the end."""
    ratios = {}
    for rows, steps in SHAPES:
        ended, whole = _rows(rows, steps, ENDS), _rows(rows, steps, 0)
        for name, compared in (
            ("with ends", _forward(*ended)),
            ("one episode a row", _whole_rows(*whole)),
            ("with ends and gradients", _gradients(*ended[1:])),
        ):
            title = f"[{rows}, {steps}], {name}"
            compare(title, *compared)
            ratios[title] = compared[2]
    print("how many times our time")
    for title, (ours, *others) in ratios.items():
        print(f"  {title}")
        for other in (entry for entry in others if entry.times):
            print(f"    {other.name:<56}{min(other.times) / min(ours.times):>8.1f}")
    print(flush=True)
    if torch.cuda.is_available():
        for rows, steps in SHAPES_GPU:
            _on_gpu(*_rows(rows, steps, ENDS))


def _rows(rows: int, steps: int, ends: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which steps end an episode (no ends: the last of a row), rewards, discounts, values."""
    generator = torch.Generator().manual_seed(0)
    done = torch.rand(rows, steps, generator=generator) < ends
    done[:, -1] |= not ends
    rewards, values = (torch.randn(rows, n, generator=generator) for n in (steps, steps + 1))
    return done, rewards, GAMMA * (~done).float(), values


def _forward(done: Tensor, *given: Tensor) -> tuple[np.ndarray, float, list[Entry]]:
    rewards, _, values = given
    time_first = [x.float().t().contiguous() for x in (rewards, values, done)]
    last_axis = [x[..., None].contiguous() for x in (values[:, :-1], values[:, 1:], rewards, done)]
    entries = [
        *_ours(lambda gae: gae(*given, LAM).numpy(), _exact(*given)),
        Entry("CleanRL's loop", lambda: _cleanrl(*time_first).t().numpy()),
        Entry("TorchRL's loop", lambda: _torchrl("generalized_advantage_estimate", *last_axis)),
        Entry("TorchRL, vectorised", lambda: _torchrl("vec_generalized_advantage_estimate", *last_axis)),
    ]
    return _exact(*given), TOL, entries


def _whole_rows(done: Tensor, *given: Tensor) -> tuple[np.ndarray, float, list[Entry]]:
    rewards, _, values = given
    mask = torch.ones_like(rewards)
    entries = [
        *_ours(lambda gae: gae(*given, LAM).numpy(), _exact(*given))[:1],
        Entry("TRL's loop", lambda: _trl(rewards, values[:, :-1]).numpy()),
        Entry("verl's loop", lambda: _verl(rewards, values[:, :-1], mask).numpy()),
    ]
    return _exact(*given), TOL, entries


def _gradients(*given: Tensor) -> tuple[np.ndarray, float, list[Entry]]:
    reference = _backward(returns.gae, *(x.double() for x in given))
    return reference, TOL_GRADIENTS, _ours(lambda gae: _backward(gae, *given), reference, TOL_GRADIENTS)


def _exact(*given: Tensor) -> np.ndarray:
    return returns.gae(*(x.double() for x in given), LAM).numpy()


def _ours(answer, reference: np.ndarray, tol: float = TOL_OURS) -> list[Entry]:
    """The chosen engine, the blocks that stand in for it, the plain loop. Compiles the first, and checks it closely."""
    chosen = twins.engine(torch.zeros(1))
    off = np.abs(_by(chosen, answer) - reference).max()
    if not off <= tol:
        raise SystemExit(f"{chosen.__name__} is off by {off:.2g}, more than {tol:g}")
    return [
        Entry(f"rlcore, {chosen.__name__.rpartition('.')[2]}", lambda: _by(chosen, answer), ours=True),
        Entry("rlcore, blocked", lambda: _by(blocked, answer), ours=True),
        Entry("rlcore, plain loop", lambda: answer(returns.gae), ours=True),
    ]


def _by(module: ModuleType, answer):
    """What a form answers that may not be the chosen one."""
    chosen, twins._engine = twins._engine, lambda device, dtype: module
    try:
        return answer(twins.gae)
    finally:
        twins._engine = chosen


def _backward(gae, rewards: Tensor, discounts: Tensor, values: Tensor) -> np.ndarray:
    """Gradients of half the sum of squared advantages, in rewards and values."""
    leaves = [x.detach().requires_grad_() for x in (rewards, values)]
    advantages = gae(leaves[0], discounts, leaves[1], LAM)
    gradients = torch.autograd.grad(advantages, leaves, advantages.detach())
    return torch.cat(gradients, dim=1).numpy()


def _cleanrl(rewards: Tensor, values: Tensor, done: Tensor) -> Tensor:
    """After vwxyzjn/cleanrl, cleanrl/ppo.py."""
    advantages, last = torch.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        going_on = 1.0 - done[t]
        delta = rewards[t] + GAMMA * values[t + 1] * going_on - values[t]
        advantages[t] = last = delta + GAMMA * LAM * going_on * last
    return advantages


def _torchrl(name: str, values: Tensor, next_values: Tensor, rewards: Tensor, done: Tensor) -> np.ndarray:
    """pytorch/rl, torchrl/objectives/value/functional.py, itself."""
    if torchrl is None:
        raise Missing("torchrl is not installed")
    return getattr(torchrl, name)(GAMMA, LAM, values, next_values, rewards, done)[0][..., 0].numpy()


@torch.no_grad()
def _trl(rewards: Tensor, values: Tensor) -> Tensor:
    """After huggingface/trl, PPOTrainer.train: nothing follows the last step; without its whitening."""
    steps, last, backwards = rewards.shape[1], 0, []
    for t in reversed(range(steps)):
        next_value = values[:, t + 1] if t + 1 < steps else 0.0
        last = rewards[:, t] + GAMMA * next_value - values[:, t] + GAMMA * LAM * last
        backwards.append(last)
    return torch.stack(backwards[::-1], dim=1)


@torch.no_grad()
def _verl(rewards: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """After volcengine/verl, core_algos.compute_gae_advantage_return: tokens out of the mask are stepped over."""
    next_value, last, backwards = 0, 0, []
    for t in reversed(range(rewards.shape[1])):
        counts = mask[:, t]
        advantage = rewards[:, t] + GAMMA * next_value - values[:, t] + GAMMA * LAM * last
        next_value = values[:, t] * counts + (1 - counts) * next_value
        last = advantage * counts + (1 - counts) * last
        backwards.append(last)
    return torch.stack(backwards[::-1], dim=1)


def _on_gpu(done: Tensor, *given: Tensor) -> None:
    """Wall time of a call, checks and waiting included, beside what reading 4 numbers and writing 1 would take."""
    reference = torch.from_numpy(_exact(*given)).cuda()
    done, *given = (x.cuda() for x in (done, *given))
    values = given[2]
    last_axis = [x[..., None].contiguous() for x in (values[:, :-1], values[:, 1:], given[0], done)]
    source, target = torch.empty(2, 2**26, device="cuda")
    floor = 5 / 2 * _seconds(lambda: target.copy_(source)) * given[0].numel() / source.numel()
    print(f"{list(given[0].shape)} on {torch.cuda.get_device_name()}, floor {floor * 1e3:.3f} ms")
    forms = {
        f"rlcore, {twins.engine(values).__name__.rpartition('.')[2]}": lambda: twins.gae(*given, LAM),
        "rlcore, blocked": lambda: _by(blocked, lambda gae: gae(*given, LAM)),
    }
    if torchrl is not None:
        vectorised = torchrl.vec_generalized_advantage_estimate
        forms["TorchRL, vectorised"] = lambda: vectorised(GAMMA, LAM, *last_axis)[0][..., 0]
    for name, form in forms.items():
        off, seconds = (form() - reference).abs().max().item(), _seconds(form)
        print(f"  {name:<58}{seconds * 1e3:>9.3f} ms{seconds / floor:>8.1f} × floor{off:>10.1e}")
    print(flush=True)


def _seconds(form) -> float:
    """Median of 20 runs after 3."""
    taken = []
    for _ in range(23):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        form()
        stop.record()
        stop.synchronize()
        taken.append(start.elapsed_time(stop) / 1e3)
    return float(np.median(taken[3:]))
