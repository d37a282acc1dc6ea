"""How does one sweep run? The inner loop of modified policy iteration: PyTorch for dense, NumPy for CSR transitions.

Both classes hold V and offer the same three steps: `improve` backs all actions up, `evaluate` follows the best ones,
`q_values` hands the result out. NumPy because a small world's sweep takes microseconds, less than PyTorch's overhead.
Left out: when to stop (mdp).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

Extremes = tuple[float, float, float, float]  # smallest and largest change TV − V, smallest and largest TV


class DenseSweeps:
    """The whole batch at once, on any device.

    Args:
        transitions: [..., S, A, S].
        rewards:     [..., S, A].
        gamma:       [...] tensor.
        leading:     the leading axes of all three together.
    """

    def __init__(self, transitions: Tensor, rewards: Tensor, gamma: Tensor, leading: torch.Size):
        one_for_all = transitions.ndim == 3  # then the rows of a policy are cheap to pick
        self.transitions = transitions if one_for_all else transitions.expand(*leading, -1, -1, -1)
        self.rewards, self.gamma = rewards.expand(*leading, -1, -1), gamma
        self.v = rewards.new_zeros(*leading, rewards.shape[-2])

    def improve(self) -> list[Extremes]:
        """Back up every action of V; the extremes of each row of the batch."""
        expected = torch.einsum("...sat,...t->...sa", self.transitions, self.v)
        self.q = expected * self.gamma[..., None, None] + self.rewards
        self.best = self.q.amax(-1)
        change = self.best - self.v
        ends = (change.amin(-1), change.amax(-1), self.best.amin(-1), self.best.amax(-1))
        return torch.stack([end.flatten() for end in ends], -1).tolist()

    def evaluate(self, first: int, sweeps: int) -> None:
        """V <- TV, then `sweeps` backups along the best actions, whose rows [..., S, S] are read alone."""
        self.v = self.best
        if not sweeps:
            return
        chosen = choose(self.q.unbind(-1), self.best, first)
        rewards = self.rewards.gather(-1, chosen[..., None])[..., 0]
        if self.transitions.ndim == 3:
            states, actions = self.rewards.shape[-2:]
            here = torch.arange(states, device=chosen.device)
            rows = self.transitions.flatten(0, 1)[here * actions + chosen]
        else:
            rows = self.transitions.take_along_dim(chosen[..., None, None], -2).squeeze(-2)
        for _ in range(sweeps):
            self.v = (rows @ self.v[..., None])[..., 0] * self.gamma[..., None] + rewards

    def q_values(self) -> Tensor:
        """[..., S, A] of the last improvement."""
        return self.q


class SparseSweeps:
    """One row of the batch after the other, on the CPU; the answer goes back to the device of the rewards.

    Args:
        matrix:  SciPy CSR [A·S, S], row a·S + s.
        rewards: [..., S, A].
        gamma:   [...] tensor.
        leading: the leading axes of both together.
    """

    def __init__(self, matrix: Any, rewards: Tensor, gamma: Tensor, leading: torch.Size):
        self.matrix, self.device = matrix, rewards.device
        self.shape = (*leading, rewards.shape[-1], rewards.shape[-2])  # [..., A, S]
        self.rewards = rewards.mT.expand(self.shape).reshape(-1, len(matrix.indptr) - 1).cpu().numpy()
        self.gammas = gamma.expand(leading).flatten().tolist()
        self.v = [np.zeros(self.shape[-1], matrix.dtype) for _ in self.gammas]

    def improve(self) -> list[Extremes]:
        """Back up every action of V; the extremes of each row of the batch."""
        self.q = [self.matrix @ v for v in self.v]
        for q, rewards, gamma in zip(self.q, self.rewards, self.gammas, strict=True):
            q *= gamma
            q += rewards
        self.best = [q.reshape(self.shape[-2:]).max(0) for q in self.q]
        changes = [best - v for best, v in zip(self.best, self.v, strict=True)]
        both = zip(changes, self.best, strict=True)
        return [tuple(float(x) for x in (d.min(), d.max(), best.min(), best.max())) for d, best in both]

    def evaluate(self, first: int, sweeps: int) -> None:
        """V <- TV, then `sweeps` backups along the best actions, whose rows [S, S] are read alone."""
        for number, v in enumerate(self.best):
            if sweeps:
                chosen = choose(self.q[number].reshape(self.shape[-2:]), v, first)
                chosen = chosen * len(v) + np.arange(len(v))
                rows, rewards = self.matrix[chosen], self.rewards[number][chosen]
                rows.data *= self.gammas[number]
            for _ in range(sweeps):
                v = rows @ v
                v += rewards
            self.v[number] = v

    def q_values(self) -> Tensor:
        """[..., S, A] of the last improvement."""
        return torch.from_numpy(np.stack(self.q)).reshape(self.shape).mT.contiguous().to(self.device)


def choose(columns: Any, best: Any, first: int) -> Any:
    """The best action of each state; of several equal ones the first, counting from `first` and around.

    Far from any reward all actions tie. Taking the same one in every improvement carries news in one direction only
    and costs a 200 × 200 grid up to six times the improvements, so the solver lets `first` go around.

    Args:
        columns: for each action the values [..., S], PyTorch or NumPy.
        best:    [..., S] their maximum.
        first:   where to start counting.
    Returns: [..., S] whole numbers.

    >>> columns = np.array([[1., 2.], [1., 3.], [0., 3.]])              # three actions, two states
    >>> [choose(columns, columns.max(0), first) for first in (0, 2)]
    [array([0, 1]), array([0, 2])]
    """
    around = [(first + action) % len(columns) for action in range(len(columns))]
    chosen = 0 * (columns[0] == best) + around[-1]  # whole numbers in both libraries
    for action in reversed(around[:-1]):
        chosen[columns[action] == best] = action
    return chosen
