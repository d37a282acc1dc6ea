"""What stands around a DPO loss? Which replies are compared, which β, which reference, and how two stages are merged.

Each function is one idea that leaves the loss itself as it is. Left out: losses (dpo), and drawing random numbers:
probabilities are given, and the caller draws.
"""

import math

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need, positive, within

Number = float | Tensor


def acceptance_probabilities(rewards: Tensor, beta: Number) -> Tensor:
    """RSO: with which chance is a reply drawn from the reference kept, so that the kept ones are drawn from π*?

        P(keep y) = exp((r(y) − max r) / β),     π*(y) ∝ π_ref(y) exp(r(y) / β)

    Exact when max r is over everything the reference can write. Over K candidates, as in RSO's algorithm, it keeps at
    least the best of them: for small β that is best-of-K, not π*. β → ∞ keeps all: the reference.

    Args:
        rewards: [..., K], K at least 1.
        beta:    above 0, in units of reward.
    Returns: [..., K] in [0, 1], 1 for the best.
    Raises:  ValueError when rewards are empty or not finite, or beta is not above 0.
    Source:  Liu et al. 2023 (RSO), arXiv:2309.06657, its algorithm of statistical rejection sampling.

    >>> acceptance_probabilities(torch.tensor([0., 1., 2.]), beta=1.)
    tensor([0.1353, 0.3679, 1.0000])
    """
    sizes = need(rewards=(rewards, "... K"))
    if sizes["K"] < 1:
        raise ValueError(f"rewards has shape {list(rewards.shape)}, expected at least 1 reply")
    finite(rewards=rewards)
    positive(beta=beta)
    return ((rewards - rewards.amax(-1, keepdim=True)) / beta).exp()


def dynamic_beta(margin: Tensor, beta: float, alpha: float, mean_margin: float, least: float) -> Tensor:
    """β-DPO: one β per batch, larger where the batch's margins are larger than usual.

        β_batch = β (1 + α (mean_i h_i − M))

    A large margin marks easy, uninformative or wrongly labelled pairs: they get a large β, which holds the policy near
    the reference. Pairs that are close are the informative ones, and get a small β.

    Args:
        margin:      [B] h, nats: the pairs that were kept.
        beta:        β_0, above 0.
        alpha:       per nat, 0 or more; 0 is DPO.
        mean_margin: M, nats: what is usual. The official code keeps M ← 0.9 M + 0.1 mean h.
        least:       above 0, the smallest β that is given; 0.001 in the official code.
    Returns: [], above 0, without gradient.
    Raises:  ValueError when margin is not [B], empty or not finite, or a number is out of range.
    Source:  Wu et al. 2024, arXiv:2407.08639, "batch-level dynamic β"; h is before β, as in the official code.

    >>> dynamic_beta(torch.tensor([1., 3.]), beta=0.1, alpha=0.5, mean_margin=1., least=0.001)      # 0.1 · (1 + ½)
    tensor(0.1500)
    """
    _margins(margin)
    positive(beta=beta, least=least)
    within(0, math.inf, alpha=alpha)
    finite(mean_margin=torch.as_tensor(mean_margin))
    return (beta * (1 + alpha * (margin.detach().mean() - mean_margin))).clamp(min=least)


def keep_weights(margin: Tensor, mean_margin: float, std_margin: float) -> Tensor:
    """β-DPO's filter: pairs whose margin is unusual, on either side, are seldom drawn.

        w_i ∝ exp(−½ ((h_i − M) / σ)²)

    A share of the batch is drawn with these weights, without replacement; the others take no part in the step.

    Args:
        margin:      [B] h, nats.
        mean_margin: M, nats, of `dynamic_beta`.
        std_margin:  σ, nats, above 0; kept as a moving average like M.
    Returns: [B], sums to 1, without gradient: for torch.multinomial.
    Raises:  ValueError when margin is not [B], empty or not finite, or std_margin is not above 0.
    Source:  Wu et al. 2024, arXiv:2407.08639, "β-guided data filtering".

    >>> keep_weights(torch.tensor([0., 2.]), mean_margin=0., std_margin=1.)                         # 1 : e⁻²
    tensor([0.8808, 0.1192])
    """
    _margins(margin)
    positive(std_margin=std_margin)
    finite(mean_margin=torch.as_tensor(mean_margin))
    return (-(((margin.detach() - mean_margin) / std_margin) ** 2) / 2).softmax(-1)


def reference_gap(ref_chosen_logps: Tensor, ref_rejected_logps: Tensor) -> Tensor:
    """sDPO: how much the reference itself prefers the chosen reply. Each step's reference is the policy of the last.

        γ = log π_ref(y_w) − log π_ref(y_l),     h = γ_policy − γ

    A better reference raises γ, and so what a policy has to reach for the same loss. Nothing in the loss forbids the
    policy to stay below it: that "lower bound" is a hope for the mean, not a fact about each pair.

    Args:
        ref_chosen_logps, ref_rejected_logps: [B] nats.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree or a log-probability is not finite.
    Source:  Kim et al. 2024 (sDPO), arXiv:2403.19270.

    >>> reference_gap(torch.tensor([-13.]), torch.tensor([-14.]))
    tensor([1.])
    """
    need(ref_chosen_logps=(ref_chosen_logps, "B"), ref_rejected_logps=(ref_rejected_logps, "B"))
    finite(ref_chosen_logps=ref_chosen_logps, ref_rejected_logps=ref_rejected_logps)
    return ref_chosen_logps - ref_rejected_logps


def parallel_merge(start: Tensor, tuned: Tensor, preferred: Tensor, share: float, weight: float) -> Tensor:
    """PAFT: fine-tuning and preference training, both from the same start, side by side, and their changes added.

        θ = θ_0 + share · (θ_SFT − θ_0) + weight · (θ_DPO − θ_0)

    Trained one after the other, the second stage may undo the first.

    Args:
        start, tuned, preferred: [...] one parameter before, after fine-tuning, after preference training.
        share, weight:           of the two changes; 1 and 1 add both in full.
    Returns: [...].
    Raises:  ValueError when the shapes disagree or a number is not finite.
    Source:  Pentyala et al. 2024, arXiv:2406.17923. It compares several rules of merging; this is the plain sum.

    >>> parallel_merge(torch.tensor([1., 1.]), torch.tensor([2., 1.]), torch.tensor([1., 4.]), share=1., weight=0.5)
    tensor([2.0000, 2.5000])
    """
    need(start=(start, "..."))
    need(tuned=(tuned, axes(start.shape)), preferred=(preferred, axes(start.shape)))
    finite(start=start, tuned=tuned, preferred=preferred)
    finite(share=torch.as_tensor(share), weight=torch.as_tensor(weight))
    return start + share * (tuned - start) + weight * (preferred - start)


def shrink(change: Tensor, threshold: float) -> Tensor:
    """PAFT's sparsity: an L1 penalty on the fine-tuning's change, so that what is small becomes exactly 0.

        argmin_d ½ (d − change)² + threshold |d| = sign(change) max(0, |change| − threshold)

    Args:
        change:    [...] θ_SFT − θ_0.
        threshold: 0 or more, in the units of change.
    Returns: [...].
    Raises:  ValueError when change is not finite or threshold is negative.
    Source:  Pentyala et al. 2024, arXiv:2406.17923, adds an L1 norm to the loss of fine-tuning; this is the step that
             such a norm takes after each of the optimiser's (Parikh & Boyd 2014, section 6.5.2).

    >>> shrink(torch.tensor([-3., 0.5]), threshold=1.)
    tensor([-2., 0.])
    """
    finite(change=change)
    within(0, math.inf, threshold=threshold)
    return change.sign() * (change.abs() - threshold).relu()


def _margins(margin: Tensor) -> None:
    if need(margin=(margin, "B"))["B"] < 1:
        raise ValueError("margin has no pairs, expected at least 1")
    finite(margin=margin)
