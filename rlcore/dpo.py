"""How do comparisons train a policy directly? Margins, and the losses of DPO and its relatives, one function each.

The implicit reward of a reply is β log π(y)/π_ref(y): the reward of which π is the optimum, up to a constant per prompt
that cancels within a pair. Losses are [B], one per pair, unreduced and to be minimised. Log-probabilities are sums over
a reply's tokens, in nats, with the mask already applied; logps carry the gradient, ref_logps none. Left out: other
convex losses and divergences (generalized_dpo), tokens (dpo_tokens), lists and no reference (rankings: its pair losses
are named here too), single replies (feedback), and what stays around a loss: data, β, references (dpo_training).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlcore.rankings import cpo_loss, orpo_loss, plackett_luce_dpo_loss, simpo_loss  # noqa: F401  part of the family
from rlcore.shapes import finite, need, positive, within

Number = float | Tensor
ROUNDING = 1e-4  # nats by which a KL of 0 may come out below 0 in float32


def margin(
    chosen_logps: Tensor, rejected_logps: Tensor, ref_chosen_logps: Tensor, ref_rejected_logps: Tensor
) -> Tensor:
    """How much more than the reference does the policy prefer the chosen reply? 0 where both are equal, before β.

        h = log π(y_w)/π_ref(y_w) − log π(y_l)/π_ref(y_l)

    The policy is in the numerator. Turned around, a loss falls just as nicely, and trains the rejected reply.
    sDPO (Kim et al. 2024, arXiv:2403.19270) changes the reference alone: the policy of the step before.

    Args:
        chosen_logps, rejected_logps:         [B] nats, of the policy.
        ref_chosen_logps, ref_rejected_logps: [B] nats, of the frozen reference.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree or a log-probability is not finite.
    Source:  Rafailov et al. 2023, arXiv:2305.18290, eq. 5 and 7.

    >>> pair = [torch.tensor([x]) for x in (-12., -15., -13., -14.)]
    >>> margin(*pair)                                                                # (−12 + 13) − (−15 + 14)
    tensor([2.])
    """
    four = {"chosen_logps": chosen_logps, "rejected_logps": rejected_logps}
    four |= {"ref_chosen_logps": ref_chosen_logps, "ref_rejected_logps": ref_rejected_logps}
    need(**{name: (logps, "B") for name, logps in four.items()})
    finite(**four)
    return (chosen_logps - ref_chosen_logps) - (rejected_logps - ref_rejected_logps)


def dpo_loss(margin: Tensor, beta: Number) -> Tensor:
    """DPO: likelihood of the choices under Bradley–Terry, the reward being implicit. Least at h = logit(p) / β.

        L = −log σ(β h),     ∂L/∂h = −β σ(−β h)

    Args:
        margin: [B] h, nats.
        beta:   above 0: how dearly a nat of KL is paid. Large stays near the reference, and the gradient dies sooner.
    Returns: [B] nats; log 2 at the reference.
    Raises:  ValueError when margin is not [B], or not finite, or beta is not above 0.
    Source:  Rafailov et al. 2023, arXiv:2305.18290, eq. 7; TRL's loss_type "sigmoid" is the same.

    >>> dpo_loss(torch.tensor([0., 2.]), beta=0.5)                                   # log 2, log(1 + e⁻¹)
    tensor([0.6931, 0.3133])
    """
    return -logsigmoid(beta * _margin(margin, beta))


def cdpo_loss(margin: Tensor, beta: Number, flip_rate: float) -> Tensor:
    """Conservative DPO: labels smoothed, so that the best margin is finite, logit(1 − ε) / β, even where all agree.

        L = −(1 − ε) log σ(β h) − ε log σ(−β h)

    Args:
        margin, beta: as `dpo_loss`.
        flip_rate:    ε in [0, 1], the chance that a label is wrong; at 0 it is DPO. Not unbiased: see robust_dpo_loss.
    Returns: [B] nats.
    Raises:  ValueError as `dpo_loss`, and when flip_rate is outside [0, 1].
    Source:  Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO", eq. 3.

    >>> cdpo_loss(torch.tensor([2.]), beta=0.1, flip_rate=0.1)
    tensor([0.6181])
    """
    within(0, 1, flip_rate=flip_rate)
    return (1 - flip_rate) * dpo_loss(margin, beta) + flip_rate * dpo_loss(-margin, beta)


def robust_dpo_loss(margin: Tensor, beta: Number, flip_rate: float) -> Tensor:
    """Robust DPO: averaged over labels that flip with chance ε, exactly the DPO loss of the clean labels.

        L = ((1 − ε) ℓ(h) − ε ℓ(−h)) / (1 − 2ε),     ℓ(h) = −log σ(β h)

    It has no lower bound: for ε above 0 it falls without end as h grows.

    Args:
        margin, beta: as `dpo_loss`.
        flip_rate:    ε in [0, ½): at ½ labels say nothing.
    Returns: [B] nats; may be negative.
    Raises:  ValueError as `dpo_loss`, and when flip_rate is outside [0, ½).
    Source:  Chowdhury et al. 2024, arXiv:2403.00409, "robust DPO"; TRL's loss_type "robust" is the same.

    >>> robust_dpo_loss(torch.tensor([2.]), beta=0.1, flip_rate=0.1)                 # (0.9 ℓ(2) − 0.1 ℓ(−2)) / 0.8
    tensor([0.5731])
    """
    within(0, 0.5, flip_rate=flip_rate)
    if flip_rate == 0.5:
        raise ValueError(f"flip_rate is {flip_rate}, expected below 0.5: labels flipped half of the time say nothing")
    clean, flipped = dpo_loss(margin, beta), dpo_loss(-margin, beta)
    return ((1 - flip_rate) * clean - flip_rate * flipped) / (1 - 2 * flip_rate)


def ipo_loss(margin: Tensor, beta: Number) -> Tensor:
    """IPO: regress the margin on a target. The best one is finite, (p − ½) / β, also where all labels agree (p = 1).

        L = (h − 1 / (2β))²

    Args:
        margin: [B] h, nats. TRL and HALOs divide each reply's log ratio by its length first, which is not in the
                paper's text; here h is the sum over tokens, as in eq. 17. Divide before, to have theirs.
        beta:   τ in the paper, above 0.
    Returns: [B] nats squared.
    Raises:  ValueError as `dpo_loss`.
    Source:  Azar et al. 2023, arXiv:2310.12036, eq. 17.

    >>> ipo_loss(torch.tensor([2., 5.]), beta=0.1)
    tensor([9., 0.])
    """
    return (_margin(margin, beta) - 1 / (2 * beta)) ** 2


def hinge_loss(margin: Tensor, beta: Number) -> Tensor:
    """Hinge: nothing to gain beyond h = 1/β. RSO's "hinge-norm", which is SLiC's rank term against a reference.

        L = max(0, 1 − β h)

    Args, Returns, Raises: as `dpo_loss`; beta is γ in the paper. SLiC-HF itself has no reference: rankings.slic_loss.
    Source:  Liu et al. 2023 (RSO), arXiv:2309.06657, "hinge-norm"; TRL's loss_type "hinge" is the same.

    >>> hinge_loss(torch.tensor([2., 20.]), beta=0.1)
    tensor([0.8000, 0.0000])
    """
    return (1 - beta * _margin(margin, beta)).relu()


def dpop_loss(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: Number,
    penalty: float,
) -> Tensor:
    """DPO-Positive: pays for every nat by which the chosen reply falls below its log-probability in the reference.

        L = −log σ(β [h − λ max(0, log π_ref(y_w) − log π(y_w))])

    Args:
        four log-probabilities: as `margin`.
        beta:    above 0; it multiplies the penalty too, which stands inside σ.
        penalty: λ, 0 or more; at 0 it is DPO.
    Returns: [B] nats.
    Raises:  ValueError as `margin` and `dpo_loss`, and when penalty is negative.
    Source:  Pal et al. 2024 (Smaug), arXiv:2402.13228, "DPOP".

    >>> dpop_loss(*(torch.tensor([x]) for x in (-14., -15., -13., -14.)), beta=0.1, penalty=50.)    # β (0 − 50 · 1)
    tensor([5.0067])
    """
    within(0, math.inf, penalty=penalty)
    h = margin(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return dpo_loss(h - penalty * (ref_chosen_logps - chosen_logps).relu(), beta)


def rdpo_loss(margin: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor, beta: Number, alpha: float) -> Tensor:
    """R-DPO: DPO for a reward less α per token. A longer chosen reply has part of its win explained by length.

        L = −log σ(β h + α (|y_w| − |y_l|))

    The sign is plus: the optimum for r − α|y| has r = β log π/π_ref + α|y| + const. Minus rewards length.

    Args:
        margin, beta:                     as `dpo_loss`.
        chosen_lengths, rejected_lengths: [B] tokens, 1 or more.
        alpha: units of reward per token; 0 is DPO, above 0 shortens.
    Returns: [B] nats.
    Raises:  ValueError as `dpo_loss`, when shapes disagree, a length is below 1, or alpha is not finite.
    Source:  Park et al. 2024, arXiv:2403.19159, "R-DPO".

    >>> rdpo_loss(torch.tensor([2.]), torch.tensor([6]), torch.tensor([5]), beta=0.1, alpha=0.05)    # log(1 + e^−0.25)
    tensor([0.5759])
    """
    need(margin=(margin, "B"), chosen_lengths=(chosen_lengths, "B"), rejected_lengths=(rejected_lengths, "B"))
    within(1, math.inf, chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths)
    finite(alpha=torch.as_tensor(alpha))
    return -logsigmoid(beta * _margin(margin, beta) + alpha * (chosen_lengths - rejected_lengths))


def tdpo_loss(margin: Tensor, chosen_seq_kl: Tensor, rejected_seq_kl: Tensor, beta: Number, alpha: float) -> Tensor:
    """TDPO-2: DPO whose rejected reply is also held near the reference, token by token; α → 0 is DPO.

        L = −log σ(β [h − α (D_l − sg[D_w])]),     D = Σ_t KL(π_ref‖π) along the reply,  sg: without gradient

    Args:
        margin, beta:                   as `dpo_loss`.
        chosen_seq_kl, rejected_seq_kl: [B] D_w and D_l, nats, 0 or more: dpo_tokens.sequential_kl.
        alpha: 0 or more; above 0 lowers D_l.
    Returns: [B] nats.
    Raises:  ValueError as `dpo_loss`, when shapes disagree, or a KL or alpha is negative.
    Source:  Zeng et al. 2024, arXiv:2404.11999, "TDPO₂"; its official code is the same.

    >>> tdpo_loss(torch.tensor([2.]), torch.tensor([0.3]), torch.tensor([0.5]), beta=0.1, alpha=0.5)   # σ(0.1 · 1.9)
    tensor([0.6027])
    """
    within(0, math.inf, alpha=alpha)
    return tdpo1_loss(margin, alpha * chosen_seq_kl.detach(), alpha * rejected_seq_kl, beta)


def tdpo1_loss(margin: Tensor, chosen_seq_kl: Tensor, rejected_seq_kl: Tensor, beta: Number) -> Tensor:
    """TDPO-1: Bradley–Terry on token-level advantages. What is subtracted is left of β log Z, which differs by prefix.

        L = −log σ(β [h − (D_l − D_w)]),     β log Z(s) = E_ref[Q(s, ·)] + β KL(π_ref‖π*)

    The problem itself is regularised by the reverse KL, as in RLHF; the forward one comes out of log Z.

    Args, Raises: as `tdpo_loss`, without alpha; here the gradient flows through D_w as well, and raises it.
    Returns: [B] nats.
    Source:  Zeng et al. 2024, arXiv:2404.11999, "TDPO₁"; its official code is the same.

    >>> tdpo1_loss(torch.tensor([2.]), torch.tensor([0.3]), torch.tensor([0.5]), beta=0.1)             # σ(0.1 · 1.8)
    tensor([0.6072])
    """
    need(margin=(margin, "B"), chosen_seq_kl=(chosen_seq_kl, "B"), rejected_seq_kl=(rejected_seq_kl, "B"))
    within(-ROUNDING, math.inf, chosen_seq_kl=chosen_seq_kl.detach(), rejected_seq_kl=rejected_seq_kl.detach())
    return dpo_loss(margin - (rejected_seq_kl - chosen_seq_kl), beta)


def _margin(margin: Tensor, beta: Number) -> Tensor:
    """The margin, once it and beta have been checked."""
    need(margin=(margin, "B"))
    finite(margin=margin)
    positive(beta=beta)
    return margin
