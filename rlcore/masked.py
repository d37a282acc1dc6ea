"""What is it divided by? The denominators of a masked loss, each with a name.

A mask is boolean: True where the policy chose the token (EOS included; prompt and padding not). Whatever stands behind
a False mask, a NaN included, never reaches the result. Left out: weighted means, which are a product away.
"""

import torch
from torch import Tensor

from rlcore.shapes import need, positive


def mean_over_tokens(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all real tokens of the batch: a long sequence weighs more than a short one.

        Σ_bt m_bt x_bt / Σ_bt m_bt

    Args:
        x:    [B, T] any quantity per token.
        mask: [B, T] bool.
    Returns: scalar, in the units of x.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or no token is real.
    Source:  Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 8.

    >>> x, mask = torch.tensor([[1., 2.], [6., 9.]]), torch.tensor([[True, True], [True, False]])
    >>> mean_over_tokens(x, mask)                   # (1 + 2 + 6) / 3
    tensor(3.)
    """
    return _kept(x, mask).sum() / _count(mask)


def mean_over_sequences(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the per-sequence means: every sequence weighs the same, so a token of a long one weighs less.

        1/B Σ_b (Σ_t m_bt x_bt / Σ_t m_bt)

    Args:
        x:    [B, T] any quantity per token.
        mask: [B, T] bool, at least one True in every row.
    Returns: scalar, in the units of x.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or a sequence has no real token.
    Source:  Shao et al. 2024 (GRPO), arXiv:2402.03300, eq. 3.

    >>> x, mask = torch.tensor([[1., 2.], [6., 9.]]), torch.tensor([[True, True], [True, False]])
    >>> mean_over_sequences(x, mask)                # (1.5 + 6) / 2
    tensor(3.7500)
    """
    kept = _kept(x, mask)
    empty = (~mask.any(-1)).nonzero()
    if len(empty):
        raise ValueError(f"mask has no True in sequence {empty[0].item()}, expected at least one real token in each")
    return (kept.sum(-1) / mask.sum(-1)).mean()


def sum_over_constant(x: Tensor, mask: Tensor, constant: float) -> Tensor:
    """Sum over real tokens divided by B times a constant: a token weighs the same whatever the lengths are.

        Σ_bt m_bt x_bt / (B · constant)

    Args:
        x:        [B, T] any quantity per token.
        mask:     [B, T] bool.
        constant: tokens, above 0; usually the longest length allowed.
    Returns: scalar, in the units of x.
    Raises:  ValueError when the shapes disagree, the mask is not boolean or empty, or constant is not above 0.
    Source:  Liu et al. 2025 (Dr. GRPO), arXiv:2503.20783, Listing 1.

    >>> x, mask = torch.tensor([[1., 2.], [6., 9.]]), torch.tensor([[True, True], [True, False]])
    >>> sum_over_constant(x, mask, constant=2)      # 9 / (2 · 2)
    tensor(2.2500)
    """
    positive(constant=constant)
    kept = _kept(x, mask)
    _count(mask)
    return kept.sum() / (len(x) * constant)


def _kept(x: Tensor, mask: Tensor) -> Tensor:
    need(x=(x, "B T"), mask=(mask, "B T"))
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    return torch.where(mask, x, torch.zeros_like(x))  # not x * mask: 0 · NaN is NaN


def _count(mask: Tensor) -> Tensor:
    if not mask.any():
        raise ValueError(f"mask of shape {list(mask.shape)} has no True, expected at least one real token")
    return mask.sum()
