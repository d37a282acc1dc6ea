"""CartPole and its physics: many rows at once beside gymnasium's, one by one and in its SyncVectorEnv.

A solver takes 200 random steps of every row; all get the same pushes from the same small states. Checked is where the
first 6 lead, in float32. Later, poles fall and rows start anew, each from its own draws. Checks of input are timed.
"""

import numpy as np
import torch

from benchmarks.measure import Entry, Missing, compare
from rlcore.worlds.control import CartPole, cart_pole_step

try:
    import gymnasium
except ImportError:
    gymnasium = None

ROWS = (1, 16, 64, 1024)
STEPS = 200
CHECKED = 6  # fewer than any pole needs to fall
TOL = 1e-5


def run() -> None:
    """Print a table per number of rows, and steps of a row per second at the end."""
    rates = []
    for rows in ROWS:
        generator = torch.Generator().manual_seed(0)
        pushes = torch.randint(0, 2, (STEPS, rows), generator=generator)
        starts = (0.1 * torch.rand(rows, 4, generator=generator, dtype=torch.float64) - 0.05).float()
        entries = _entries(starts, pushes)
        title = f"{rows} rows, {STEPS} steps"
        compare(title, _reference(starts.double(), pushes).numpy(), TOL, entries)
        rates += [(title, entry, rows) for entry in entries if not entry.missing]
    print("steps of a row per second, of all rows together, in thousands; µs per step of the batch")
    for title, entry, rows in rates:
        best = min(entry.times) / STEPS
        print(f"  {title:<24}{entry.name:<32}{rows / best / 1e3:>10.1f}{best * 1e6:>10.0f}")
    print(flush=True)


def _reference(states: torch.Tensor, pushes: torch.Tensor) -> torch.Tensor:
    for push in pushes[:CHECKED]:
        states = cart_pole_step(states, push)
    return states


def _entries(starts: torch.Tensor, pushes: torch.Tensor) -> list[Entry]:
    world = CartPole(len(starts), torch.Generator().manual_seed(0))
    names = ("gymnasium one by one", "gymnasium SyncVectorEnv")
    ours = Entry("rlcore CartPole", lambda: _ours(world, starts, pushes), ours=True)
    if gymnasium is None:
        return [ours, *(Entry(name, _absent) for name in names)]
    makers = [lambda: gymnasium.make("CartPole-v1", disable_env_checker=True)] * len(starts)
    same_step = gymnasium.vector.AutoresetMode.SAME_STEP
    vector = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=same_step)
    vector.reset(seed=0)
    envs = [make() for make in makers]
    for env in envs:
        env.reset(seed=0)
    loop = Entry(names[0], lambda: _loop(envs, starts.numpy(), pushes.numpy()))
    return [ours, loop, Entry(names[1], lambda: _vector(vector, starts.numpy(), pushes.numpy()))]


def _absent() -> np.ndarray:
    raise Missing("gymnasium is not installed")


def _ours(world: CartPole, starts: torch.Tensor, pushes: torch.Tensor) -> np.ndarray:
    world.states, world.counts = starts, torch.zeros_like(world.counts)
    for t, push in enumerate(pushes):
        after = world.step(push).after
        if t == CHECKED - 1:
            answer = after
    return answer.numpy()


def _loop(envs: list, starts: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    for env, start in zip(envs, starts, strict=True):
        env.unwrapped.state = start.astype(np.float64)
    for t, push in enumerate(pushes.tolist()):
        after = []
        for env, action in zip(envs, push, strict=True):
            seen, _, ended, cut_off, _ = env.step(action)
            after.append(seen)
            if ended or cut_off:
                env.reset()
        if t == CHECKED - 1:
            answer = np.array(after)
    return answer


def _vector(vector, starts: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    for env, start in zip(vector.envs, starts, strict=True):
        env.unwrapped.state = start.astype(np.float64)
    for t, push in enumerate(pushes):
        after = vector.step(push)[0]
        if t == CHECKED - 1:
            answer = after.copy()
    return answer
