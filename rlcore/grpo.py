"""Which replies to one prompt were better than the others? Advantages inside a group, and the losses of GRPO's family.

K replies to each of B prompts stand below one another, [B·K, T], the advantages of [B, K] beside them. GRPO has no loss
of its own: `trust_region.clipped_loss` gives one number per token, and the relatives differ in three visible places.

    loss = clipped_loss(logps, old_logps, advantages.flatten()[:, None], eps_low, eps_high)

                advantages                       limits              denominator
    GRPO        group_normalized                 eps_low = eps_high  mean_over_sequences(loss + beta * k3, mask)
    Dr. GRPO    group_centered                   eps_low = eps_high  sum_over_constant(loss, mask, longest)
    DAPO        group_normalized, has_signal     eps_low < eps_high  mean_over_tokens(loss, mask)
    RLOO        policy_gradient.leave_one_out    none: `score_function_loss` of `sequence_logps`, mean over replies

Over whole replies only the constant is unbiased, up to its scale: mean_over_sequences climbs E[(r − b) / |y|], b held.
mean_over_tokens counts the tokens of the whole batch, as code does; DAPO's eq. 8 counts group by group. The KL is
`kl.k3` as printed, whose gradient is that of KL(ref‖policy), or `kl.k3_loss`. Left out: drawing, verifying, the loop.
"""

import math

import torch
from torch import Tensor

from rlcore import trust_region
from rlcore.shapes import beside, finite, need, whole, within


def group_centered(rewards: Tensor) -> Tensor:
    """Dr. GRPO's advantages: each reward minus the mean of its group, itself included. To be maximised.

        A_i = r_i − mean r

    Its own reward in the mean costs the gradient a factor (K−1)/K, the same for every prompt, and no more: times
    K/(K−1) it is `policy_gradient.leave_one_out`. Equal rewards give exact zeros.

    Args:
        rewards: [B, K] K independent replies to each prompt, K at least 2.
    Returns: [B, K] in units of reward; each row sums to 0.
    Raises:  ValueError when a reward is not finite or a group has fewer than 2 replies.
    Source:  Liu et al. 2025 (Dr. GRPO), arXiv:2503.20783, section 3.2.

    >>> group_centered(torch.tensor([[1., 0., 0., 0.]]))
    tensor([[ 0.7500, -0.2500, -0.2500, -0.2500]])
    """
    _grouped(rewards)
    from_first = rewards - rewards[:, :1]
    return from_first - from_first.mean(-1, keepdim=True)


def group_normalized(rewards: Tensor, ddof: int) -> Tensor:
    """GRPO's advantages: how many standard deviations above the group's mean? To be maximised.

        A_i = (r_i − mean r) / std r,     std² = Σ_i (r_i − mean r)² / (K − ddof)

    A shift or a positive factor of the whole group changes nothing, so a spread of 0.001 counts like a spread of 1, and
    so does one by rounding: round rewards that ought to be equal. There is no ε. Libraries add one to std (TRL 1e-4
    with ddof 1, HALOs 1e-2 with ddof 0): it damps spreads that are small beside it, here to 0.74 from 0.87.

    >>> rewards = torch.tensor([[0.001, 0., 0., 0.001]])
    >>> group_normalized(rewards, ddof=1)
    tensor([[ 0.8660, -0.8660, -0.8660,  0.8660]])
    >>> group_centered(rewards) / (rewards.std(-1, keepdim=True) + 1e-4)
    tensor([[ 0.7382, -0.7382, -0.7382,  0.7382]])

    Args:
        rewards: [B, K] K independent replies to each prompt, K at least 2.
        ddof:    1 as torch.std and TRL divide, by K − 1; 0 as numpy.std and HALOs do, by K. The paper does not say.
    Returns: [B, K] without units; each row sums to 0; exact zeros where all rewards of a group are equal.
    Raises:  ValueError when a reward is not finite, a group has fewer than 2 replies, or ddof is neither 0 nor 1.
    Source:  Shao et al. 2024 (GRPO), arXiv:2402.03300, section 4.1.2.

    >>> group_normalized(torch.tensor([[1., 0., 0., 0.], [0.1, 0.1, 0.1, 0.1]]), ddof=0)
    tensor([[ 1.7321, -0.5774, -0.5774, -0.5774],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    _ddof(ddof)
    centered = group_centered(rewards)
    scaled = centered / centered.abs().amax(-1, keepdim=True)  # no square underflows; 0/0 where all are equal
    return torch.where(has_signal(rewards)[:, None], scaled / scaled.std(-1, correction=ddof, keepdim=True), 0)


def normalized_weight(p: float | Tensor, group_size: int, ddof: int) -> Tensor:
    """How much does a prompt count under `group_normalized`? The factor on ∇p in the mean gradient, for 0/1 rewards.

        E[1/K Σ_i A_i ∇log π(y_i)] = w(p) ∇p,     w(p) = E[√(m (1 − m))] / (p (1 − p)) · √((K − ddof) / K)

    with m = k/K, k ~ Binomial(K, p). Leave-one-out has w = 1, centred rewards (K−1)/K. Here prompts that are hardly
    ever or nearly always solved count most, up to √(K−1). For large K, w = 1/√(p (1−p)): the gradient of 2 arcsin √p.

    Args:
        p:          [...] probability that a reply is right, in [0, 1].
        group_size: K, 2 or more.
        ddof:       0 or 1, as in group_normalized.
    Returns: [...] float64, finite at p = 0 and p = 1 too.
    Raises:  ValueError when a number is out of range.
    Source:  derived here; the bias is named in Liu et al. 2025 (Dr. GRPO), arXiv:2503.20783, section 3.1.

    >>> normalized_weight(torch.tensor([0., 0.5, 1.]), group_size=5, ddof=0)
    tensor([2.0000, 1.7247, 2.0000], dtype=torch.float64)
    """
    within(0, 1, p=p)
    whole(2, group_size=group_size)
    _ddof(ddof)
    p = torch.as_tensor(p, dtype=torch.float64)[..., None]
    right = torch.arange(1, group_size, dtype=torch.float64, device=p.device)
    wrong = group_size - right
    log_ways = math.lgamma(group_size + 1) - torch.lgamma(right + 1) - torch.lgamma(wrong + 1)
    chances = (log_ways + torch.xlogy(right - 1, p) + torch.xlogy(wrong - 1, 1 - p)).exp()  # over p (1 − p)
    return (chances * (right * wrong).sqrt()).sum(-1) / group_size * math.sqrt(1 - ddof / group_size)


def has_signal(rewards: Tensor) -> Tensor:
    """Is there anything to learn from this group? False where all its rewards are equal: every advantage is 0.

    DAPO draws new prompts in place of such groups ("dynamic sampling"). Give it what the verifier said, before
    `overlong_penalty`: among right replies lengths alone would pass for signal.

    Args:
        rewards: [B, K] K at least 2.
    Returns: [B] bool.
    Raises:  ValueError when a reward is not finite or a group has fewer than 2 replies.
    Source:  Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 11.

    >>> has_signal(torch.tensor([[0., 1.], [0., 0.], [1., 1.]]))
    tensor([ True, False, False])
    """
    _grouped(rewards)
    return (rewards != rewards[:, :1]).any(-1)


def useful_share(p: float | Tensor, group_size: int) -> float | Tensor:
    """How many groups have a signal? The chance that K replies with 0/1 rewards are neither all right nor all wrong.

        1 − pᴷ − (1 − p)ᴷ

    Args:
        p:          [...] probability that a reply is right, in [0, 1].
        group_size: K, 1 or more.
    Returns: [...] in [0, 1]; a number for a number.
    Raises:  ValueError when p is no probability or group_size no whole number above 0.
    Source:  Yu et al. 2025 (DAPO), arXiv:2503.14476, section 3.2, as a formula.

    >>> useful_share(torch.tensor([0.02, 0.5]), group_size=8)
    tensor([0.1492, 0.9922])
    """
    within(0, 1, p=p)
    whole(1, group_size=group_size)
    return 1 - p**group_size - (1 - p) ** group_size


def overlong_penalty(lengths: Tensor, longest: int, buffer: int) -> Tensor:
    """DAPO's soft punishment of long replies, to be *added* to the reward: a slope instead of a cliff.

        0 up to longest − buffer,     then (longest − buffer − length) / buffer,     −1 from longest on

    Args:
        lengths: [...] tokens of each reply.
        longest: L_max, tokens, the buffer included (20480 in the paper).
        buffer:  L_cache, tokens, from 1 to longest (4096 in the paper).
    Returns: [...] in [−1, 0], in units of reward.
    Raises:  ValueError when a length is negative, longest is below 1, or buffer is outside 1 to longest.
    Source:  Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 13.

    >>> overlong_penalty(torch.tensor([80, 90, 100, 120]), longest=100, buffer=20)
    tensor([ 0.0000, -0.5000, -1.0000, -1.0000])
    """
    within(0, math.inf, lengths=lengths)
    whole(1, longest=longest, buffer=buffer)
    if buffer > longest:
        raise ValueError(f"buffer is {buffer}, expected at most longest, which is {longest}")
    return ((longest - buffer - lengths) / buffer).clamp(-1, 0)


def sequence_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor) -> Tensor:
    """GSPO's ratio: how much likelier is the reply, per token? The geometric mean of its tokens' ratios.

        s = (π(y|x) / π_old(y|x))^(1/|y|) = exp(1/|y| Σ_t (log π(y_t) − log π_old(y_t)))

    Without the root a hundred tokens, each 1 % likelier, make 2.7, far out of range. With it s is no importance weight:
    away from the old policy the mean of s r is not what the policy would earn.

    Args:
        logps, old_logps: [B, T] nats; behind the mask anything, a NaN included. old_logps without gradient.
        mask:             [B, T] bool, at least one True in every row.
    Returns: [B], with ∂s/∂log π(y_t) = s / |y|; 1 where nothing has changed.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or a reply has no real token.
    Source:  Zheng et al. 2025 (GSPO), arXiv:2507.18071, eq. 7.

    >>> mask = torch.tensor([[True, True, False]])
    >>> sequence_ratio(torch.tensor([[0.5, 0.5, 9.]]).log(), torch.tensor([[0.25, 0.125, 1.]]).log(), mask)   # √(2 · 4)
    tensor([2.8284])
    """
    return _log_sequence_ratio(logps, old_logps, mask).exp()


def gspo_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor, eps_low: float, eps_high: float
) -> Tensor:
    """GSPO's loss, to be minimised: clipped once per reply, on `sequence_ratio`, so that a reply stays or goes whole.

        L = −min(s A, clip(s, 1 − ε_low, 1 + ε_high) A)

    At the old policy its gradient is exactly that of GRPO without a KL: 1/|y| has moved into the ratio.

    Args:
        logps, old_logps: [B, T] nats; behind the mask anything, a NaN included.
        advantages:       [B] detached: one for each reply.
        mask:             [B, T] bool, at least one True in every row.
        eps_low:          in [0, 1]; 3e-4 in the paper: a mean over tokens hardly moves.
        eps_high:         0 or more; 4e-4 in the paper.
    Returns: [B] unreduced, to be averaged over replies: it has no token left to count.
    Raises:  ValueError when the shapes disagree, the mask is not boolean or a row empty, or a limit is out of range.
    Source:  Zheng et al. 2025 (GSPO), arXiv:2507.18071, eq. 5.

    >>> logps, mask = torch.tensor([[1.1, 1.1], [1.5, 1.]]).log(), torch.tensor([[True, True], [True, True]])
    >>> gspo_loss(logps, torch.zeros(2, 2), torch.tensor([1., 1.]), mask, eps_low=0.2, eps_high=0.2)   # √1.5 is too far
    tensor([-1.1000, -1.2000])
    """
    log_ratio = _log_sequence_ratio(logps, old_logps, mask)
    return trust_region.clipped_loss(log_ratio, torch.zeros_like(log_ratio), advantages, eps_low, eps_high)


def gspo_token_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor, eps_low: float, eps_high: float
) -> Tensor:
    """GSPO-token, to be minimised: the reply's ratio in value, each token's own in gradient; advantages per token.

        s_t = sg(s) π(y_t) / sg(π(y_t)),     L_t = −min(s_t A_t, clip(s_t, 1 − ε_low, 1 + ε_high) A_t)

    Where a reply has one advantage, `masked.mean_over_sequences` of it is the mean of `gspo_loss`, gradient included.

    Args:
        logps, old_logps: [B, T] nats, finite where the mask is False too.
        advantages:       [B, T] detached; [B, 1] is the same for all tokens of a reply.
        mask, eps_low, eps_high: as in gspo_loss.
    Returns: [B, T] unreduced.
    Raises:  ValueError as gspo_loss.
    Source:  Zheng et al. 2025 (GSPO), arXiv:2507.18071, eq. 13 and 14.

    >>> logps, mask = torch.tensor([[1.5, 1.]]).log(), torch.tensor([[True, True]])
    >>> gspo_token_loss(logps, torch.zeros(1, 2), torch.tensor([[1., -1.]]), mask, eps_low=0.2, eps_high=0.2)
    tensor([[-1.2000,  1.2247]])
    """
    log_ratio = _log_sequence_ratio(logps, old_logps, mask).detach()
    return trust_region.clipped_loss(logps, logps.detach() - log_ratio[:, None], advantages, eps_low, eps_high)


def cispo_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, eps_low: float, eps_high: float) -> Tensor:
    """CISPO's loss, to be minimised: policy gradient with a clipped weight. The weight is cut, never the token.

        L = −sg(clip(ρ, 1 − ε_low, 1 + ε_high)) A log π,     sg: no gradient

    Where `clipped_loss` gives a token up, here it goes on pulling with the weight at the limit. Where nothing is cut,
    the gradient is that of `trust_region.surrogate`; `trust_region.truncated_ratio` is the same cut for V-trace.

    Args:
        logps, old_logps: [...] nats, finite.
        advantages:       [...] detached; an axis of size 1 is the same for all.
        eps_low:          in [0, 1]; 1 = no lower limit, as in the paper.
        eps_high:         0 or more. TRL's `epsilon_high` is the limit itself, 1 + ε_high.
    Returns: [...] unreduced, for `masked.mean_over_tokens`. Its value means nothing.
    Raises:  ValueError when the axes disagree, or eps_low or eps_high is out of range.
    Source:  MiniMax 2025 (MiniMax-M1), arXiv:2506.13585, eq. 4 and 5.

    >>> logps = torch.tensor([-1.], requires_grad=True)
    >>> cispo_loss(logps, torch.tensor([-3.]), torch.tensor([1.]), eps_low=1.0, eps_high=0.5).backward()
    >>> logps.grad                                                     # ρ = e², cut to 1.5; clipped_loss would give 0
    tensor([-1.5000])
    """
    beside(logps=logps, advantages=advantages)
    within(0, 1, eps_low=eps_low)
    within(0, math.inf, eps_high=eps_high)
    weights = trust_region.ratio(logps, old_logps).detach().clamp(1 - eps_low, 1 + eps_high)
    return -weights * advantages * logps


def _grouped(rewards: Tensor) -> None:
    size = need(rewards=(rewards, "B K"))["K"]
    finite(rewards=rewards)
    if size < 2:
        raise ValueError(f"rewards has groups of {size}, expected at least 2 replies: one has nothing beside it")


def _ddof(ddof: int) -> None:
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof!r}, expected 0 (divide by K) or 1 (divide by K − 1)")


def _log_sequence_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor) -> Tensor:
    need(logps=(logps, "B T"), old_logps=(old_logps, "B T"), mask=(mask, "B T"))
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    empty = (~mask.any(-1)).nonzero()
    if len(empty):
        raise ValueError(f"mask has no True in row {empty[0].item()}, expected at least one real token in each")
    return torch.where(mask, logps - old_logps, 0).sum(-1) / mask.sum(-1)
