"""What stands in the table here? Reading entries and checking indices, for td and bandit; k-step targets, for returns.

Leading axes are independent learners. Left out: writing, which the updates do in plain sight.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlcore.shapes import finite, need, positive, within

Number = float | Tensor


def entries(table: Tensor, **index: Tensor) -> Tensor:
    """The entries of table [..., S] at index [..., K], whose name comes into the error.

    >>> entries(torch.tensor([[5.0, 6.0]]), states=torch.tensor([[1, 1, 0]]))
    tensor([[6., 6., 5.]])
    """
    exist(table.shape[-1], **index)
    return table.gather(-1, next(iter(index.values())))


def next_rows(q: Tensor, discounts: Tensor, next_states: Tensor) -> tuple[Tensor, Tensor]:
    """Q(s', ·) [..., A], zeros where the episode ended; and where it did not [...]."""
    need(q=(q, "... S A"))
    like(q.shape[:-2], discounts=discounts, next_states=next_states)
    alive = alive_at(discounts)
    index = hide(alive, next_states)
    exist(q.shape[-2], next_states=index)
    index = index[..., None, None].expand(*index.shape, 1, q.shape[-1])
    return hide(alive[..., None], q.gather(-2, index)[..., 0, :]), alive


def td_error(old: Tensor, rewards: Tensor, discounts: Tensor, following: Tensor, name: str) -> Tensor:
    """rewards + discounts · following − old, once all of them are known to be finite."""
    finite(rewards=rewards, **{f"{name} at states": old, f"{name} at next_states": following})
    return rewards + discounts * following - old


def hide(keep: Tensor, x: Tensor) -> Tensor:
    """x where keep, else 0, whatever stood there."""
    return torch.where(keep, x, torch.zeros_like(x))  # not x * keep: 0 · NaN is NaN


def k_step_targets(rewards: Tensor, discounts: Tensor, values: Tensor, k: int) -> Tensor:
    """k rewards, then the value of where they led; fewer where the row stops before. Checks nothing.

    Args:
        rewards, discounts: [..., T].
        values:             [..., T+1].
    Returns: [..., T]; nothing behind a discount of 0 reaches back over it, a NaN included.

    >>> rewards, values = torch.tensor([1.0, 2.0]), torch.tensor([9.0, 9.0, 16.0])
    >>> k_step_targets(rewards, torch.tensor([0.5, 0.5]), values, k=1)          # 1 + ½ · 9, 2 + ½ · 16
    tensor([ 5.5000, 10.0000])
    """
    goes_on, targets = discounts != 0, values
    for _ in range(min(k, rewards.shape[-1])):  # each backup looks one step further
        backed_up = rewards + discounts * hide(goes_on, targets[..., 1:])
        targets = torch.cat([backed_up, values[..., -1:]], -1)
    return targets[..., :-1]


def alive_at(discounts: Tensor) -> Tensor:
    """Where the episode goes on: the discount is not 0."""
    within(0, 1, discounts=discounts)
    return discounts > 0


def boolean(mask: Tensor) -> Tensor:
    """The mask, once it is known to be boolean."""
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    return mask


def rate(leading: torch.Size, lr: Number, table: Tensor) -> Tensor:
    """A learning rate above 0, one for each learner."""
    positive(lr=lr)
    return per_learner(leading, table, lr=lr)


def per_learner(leading: torch.Size, table: Tensor, **number: Number) -> Tensor:
    """One number for all learners, or one for each, as [...] in the table's dtype."""
    ((name, value),) = number.items()
    value = torch.as_tensor(value, dtype=table.dtype, device=table.device)
    if value.ndim and value.shape != leading:
        raise ValueError(f"{name} has shape {list(value.shape)}, expected one number, or {list(leading)}")
    return value.expand(leading)


def like(shape: Sequence[int], **tensors: Tensor) -> None:
    """Raise where a tensor has not exactly this shape.

    >>> like([2], states=torch.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: states has shape [3], expected [2]
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"{name} is {tensor!r} ({type(tensor).__name__}), expected a tensor of shape {list(shape)}"
            )
        if list(tensor.shape) != list(shape):
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")


def exist(size: int, **index: Tensor) -> None:
    """Raise where an index is no whole number from 0 to size − 1.

    >>> exist(2, actions=torch.tensor([0, 2]))
    Traceback (most recent call last):
    ...
    ValueError: actions holds 2, expected whole numbers from 0 to 1
    """
    for name, tensor in index.items():
        if tensor.dtype is not torch.int64:
            raise ValueError(f"{name} has dtype {tensor.dtype}, expected torch.int64")
        bad = tensor[(tensor < 0) | (tensor >= size)]
        if len(bad):
            raise ValueError(f"{name} holds {bad[0].item()}, expected whole numbers from 0 to {size - 1}")
