"""What if what you see now does not say what to do? A cue, a corridor, and a junction where the cue is needed.

Batched, as worlds.batch says. Left out: walking back, and what remembers (the chapter's tables and networks).
"""

import torch
from torch import Tensor

from rlcore.shapes import whole
from rlcore.worlds.batch import Batch

CUE_LEFT, CUE_RIGHT, CORRIDOR, JUNCTION = range(4)
LEFT, RIGHT = 0, 1


class Memory(Batch):
    """A T-maze without detours: a cue at first, then a corridor where all cells look alike, then a junction.

    Every action leads one cell further. At the junction the action that the cue named pays 1, the other one 0, and the
    episode ends. So the cue has to be remembered for `corridor` + 1 steps; whoever sees only the present cell is right
    half of the time.

    Args:
        rows:      B.
        corridor:  cells between cue and junction, 0 or more.
        generator: draws the cues, each with chance ½.
        device, dtype: of observations and rewards.
    Raises: ValueError when corridor is no whole number, or an action is neither 0 nor 1.
    Source: after Bakker 2001, "Reinforcement learning with long short-term memory"; Hochreiter & Schmidhuber 1997.

    `observations` [B, 4] are one-hot: cue left, cue right, corridor, junction. `codes` [B] are the same as integers.

    >>> world = Memory(rows=2, corridor=1, generator=torch.Generator().manual_seed(4))
    >>> seen = []
    >>> for _ in range(3):
    ...     cue = world.codes if not seen else cue
    ...     seen.append(world.codes.tolist())
    ...     step = world.step(cue)                  # do what the cue said
    >>> seen, step.rewards.tolist(), step.ended.tolist()
    ([[0, 1], [2, 2], [3, 3]], [1.0, 1.0], [True, True])
    """

    def __init__(self, rows: int, corridor: int, generator: torch.Generator, device="cpu", dtype=torch.float32):
        whole(0, corridor=corridor)
        self.corridor = corridor
        super().__init__(rows, generator, limit=corridor + 2, device=device, dtype=dtype)

    @property
    def codes(self) -> Tensor:
        """What is seen now as integers [B]: 0 cue left, 1 cue right, 2 corridor, 3 junction."""
        return self.observations.argmax(-1)

    def _start(self, rows: int) -> Tensor:
        cues = (self._uniform(rows, 1.0)[:, 0] > 0).long()
        return torch.stack([cues, torch.zeros_like(cues)], 1)  # the cue, the place

    def _check(self, actions: Tensor) -> None:
        if list(actions.shape) != [self.rows] or actions.dtype is not torch.int64:
            raise ValueError(
                f"actions has shape {list(actions.shape)} and dtype {actions.dtype}, expected [{self.rows}] int64"
            )
        bad = actions[(actions < 0) | (actions > 1)]
        if len(bad):
            raise ValueError(f"actions holds {bad[0].item()}, expected 0 (left) or 1 (right)")

    def _move(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cues, places = states.unbind(1)
        ended = places == self.corridor + 1
        rewards = (ended & (actions == cues)).to(self.dtype)
        return torch.stack([cues, (places + 1).clamp(max=self.corridor + 1)], 1), rewards, ended

    def _observe(self, states: Tensor) -> Tensor:
        cues, places = states.unbind(1)
        codes = torch.where(places == 0, cues, torch.where(places > self.corridor, JUNCTION, CORRIDOR))
        return torch.nn.functional.one_hot(codes, 4).to(self.dtype)
