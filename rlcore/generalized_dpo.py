"""What if the loss, or the divergence, is another? GPO: any convex function of the margin. f-DPO: any f-divergence.

DPO is one point of both families: the logistic function, and the reverse KL. Losses are [B], unreduced and to be
minimised. A log ratio is log π/π_ref of a whole reply, in nats. Left out: the margin itself, and named losses (dpo).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad
from torch.nn.functional import logsigmoid

from rlcore.shapes import finite, need, positive, within

Number = float | Tensor
Function = Callable[[Tensor], Tensor]


def gpo_loss(margin: Tensor, beta: Number, f: Function) -> Tensor:
    """GPO: a convex function of the scaled margin that falls at 0. Its tail says when a pair stops to count.

        L = f(β h)

    `logistic` is DPO, `hinge` is the rank loss of SLiC and RSO, and `squared` is β² times IPO at τ = β/2.

    Args:
        margin: [B] h, nats: dpo.margin.
        beta:   above 0.
        f:      convex, with f'(0) < 0, elementwise; below: logistic, hinge, squared, exponential, squared_hinge.
    Returns: [B], in the units of f.
    Raises:  ValueError when margin is not [B] or not finite, beta is not above 0, or f does not fall at 0.
    Source:  Tang et al. 2024, arXiv:2402.05749, "GPO" and its table of convex functions.

    >>> gpo_loss(torch.tensor([2.]), beta=0.1, f=logistic), gpo_loss(torch.tensor([2.]), beta=0.1, f=hinge)
    (tensor([0.5981]), tensor([0.8000]))
    """
    _door(margin, beta)
    slope = grad(f)(torch.zeros((), dtype=torch.float64)).item()
    if not slope < 0:
        raise ValueError(f"f has slope {slope:.6g} at 0, expected below 0: the chosen reply is to gain")
    return f(beta * margin)


def gpo_taylor(margin: Tensor, beta: Number, f: Function) -> Tensor:
    """GPO near the reference, to second order: first "more margin", then a squared loss that pulls back, whatever f is.

        f(0) + f'(0) β h + ½ f''(0) (β h)²

    Over pairs drawn from the reference the mean of h² is, to this order, 4 KL(π‖π_ref): the hidden regularisation.

    Args, Raises: as `gpo_loss`; f with two derivatives at 0.
    Returns: [B].
    Source:  Tang et al. 2024, arXiv:2402.05749, the expansion that compares it with a KL penalty.

    >>> gpo_taylor(torch.tensor([0., 2.]), beta=0.1, f=squared)                      # exact: (0.2 − 1)²
    tensor([1.0000, 0.6400])
    """
    _door(margin, beta)
    zero = torch.zeros((), dtype=margin.dtype, device=margin.device)
    scaled = beta * margin
    return f(zero) + grad(f)(zero) * scaled + grad(grad(f))(zero) * scaled**2 / 2


def logistic(x: Tensor) -> Tensor:
    """f(x) = log(1 + e⁻ˣ): DPO. Never flat, so the margin never stops."""
    return -logsigmoid(x)


def hinge(x: Tensor) -> Tensor:
    """f(x) = max(0, 1 − x): flat beyond 1, so the margin stops there."""
    return (1 - x).relu()


def squared(x: Tensor) -> Tensor:
    """f(x) = (1 − x)²: IPO. A margin beyond 1 is pulled back."""
    return (1 - x) ** 2


def squared_hinge(x: Tensor) -> Tensor:
    """f(x) = max(0, 1 − x)²: smooth where the hinge has its corner."""
    return (1 - x).relu() ** 2


def exponential(x: Tensor) -> Tensor:
    """f(x) = e⁻ˣ: AdaBoost's. One wrong label with a large margin outweighs all others."""
    return (-x).exp()


def f_dpo_loss(chosen_log_ratios: Tensor, rejected_log_ratios: Tensor, beta: Number, score: Function) -> Tensor:
    """f-DPO: DPO for RLHF whose penalty is an f-divergence instead of the reverse KL.

        L = −log σ(β f'(π/π_ref (y_w)) − β f'(π/π_ref (y_l)))

    f is the convex function of kl.f_divergence, D_f = Σ π_ref f(π/π_ref). A constant in f' cancels.

    Args:
        chosen_log_ratios, rejected_log_ratios: [B] nats.
        beta:  above 0.
        score: f' as a function of the log ratio; below: reverse_kl_score (DPO), forward_kl_score,
               jensen_shannon_score, alpha_score(…).
    Returns: [B] nats.
    Raises:  ValueError when shapes disagree, a ratio or a score is not finite (f' of the forward KL overflows in
             float32 below −88 nats), or beta is not above 0.
    Source:  Wang et al. 2023, arXiv:2309.16240, "f-DPO". TRL and the official code are the same up to that constant.

    >>> both = torch.tensor([1.]), torch.tensor([-1.])
    >>> f_dpo_loss(*both, beta=0.1, score=forward_kl_score), f_dpo_loss(*both, beta=0.1, score=jensen_shannon_score)
    (tensor([0.5825]), tensor([0.6444]))
    """
    need(chosen_log_ratios=(chosen_log_ratios, "B"), rejected_log_ratios=(rejected_log_ratios, "B"))
    finite(chosen_log_ratios=chosen_log_ratios, rejected_log_ratios=rejected_log_ratios)
    positive(beta=beta)
    chosen, rejected = score(chosen_log_ratios), score(rejected_log_ratios)
    finite(**{"score of chosen_log_ratios": chosen, "score of rejected_log_ratios": rejected})
    return -logsigmoid(beta * (chosen - rejected))


def reverse_kl_score(log_ratios: Tensor) -> Tensor:
    """f'(u) = log u + 1, less its constant: the log ratio itself, as in DPO. For KL(policy‖ref)."""
    return log_ratios


def forward_kl_score(log_ratios: Tensor) -> Tensor:
    """f'(u) = −1/u: falls ever faster where the policy drops a reply, and is bounded above. For KL(ref‖policy).

    TRL adds 1, which cancels.
    """
    return -(-log_ratios).exp()


def jensen_shannon_score(log_ratios: Tensor) -> Tensor:
    """f'(u) = log(2u / (1 + u)): bounded above by log 2, and the log ratio far below 0. For 2 · Jensen–Shannon."""
    return math.log(2) + logsigmoid(log_ratios)


def alpha_score(alpha: float) -> Function:
    """f'(u) = (1 − u^−α) / α: between reverse KL (α → 0) and forward KL (α → 1), up to a constant.

    The paper's α, and that of TRL's older releases. In newer ones f_alpha_divergence_coef is 1 − α: f' is
    (u^(c−1) − 1) / (c − 1).

    Raises: ValueError when alpha is not inside (0, 1).

    >>> alpha_score(0.5)(torch.tensor([4.]).log())                                   # (1 − ½) / ½
    tensor([1.])
    """
    within(0, 1, alpha=alpha)
    if alpha in (0, 1):
        raise ValueError(f"alpha is {alpha}, expected inside (0, 1); its ends: reverse_kl_score, forward_kl_score")
    return lambda log_ratios: -torch.expm1(-alpha * log_ratios) / alpha


def _door(margin: Tensor, beta: Number) -> None:
    need(margin=(margin, "B"))
    finite(margin=margin)
    positive(beta=beta)
