"""How does feedback on single replies train a policy: good or bad, a number, or only what not to say?

A log ratio is log π/π_ref of a whole reply, in nats: sum over its tokens of policy minus reference. Losses are [B], one
per reply, unreduced and to be minimised. Left out: pairs (dpo), lists (rankings), and drawing replies.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlcore.shapes import finite, need, positive, within

Number = float | Tensor


def kto_loss(
    log_ratios: Tensor,
    desirable: Tensor,
    reference_point: Number,
    beta: Number,
    weight_desirable: float,
    weight_undesirable: float,
) -> Tensor:
    """KTO: a reply has value by how far it is on the right side of a reference point, with diminishing returns.

        L = λ_D (1 − σ(β (ρ − z)))   where desirable,     L = λ_U (1 − σ(β (z − ρ)))   where not,     ρ = log π/π_ref

    The gradient is largest at ρ = z and dies on both sides: what is hopelessly wrong is given up, unlike in DPO.

    Args:
        log_ratios:      [B] ρ, nats.
        desirable:       [B] bool.
        reference_point: z, nats, 0 or more, a number or []: kto_reference_point. No gradient flows through it.
        beta:            above 0.
        weight_desirable, weight_undesirable: λ_D and λ_U, above 0; λ_D n_D / (λ_U n_U) from 1 to 4/3 is advised.
    Returns: [B] in units of value, from 0 to the weight.
    Raises:  ValueError when shapes disagree, a ratio is not finite, desirable is not boolean, or a number out of range.
    Source:  Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7, and eq. 8 for the weights.

    >>> log_ratios, desirable = torch.tensor([2., 2.]), torch.tensor([True, False])
    >>> kto_loss(log_ratios, desirable, reference_point=0., beta=0.5, weight_desirable=1., weight_undesirable=2.)
    tensor([0.2689, 1.4621])
    """
    _labelled(log_ratios, desirable)
    positive(beta=beta, weight_desirable=weight_desirable, weight_undesirable=weight_undesirable)
    reference_point = _detached(reference_point=reference_point)
    within(0, math.inf, reference_point=reference_point)
    value = beta * (log_ratios - reference_point)
    return torch.where(desirable, weight_desirable * (-value).sigmoid(), weight_undesirable * value.sigmoid())


def kto_reference_point(mismatched_log_ratios: Tensor) -> Tensor:
    """KTO's z, from prompts with the replies of *other* prompts in the batch; cut at 0, as a KL is.

        z = max(0, mean log π(y'|x)/π_ref(y'|x))

    It stands for KL(π‖π_ref), but y' is not drawn from π(·|x), so it is no estimate of it: biased, and cheap.

    Args:
        mismatched_log_ratios: [B] nats, of x_i with y_j, j ≠ i. The replies' own ratios would move z with the data.
    Returns: [] nats, 0 or more, without gradient.
    Raises:  ValueError when there are none, or one is not finite.
    Source:  Ethayarajh et al. 2024, arXiv:2402.01306, the KL estimate of section 4; HALOs and TRL do the same.

    >>> kto_reference_point(torch.tensor([1., 2.])), kto_reference_point(torch.tensor([-3., 1.]))
    (tensor(1.5000), tensor(0.))
    """
    _ratios(mismatched_log_ratios=mismatched_log_ratios)
    if len(mismatched_log_ratios) < 1:
        raise ValueError("mismatched_log_ratios is empty, expected at least 1")
    return mismatched_log_ratios.detach().mean().clamp(min=0)


def bco_loss(log_ratios: Tensor, desirable: Tensor, shift: Number, beta: Number) -> Tensor:
    """BCO: a classifier of good and bad replies, whose logit is the implicit reward above a shift.

        L = −log σ(β ρ − δ)   where desirable,     L = −log σ(δ − β ρ)   where not

    Args:
        log_ratios: [B] ρ, nats.
        desirable:  [B] bool.
        shift:      δ in units of reward, after β, a number or []: bco_shift. No gradient flows through it.
        beta:       above 0.
    Returns: [B] nats.
    Raises:  ValueError when shapes disagree, a number is not finite, desirable is not boolean, or beta not above 0.
    Source:  Jung et al. 2024, arXiv:2404.04656, "BCO" with reward shift.

    >>> bco_loss(torch.tensor([2., 2.]), torch.tensor([True, False]), shift=0., beta=0.5)
    tensor([0.3133, 1.3133])
    """
    _labelled(log_ratios, desirable)
    positive(beta=beta)
    logits = beta * log_ratios - _detached(shift=shift)
    return -logsigmoid(torch.where(desirable, logits, -logits))


def bco_shift(log_ratios: Tensor, desirable: Tensor, beta: Number) -> Tensor:
    """BCO's δ: half-way between the mean implicit reward of good and of bad replies.

        δ = ½ (mean over good β ρ + mean over bad β ρ)

    TRL averages over all replies instead, the same where both kinds are equally many, and keeps a running mean.

    Args:
        log_ratios: [B] ρ, nats.
        desirable:  [B] bool, at least one True and one False.
        beta:       above 0.
    Returns: [] in units of reward, without gradient.
    Raises:  ValueError as `bco_loss`, and when one kind is missing.
    Source:  Jung et al. 2024, arXiv:2404.04656, "reward shift".

    >>> bco_shift(torch.tensor([4., 2., -1.]), torch.tensor([True, True, False]), beta=0.5)          # ½ (1.5 − 0.5)
    tensor(0.5000)
    """
    _labelled(log_ratios, desirable)
    positive(beta=beta)
    if desirable.all() or not desirable.any():
        raise ValueError("desirable is the same for all replies, expected at least one True and one False")
    rewards = beta * log_ratios.detach()
    return (rewards[desirable].mean() + rewards[~desirable].mean()) / 2


def dro_loss(log_ratios: Tensor, rewards: Tensor, values: Tensor, beta: Number) -> Tensor:
    """DRO-V: at the optimum of RLHF, reward = value + β log π/π_ref for every reply. The loss is what is missing.

        L = ½ (r − V(x) − β ρ)²

    Policy and value are trained together: their joint minimum is (π*, β log Z). The policy's gradient has a factor β,
    the value's has none.

    Args:
        log_ratios: [B] ρ, nats.
        rewards:    [B] r of the reply.
        values:     [B] V of the prompt, in units of reward, with its own gradient.
        beta:       τ in the paper, above 0.
    Returns: [B] reward squared.
    Raises:  ValueError when the shapes disagree, a number is not finite, or beta is not above 0.
    Source:  Richemond et al. 2024, arXiv:2405.19107, the loss of DRO-V.

    >>> dro_loss(torch.tensor([1.]), torch.tensor([1.]), torch.tensor([0.4]), beta=0.1)              # ½ · 0.5²
    tensor([0.1250])
    """
    need(log_ratios=(log_ratios, "B"), rewards=(rewards, "B"), values=(values, "B"))
    finite(log_ratios=log_ratios, rewards=rewards, values=values)
    positive(beta=beta)
    return (rewards - values - beta * log_ratios) ** 2 / 2


def npo_loss(log_ratios: Tensor, beta: Number) -> Tensor:
    """NPO: unlearn replies. DPO without the chosen one; its gradient dies once a reply has become unlikely enough.

        L = −2/β log σ(−β ρ),     ∂L/∂ρ = 2 σ(β ρ)

    As β → 0 the gradient is that of gradient ascent, ∇ log π, whatever ρ is: nothing stops it.

    Args:
        log_ratios: [B] ρ, nats, of what is to be forgotten.
        beta:       above 0.
    Returns: [B] nats; (2/β) log 2 at the reference.
    Raises:  ValueError when log_ratios is not [B] or not finite, or beta is not above 0.
    Source:  Zhang et al. 2024, arXiv:2404.05868, "NPO"; the official code is the same.

    >>> npo_loss(torch.tensor([0., -1.]), beta=0.1)                                                  # 20 log 2, …
    tensor([13.8629, 12.8879])
    """
    _ratios(log_ratios=log_ratios)
    positive(beta=beta)
    return -2 / beta * logsigmoid(-beta * log_ratios)


def d2o_loss(sample_log_ratios: Tensor, rejected_log_ratios: Tensor, beta: Number, alpha: Number) -> Tensor:
    """D²O, "Negating Negatives": bad replies by people against the mean of what the model itself writes. No good ones.

        L = −log σ(β mean_i ρ(y_i) − α ρ(y_l)),     y_i from the model before training

    K = 1 and α = β is DPO with a reply of one's own for the chosen one. The mean keeps any single sample from counting.

    Args:
        sample_log_ratios:   [B, K] nats, K at least 1.
        rejected_log_ratios: [B] nats; the paper allows other references here and there.
        beta, alpha:         above 0, of samples and rejected replies.
    Returns: [B] nats.
    Raises:  ValueError when shapes disagree, K is 0, a ratio is not finite, or a number is not above 0.
    Source:  Duan et al. 2024, arXiv:2403.03419, eq. 3.

    >>> d2o_loss(torch.tensor([[1., 3.]]), torch.tensor([-1.]), beta=0.5, alpha=1.)                  # σ(½ · 2 + 1)
    tensor([0.1269])
    """
    sizes = need(sample_log_ratios=(sample_log_ratios, "B K"), rejected_log_ratios=(rejected_log_ratios, "B"))
    if sizes["K"] < 1:
        raise ValueError(f"sample_log_ratios has shape {list(sample_log_ratios.shape)}, expected at least 1 sample")
    finite(sample_log_ratios=sample_log_ratios, rejected_log_ratios=rejected_log_ratios)
    positive(beta=beta, alpha=alpha)
    return -logsigmoid(beta * sample_log_ratios.mean(-1) - alpha * rejected_log_ratios)


def _ratios(**log_ratios: Tensor) -> None:
    need(**{name: (x, "B") for name, x in log_ratios.items()})
    finite(**log_ratios)


def _labelled(log_ratios: Tensor, desirable: Tensor) -> None:
    need(log_ratios=(log_ratios, "B"), desirable=(desirable, "B"))
    finite(log_ratios=log_ratios)
    if desirable.dtype is not torch.bool:
        raise ValueError(f"desirable has dtype {desirable.dtype}, expected torch.bool")


def _detached(**named: Number) -> Tensor:
    """A finite number or [], without gradient; anything larger is refused, since it would be broadcast."""
    ((name, number),) = named.items()
    number = torch.as_tensor(number, dtype=torch.float64).detach()  # 0.3 in float32 would be another number
    need(**{name: (number, "")})
    finite(**{name: number})
    return number
