"""Which old step is learned from again? A memory per learner, the oldest steps overwritten when it is full.

Left out: priorities.
"""

import torch
from torch import Tensor


class Memory:
    """The latest transitions of L learners.

    Args:
        learners: L.
        capacity: transitions that each of them remembers, at least 1.
    Source: Lin 1992; Mnih et al. 2013, arXiv:1312.5602, algorithm 1.
    """

    def __init__(self, learners: int, capacity: int):
        self.capacity, self.counts = capacity, torch.zeros(learners, dtype=torch.int64)  # [L] stored ever
        self.rows, self.columns = torch.arange(learners), {}

    def add(self, keep: Tensor, **step: Tensor) -> None:
        """Remember one transition (named tensors [L]) for every learner where keep [L] is True."""
        slot = self.counts % self.capacity
        for name, value in step.items():
            if name not in self.columns:
                self.columns[name] = value.new_zeros(len(self.rows), self.capacity)
            column = self.columns[name]
            column[self.rows, slot] = torch.where(keep, value, column[self.rows, slot])
        self.counts = self.counts + keep

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One remembered transition of each learner, all equally likely: named tensors [L].

        Raises: ValueError when a learner remembers nothing yet.
        """
        held = self.counts.clamp(max=self.capacity)
        if not held.all():
            raise ValueError(f"learner {int(held.argmin())} remembers nothing, expected add before draw")
        chance = torch.rand(len(self.rows), generator=generator, dtype=torch.float64)
        slot = (chance * held).long()
        return {name: column[self.rows, slot] for name, column in self.columns.items()}
