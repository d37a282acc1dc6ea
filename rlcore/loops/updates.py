"""What did one update do? Advantages and targets, passes over rows, a guarded step down a loss, loops' records."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlcore import returns
from rlcore.loops.experience import Experience, bootstrapped


class Record(NamedTuple):
    """What one update did."""

    update: int  # from 1
    steps: int  # of the world, so far
    returns: Tensor  # [episodes] of those that finished in this batch, undiscounted; may be none
    kl: float  # KL(old‖new), nats, mean over the batch's observations
    entropy: float  # nats, of the old policy, mean over the batch's observations
    extra: dict[str, float]  # what only this loop has to tell


class Tally:
    """Adds up each row's rewards, over batches, and hands out the returns of the episodes that have finished."""

    def __init__(self) -> None:
        self.running: Tensor | float = 0.0

    def finished(self, lived: Experience) -> Tensor:
        """[episodes], in the order of steps."""
        done = []
        for rewards, over in zip(lived.rewards.T, (lived.ended | lived.cut_off).T, strict=True):
            self.running = self.running + rewards
            done.append(self.running[over])
            self.running = torch.where(over, 0, self.running)
        return torch.cat(done)


@torch.no_grad()
def judged(lived: Experience, critic: nn.Module, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages by GAE, and what the critic should have said: A + V. [B, T] each, without gradient."""
    rewards, discounts, values = bootstrapped(lived, critic, gamma)
    advantages = returns.gae(rewards, discounts, values, lam)
    return advantages, advantages + values[:, :-1]


def normalised(advantages: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the whole batch."""
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


def frozen(distribution):
    """The distribution as it is now, without gradient: a copy, since its numbers may be parameters that will change."""
    return type(distribution)(*(number.detach().clone() for number in distribution))


def passes(
    optimizer: torch.optim.Optimizer, count: int, batch: int, epochs: int, generator: torch.Generator
) -> Iterator[tuple[int, Tensor]]:
    """Deal out rows 0 to count − 1, each pass in a new order, and let the learning rate fall to nothing in a line.

    Yields: the step, from 1, and which rows it takes; the rate falls when the next is asked for.
    """
    picks = [some for _ in range(epochs) for some in torch.randperm(count, generator=generator).split(batch)]
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / len(picks), total_iters=len(picks))
    for step, picked in enumerate(picks, 1):
        yield step, picked
        schedule.step()


def descend(optimizer: torch.optim.Optimizer, update: int, max_norm: float, **losses: Tensor) -> None:
    """One step down the sum of the losses, gradient cut to max_norm.

    Raises: FloatingPointError naming the update and what is not finite, before any parameter has changed.
    """
    for name, loss in losses.items():
        if not torch.isfinite(loss):
            raise FloatingPointError(f"update {update}: {name} is {loss.item()}; the parameters are still good")
    optimizer.zero_grad()
    sum(losses.values()).backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    if not torch.isfinite(norm):
        optimizer.zero_grad()
        blamed = " + ".join(losses)
        raise FloatingPointError(
            f"update {update}: the gradient of {blamed} is {norm.item()}; the parameters are still good"
        )
    optimizer.step()
