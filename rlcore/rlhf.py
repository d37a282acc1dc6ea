"""What is a reply's token paid? From one score per reply, and a price on leaving the reference, to rewards per token.

Feed them to `returns.gae` with `discounts`. Left out: the scores, which a reward model gives, and the update, which is
PPO's, in trust_region.
"""

import torch
from torch import Tensor

from rlcore.shapes import finite, need, positive, whole, within


def token_rewards(scores: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Every token pays for leaving the reference; the reply's last token earns the score.

        r_t = −β (log π(y_t | x, y_<t) − log π_ref(y_t | x, y_<t)) + 1[t is the last] score

    They add up to score − β log(π(y|x) / π_ref(y|x)), whose mean over replies is E[score] − β KL(policy‖ref).

    Args:
        scores:          [B] in units of reward.
        logps:           [B, T] nats, of the policy that drew the tokens.
        ref_logps:       [B, T] nats, of the reference.
        mask:            [B, T] bool, True where the policy chose the token: EOS yes, padding no; one stretch from the
                         left, at least one token.
        beta:            0 or more, in units of reward per nat.
    Returns: [B, T] in units of reward, 0 behind the mask; constants, without gradient.
    Raises:  ValueError when shapes disagree, a score is not finite, a row has no token or a gap, or beta is below 0.
    Source:  Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Ouyang et al. 2022, arXiv:2203.02155, eq. 2.

    >>> mask = torch.tensor([[True, True, False]])
    >>> token_rewards(torch.tensor([1.]), torch.tensor([[-1., -1., 0.]]), torch.tensor([[-1., -3., 0.]]), mask, 0.1)
    tensor([[0.0000, 0.8000, 0.0000]])
    """
    need(logps=(logps, "B T"), ref_logps=(ref_logps, "B T"), mask=(mask, "B T"), scores=(scores, "B"))
    finite(scores=scores)
    within(0, float("inf"), beta=beta)
    lengths = _lengths(mask)
    price = torch.where(mask, beta * (ref_logps - logps), 0)
    return price.detach().scatter_add(1, lengths[:, None] - 1, scores.detach().to(price)[:, None])


def discounts(mask: Tensor) -> Tensor:
    """1 within a reply, 0 at its last token and behind it: a token later is worth no less, and nothing follows EOS.

    Args:
        mask: [B, T] bool, as in `token_rewards`.
    Returns: [B, T] float32.

    >>> discounts(torch.tensor([[True, True, True, False]]))
    tensor([[1., 1., 0., 0.]])
    """
    need(mask=(mask, "B T"))
    lengths = _lengths(mask)
    return (torch.arange(mask.shape[1], device=mask.device) < lengths[:, None] - 1).float()


def whitened(x: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the real tokens of the whole batch; 0 behind the mask.

    Args:
        x:    [B, T], for instance advantages; behind the mask anything, a NaN included.
        mask: [B, T] bool, at least two True.
    Returns: [B, T] without units; all 0 where every real entry is the same.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or fewer than two tokens are real.
    Source:  Ziegler et al. 2019, code of arXiv:1909.08593 (`whiten`), divided by n − 1.

    >>> whitened(torch.tensor([[1., 3., 99.]]), torch.tensor([[True, True, False]]))
    tensor([[-0.7071, 0.7071, 0.0000]])
    """
    need(x=(x, "B T"), mask=(mask, "B T"))
    _boolean(mask)
    if mask.sum() < 2:
        raise ValueError(f"mask has {int(mask.sum())} True, expected at least 2 real tokens to have a spread")
    real = x[mask]
    spread = real.std()
    scaled = (real - real.mean()) / spread if spread > 0 else torch.zeros_like(real)
    return torch.zeros_like(x).masked_scatter(mask, scaled)


def proportional_beta(beta: float, kl: float, target: float, gain: float) -> float:
    """The next price on KL, from how far the last batch was from the target: a proportional controller on log β.

        β (1 + gain · clip(kl / target − 1, −0.2, 0.2))

    Args:
        beta:   above 0, in units of reward per nat.
        kl:     nats per reply, estimated on the last batch; may be below 0.
        target: nats per reply, above 0.
        gain:   above 0; 0.1 in the paper, for every batch.
    Returns: the next beta.
    Raises:  ValueError when beta, target or gain is not above 0, or kl is not finite.
    Source:  Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

    >>> proportional_beta(0.1, kl=6.6, target=6.0, gain=0.5)                               # ten percent too far
    0.105
    """
    positive(beta=beta, target=target, gain=gain)
    finite(kl=torch.as_tensor(kl))
    return round(beta * (1 + gain * min(max(kl / target - 1, -0.2), 0.2)), 12)


def best_of_n_kl(n: int) -> float:
    """KL(best of n‖one draw): what choosing the best of n draws costs, if no two draws have the same score.

        log n − (n − 1) / n

    With few different replies it is an upper bound.

    Args: n, draws, at least 1.
    Returns: nats.
    Raises:  ValueError when n is no whole number above 0.
    Source:  Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; bound: Beirami et al. 2024, arXiv:2401.01879.

    >>> round(best_of_n_kl(4), 4)
    0.6363
    """
    whole(1, n=n)
    return torch.tensor(n, dtype=torch.float64).log().item() - (n - 1) / n


def _lengths(mask: Tensor) -> Tensor:
    """[B] real tokens of each reply, once every row is known to have some, without a gap."""
    _boolean(mask)
    lengths = mask.sum(1)
    empty = (lengths == 0).nonzero()
    if len(empty):
        raise ValueError(f"mask has no True in row {empty[0].item()}, expected a token there to earn the score")
    gap = (mask[:, 1:] & ~mask[:, :-1]).any(1).nonzero()
    if len(gap):
        raise ValueError(f"mask has a gap in row {gap[0].item()}, expected real tokens first and padding behind them")
    return lengths


def _boolean(mask: Tensor) -> None:
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
