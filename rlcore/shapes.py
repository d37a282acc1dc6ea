"""What is this tensor? Checks at the door: named axes, finite numbers, probabilities, ranges.

Every check raises a `ValueError` that names the variable, says what it is, and what was expected. Nothing is repaired.
Left out: dtypes and devices, which PyTorch reports well by itself.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

_AXIS = re.compile(r"(?P<name>[A-Za-z_]\w*)?(?P<number>[+-]?\d+)?")


def need(**tensors: tuple[Tensor, str]) -> dict[str, int]:
    """Check named axes across several tensors and return the size of every axis.

    A shape is written as axis names apart by spaces. `T+1` is one longer than `T`, a number is itself, and a leading
    `...` admits any leading (batch) axes.

    Args:
        tensors: name=(tensor, shape), for instance rewards=(rewards, "B T").
    Returns: the size of each axis by name.
    Raises:  ValueError naming the first tensor that does not fit.

    >>> rewards, values = torch.zeros(2, 3), torch.zeros(2, 4)
    >>> need(rewards=(rewards, "B T"), values=(values, "B T+1"))
    {'B': 2, 'T': 3}
    >>> need(rewards=(rewards, "B T"), values=(rewards, "B T+1"))
    Traceback (most recent call last):
    ...
    ValueError: values has shape [2, 3], expected [B, T+1] with B=2, T=3: axis T+1 should be 4, it is 3
    """
    sizes: dict[str, int] = {}
    for name, (tensor, spec) in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is {_kind(tensor)}, expected a tensor of shape [{_pretty(spec)}]")
        _match(name, tensor, spec.split(), sizes)
    return sizes


def axes(shape: Iterable[int]) -> str:
    """A shape the way `need` reads it.

    >>> axes([2, 3])
    '2 3'
    """
    return " ".join(map(str, shape))


def beside(**pair: Tensor) -> None:
    """Raise unless the second tensor has the axes of the first, or size 1 where it is the same along an axis.

    A bare [B] beside [B, T] is refused: where B = T it would be broadcast along the wrong axis, silently.

    >>> beside(logps=torch.zeros(2, 3), advantages=torch.zeros(2)[:, None])
    >>> beside(logps=torch.zeros(2, 2), advantages=torch.zeros(2))
    Traceback (most recent call last):
    ...
    ValueError: advantages has shape [2], expected [2, 2]: 2 axes, it has 1
    """
    need(**{name: (tensor, "...") for name, tensor in pair.items()})
    (_, first), (name, second) = pair.items()
    shared = [1 if own == 1 else size for own, size in zip(second.shape, first.shape, strict=False)]
    need(**{name: (second, axes(shared if second.ndim == first.ndim else first.shape))})


def _match(name: str, tensor: Tensor, axes: list[str], sizes: dict[str, int]) -> None:
    shape, leading = list(tensor.shape), axes[:1] == ["..."]
    axes = axes[1:] if leading else axes
    head = f"{name} has shape {shape}, expected [{', '.join(['...'] * leading + axes)}]"
    if len(shape) < len(axes) or (not leading and len(shape) > len(axes)):
        raise ValueError(f"{head}: {len(axes)} axes{' at least' * leading}, it has {len(shape)}")
    for axis, size in zip(axes, shape[len(shape) - len(axes) :], strict=True):
        parts = _AXIS.fullmatch(axis)
        label, number = parts["name"], int(parts["number"] or 0)
        if label and label not in sizes:
            sizes[label] = size - number
            continue
        expected = number + (sizes[label] if label else 0)
        if size != expected:
            known = ", ".join(f"{k}={v}" for k, v in sizes.items())
            raise ValueError(f"{head}{f' with {known}' * bool(known)}: axis {axis} should be {expected}, it is {size}")


def finite(**tensors: Tensor) -> None:
    """Raise where a tensor holds NaN or infinity.

    >>> finite(rewards=torch.tensor([0.0, float("nan")]))
    Traceback (most recent call last):
    ...
    ValueError: rewards holds nan at index [1], expected finite numbers
    """
    for name, tensor in tensors.items():
        values = tensor.values() if tensor.layout is torch.sparse_csr else tensor
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            where = bad[0].tolist()
            raise ValueError(f"{name} holds {values[tuple(where)].item()} at index {where}, expected finite numbers")


def within(low: float, high: float, **numbers: float | Tensor) -> None:
    """Raise where a number, or any entry of a tensor, lies outside [low, high].

    >>> within(0, 1, gamma=1.2)
    Traceback (most recent call last):
    ...
    ValueError: gamma is 1.2, expected a number in [0, 1]
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float | Tensor):
            raise ValueError(f"{name} is {_kind(number)}, expected a number in [{low:g}, {high:g}]")
        values = torch.as_tensor(number, dtype=torch.float64).flatten()
        bad = values[~((values >= low) & (values <= high))]
        if len(bad):
            raise ValueError(f"{name} is {bad[0].item():.6g}, expected a number in [{low:g}, {high:g}]")


def positive(**numbers: float | Tensor) -> None:
    """Raise where a number, or any entry of a tensor, is not above zero and finite.

    >>> positive(beta=0.0)
    Traceback (most recent call last):
    ...
    ValueError: beta is 0, expected a finite number above 0
    """
    for name, number in numbers.items():
        values = torch.as_tensor(number, dtype=torch.float64).flatten()
        bad = values[~((values > 0) & torch.isfinite(values))]
        if len(bad):
            raise ValueError(f"{name} is {bad[0].item():.6g}, expected a finite number above 0")


def whole(least: int, **numbers: int) -> None:
    """Raise where a number is not whole, or below the least.

    >>> whole(1, steps=0)
    Traceback (most recent call last):
    ...
    ValueError: steps is 0, expected a whole number, 1 or more
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(f"{name} is {number!r}, expected a whole number, {least} or more")


def probabilities(**tensors: Tensor) -> None:
    """Raise where the last axis of a tensor is not a probability distribution (to 1e-4 in float32, 1e-8 in float64).

    >>> probabilities(policy=torch.tensor([[0.5, 0.5], [0.5, 0.6]]))
    Traceback (most recent call last):
    ...
    ValueError: policy sums to 1.1 at row [1], expected 1
    """
    for name, tensor in tensors.items():
        finite(**{name: tensor})
        negative = (tensor < 0).nonzero()
        if len(negative):
            where = negative[0].tolist()
            raise ValueError(f"{name} is {tensor[tuple(where)].item():.6g} at index {where}, expected 0 or more")
        total = tensor.sum(-1)
        tolerance = 1e-8 if tensor.dtype is torch.float64 else 1e-4
        bad = ((total - 1).abs() > tolerance).nonzero()
        if len(bad) or (total.ndim == 0 and abs(total.item() - 1) > tolerance):
            where = bad[0].tolist() if len(bad) else []
            raise ValueError(f"{name} sums to {total[tuple(where)].item():.6g} at row {where}, expected 1")


def _pretty(spec: str) -> str:
    return ", ".join(spec.split())


def _kind(value: object) -> str:
    shown = isinstance(value, int | float | str | None)
    return f"{value!r} ({type(value).__name__})" if shown else type(value).__name__
