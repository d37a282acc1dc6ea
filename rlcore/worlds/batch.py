"""What do many worlds at once tell a loop? One step of every row, an episode's end or its cut-off, and a new start.

Left out: what moves (see rlcore/worlds/control.py), and keeping what was seen.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlcore.shapes import whole


class Step(NamedTuple):
    """What one step of B rows gave.

    Args:
        rewards: [B]    received for the step.
        after:   [B, D] observed after the action, before a new episode begins.
        ended:   [B]    True where the state reached is terminal: nothing comes after it, its value is 0.
        cut_off: [B]    True where only time was up: the state reached still has a value. Never True where `ended` is.
    """

    rewards: Tensor
    after: Tensor
    ended: Tensor
    cut_off: Tensor


class Batch:
    """B independent rows of one world. A row whose episode is over starts anew by itself, within the same step.

    A world says in a subclass what its rows do: `_check(actions)`, `_start(rows)` → states, `_move(states, actions)` →
    (states, rewards, ended) and, where the state is not what is seen, `_observe(states)`.

    Args:
        rows:      B, number of worlds side by side, at least 1.
        generator: source of all randomness, on any device: numbers are drawn there, then moved.
        limit:     steps after which an episode is cut off, at least 1.
        device:    of every tensor.
        dtype:     of states, observations and rewards. The draws do not depend on it.
    Raises: ValueError when rows or limit is not a whole number, 1 or more.

    `states` [B, …], `observations` [B, D] and `counts` [B], the steps taken in the present episode, are replaced by a
    step, never written into: what a loop has kept stays as it was.
    """

    def __init__(self, rows: int, generator: torch.Generator, limit: int, device="cpu", dtype=torch.float32):
        whole(1, rows=rows, limit=limit)
        self.rows, self.generator, self.limit = rows, generator, limit
        self.device, self.dtype = torch.device(device), dtype
        self.counts = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.states = self._start(rows)
        self.observations = self._observe(self.states)

    @torch.no_grad()
    def step(self, actions: Tensor) -> Step:
        """Let every row act once.

        Args:
            actions: one per row, as the world's class says.
        Returns: Step. Afterwards `observations` shows the new start of the rows whose episode is over.
        Raises:  ValueError when actions has another shape or dtype, or holds what is no action.
        """
        self._check(actions)
        self.states, rewards, ended = self._move(self.states, actions)
        after = self.observations = self._observe(self.states)
        self.counts = self.counts + 1
        late = self.counts >= self.limit
        over = (ended | late).nonzero().squeeze(1)  # row numbers
        if len(over):
            self.states = self.states.index_copy(0, over, self._start(len(over)))
            self.counts = self.counts.index_fill(0, over, 0)
            self.observations = self._observe(self.states)
        return Step(rewards, after, ended, late & ~ended)

    def _observe(self, states: Tensor) -> Tensor:
        return states

    def _uniform(self, rows: int, *reach: float) -> Tensor:
        """Numbers [rows, len(reach)], uniform between −reach and reach."""
        where = self.generator.device
        unit = torch.empty(rows, len(reach), dtype=torch.float64, device=where)
        unit.uniform_(-1, 1, generator=self.generator)
        return (unit * torch.tensor(reach, dtype=torch.float64, device=where)).to(self.device, self.dtype)
