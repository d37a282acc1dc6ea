"""How do replies that are ranked train a policy? Lists of K against a reference, and pairs or lists without one.

With a reference the score of a reply is its implicit reward β log π/π_ref; without one it is the policy's own
log-probability, mostly per token, and a likelihood term has to hold the policy. Losses are [B], one per prompt,
unreduced and to be minimised. logps are sums over a reply's tokens, in nats. Left out: losses of a margin (dpo).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlcore.preferences import listwise_loss
from rlcore.shapes import finite, need, positive, within

Number = float | Tensor


def plackett_luce_dpo_loss(log_ratios: Tensor, ranking: Tensor, beta: Number) -> Tensor:
    """DPO for whole rankings: likelihood of the ranking under Plackett–Luce on implicit rewards. K = 2 is DPO.

        L = −Σ_k log( exp(β ρ(τ_k)) / Σ_{j ≥ k} exp(β ρ(τ_j)) ),     ρ = log π/π_ref

    Args:
        log_ratios: [B, K] nats, of the K replies to each prompt.
        ranking:    [B, K] int64, replies from best to worst: ranking[b, 0] is the index of the best.
        beta:       above 0.
    Returns: [B] nats; log K! at the reference.
    Raises:  ValueError when shapes disagree, a ratio is not finite, a row is no permutation, or beta is not above 0.
    Source:  Rafailov et al. 2023, arXiv:2305.18290, appendix A.3.

    >>> plackett_luce_dpo_loss(torch.tensor([[2., 1., 5.]]).log(), torch.tensor([[2, 0, 1]]), beta=1.)   # −log(⅝ · ⅔)
    tensor([0.8755])
    """
    need(log_ratios=(log_ratios, "B K"), ranking=(ranking, "B K"))
    finite(log_ratios=log_ratios)
    positive(beta=beta)
    return listwise_loss(beta * log_ratios, ranking)


def lipo_loss(log_ratios: Tensor, labels: Tensor, beta: Number) -> Tensor:
    """LiPO-λ: every ordered pair of a list, weighted by how much DCG would change if the two swapped places.

        L = Σ_{ψ_i > ψ_j} Δ_ij log(1 + exp(−(s_i − s_j))),     s = β log π/π_ref
        Δ_ij = |2^{ψ_i} − 2^{ψ_j}| |1/log(1 + rank_i) − 1/log(1 + rank_j)|,     rank 1 is the largest s

    The weights follow the policy's present ranking and carry no gradient. Printed with a further minus sign in front
    of the sum, the loss would be maximised. The logarithm of the discount is natural; with base 2 all is × log 2.

    Args:
        log_ratios: [B, K] nats; where two are equal, the earlier reply ranks first.
        labels:     [B, K] ψ, how good each reply is, for instance a win rate in [0, 1].
        beta:       above 0.
    Returns: [B] nats; 0 where all labels are equal.
    Raises:  ValueError when the shapes disagree, a number is not finite, or beta is not above 0.
    Source:  Liu et al. 2024, arXiv:2402.01878, "LiPO-λ"; weights: Burges et al. 2006 (LambdaRank), Wang et al. 2018.

    >>> lipo_loss(torch.tensor([[0.2, 0.5, -0.1]]), torch.tensor([[1., 0.5, 0.]]), beta=1.)
    tensor([0.5019])
    """
    need(log_ratios=(log_ratios, "B K"), labels=(labels, "B K"))
    finite(log_ratios=log_ratios, labels=labels)
    positive(beta=beta)
    scores = beta * log_ratios
    ranks = scores.argsort(dim=-1, descending=True, stable=True).argsort(-1) + 1
    discounts = 1 / torch.log1p(ranks.to(scores.dtype))
    swaps = _gaps(labels.exp2()).abs() * _gaps(discounts).abs()  # [B, K, K]
    return (swaps * -logsigmoid(_gaps(scores)) * (_gaps(labels) > 0)).sum((-2, -1))


def slic_loss(chosen_logps: Tensor, rejected_logps: Tensor, text_logps: Tensor, target: float, weight: float) -> Tensor:
    """SLiC-HF: a hinge on the policy's own log-probabilities, and likelihood of a reference *text*. No reference model.

        L = max(0, δ − log π(y_w) + log π(y_l)) − λ log π(y_ref)

    Args:
        chosen_logps, rejected_logps: [B] nats.
        text_logps: [B] nats, of the text that holds the policy: the SFT target, or the best candidate.
        target:     δ, nats, 0 or more.
        weight:     λ, 0 or more.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, a number is not finite, or target or weight is negative.
    Source:  Zhao et al. 2023, arXiv:2305.10425, section 2. HALOs takes the chosen reply for the text.

    >>> slic_loss(*(torch.tensor([x]) for x in (-12., -15., -10.)), target=5., weight=0.1)           # 2 + 0.1 · 10
    tensor([3.])
    """
    _pair(chosen_logps=chosen_logps, rejected_logps=rejected_logps, text_logps=text_logps)
    within(0, math.inf, target=target, weight=weight)
    return (target - chosen_logps + rejected_logps).relu() - weight * text_logps


def cpo_loss(chosen_logps: Tensor, rejected_logps: Tensor, beta: Number, weight: float) -> Tensor:
    """CPO: DPO with a uniform reference, so without one, and the likelihood of the chosen reply.

        L = −log σ(β (log π(y_w) − log π(y_l))) − λ log π(y_w)

    Args:
        chosen_logps, rejected_logps: [B] nats, sums over tokens. TRL takes the mean per token in the second term.
        beta:   above 0.
        weight: λ, 0 or more; 1 in the paper, cpo_alpha in TRL.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, a number is not finite, or beta or weight is out of range.
    Source:  Xu et al. 2024, arXiv:2401.08417, eq. 3 and the likelihood term beside it.

    >>> cpo_loss(torch.tensor([-12.]), torch.tensor([-15.]), beta=0.1, weight=1.)                    # 0.5544 + 12
    tensor([12.5544])
    """
    _pair(chosen_logps=chosen_logps, rejected_logps=rejected_logps)
    positive(beta=beta)
    within(0, math.inf, weight=weight)
    return -logsigmoid(beta * (chosen_logps - rejected_logps)) - weight * chosen_logps


def simpo_loss(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: Number,
    target: float,
) -> Tensor:
    """SimPO: no reference; the reward of a reply is β times its mean log-probability per token, and a gap is asked for.

        L = −log σ(β log π(y_w) / |y_w| − β log π(y_l) / |y_l| − γ)

    Args:
        chosen_logps, rejected_logps:     [B] nats, sums over tokens.
        chosen_lengths, rejected_lengths: [B] tokens, 1 or more.
        beta:   above 0.
        target: γ, 0 or more, in units of reward: not times β. The official code and HALOs ask for γ/β instead.
    Returns: [B] nats.
    Raises:  ValueError when shapes disagree or a number is out of range.
    Source:  Meng et al. 2024, arXiv:2405.14734, "SimPO objective".

    >>> pair, lengths = [torch.tensor([-12.]), torch.tensor([-15.])], [torch.tensor([6]), torch.tensor([5])]
    >>> simpo_loss(*pair, *lengths, beta=2.5, target=1.375)                          # σ(−5 + 7.5 − 1.375)
    tensor([0.2812])
    """
    within(0, math.inf, target=target)
    chosen, rejected = _per_token(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths)
    positive(beta=beta)
    return -logsigmoid(beta * (chosen - rejected) - target)


def orpo_loss(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    weight: float,
) -> Tensor:
    """ORPO: fine-tuning on the chosen reply, and the odds of it against the rejected one, in a single stage.

        L = −log P(y_w) − λ log σ(log odds(y_w) − log odds(y_l)),     log odds = log P − log(1 − P)

    P is the geometric mean of a reply's token probabilities. log(1 − eˣ) has two forms, each used where it is exact.

    Args:
        chosen_logps, rejected_logps:     [B] nats, sums over tokens, below 0: odds of a certain reply are infinite.
        chosen_lengths, rejected_lengths: [B] tokens, 1 or more.
        weight: λ, 0 or more; TRL calls it beta.
    Returns: [B] nats.
    Raises:  ValueError when shapes disagree, a log-probability is not finite or not below 0, or a number out of range.
    Source:  Hong et al. 2024, arXiv:2403.07691, eq. 4 and 7. The first term is the mean per token there and in TRL.

    >>> half, fifth = torch.tensor([0.25]).log(), torch.tensor([0.2]).log()
    >>> orpo_loss(half, fifth, torch.tensor([2]), torch.tensor([1]), weight=1.)                      # log 2 + log 5/4
    tensor([0.9163])
    """
    within(0, math.inf, weight=weight)
    chosen, rejected = _per_token(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths)
    for name, logps in {"chosen_logps": chosen_logps, "rejected_logps": rejected_logps}.items():
        if (logps >= 0).any():
            raise ValueError(f"{name} reaches {logps.max().item() + 0.0:.6g}, expected below 0: infinite odds")
    log_odds = chosen - rejected - (log1mexp(chosen) - log1mexp(rejected))
    return -chosen - weight * logsigmoid(log_odds)


def rrhf_loss(logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
    """RRHF: for every pair that the policy orders against the rewards, by how much; and likelihood of the best reply.

        L = Σ_{r_i < r_j} max(0, p_i − p_j) − log π(y_best),     p = log π(y) / |y|

    Args:
        logps:   [B, K] nats, sums over tokens.
        lengths: [B, K] tokens, 1 or more.
        rewards: [B, K]; the first of equals is the best.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, a number is not finite, or a length is below 1.
    Source:  Yuan et al. 2023, arXiv:2304.05302, rank and fine-tuning loss. The official code raises lengths to a power
             and divides the second term by the padded length; here it is the sum over tokens, as in the paper.

    >>> rrhf_loss(torch.tensor([[-6., -4.]]), torch.tensor([[2, 2]]), torch.tensor([[1., 0.]]))      # (−2 + 3) + 6
    tensor([7.])
    """
    scores = _list(logps, lengths, rewards=rewards)
    best = logps.gather(-1, rewards.argmax(-1, keepdim=True))[..., 0]
    return (-_gaps(scores).clamp(max=0) * (_gaps(rewards) > 0)).sum((-2, -1)) - best


def pro_loss(logps: Tensor, lengths: Tensor, ranking: Tensor, weight: float) -> Tensor:
    """PRO: the best against the rest, then the second against those below, …; and likelihood of the best reply.

        L = −Σ_{k<K} log( exp(p(τ_k)) / Σ_{j ≥ k} exp(p(τ_j)) ) − λ log π(y_{τ_1}),     p = log π(y) / |y|

    Args:
        logps:   [B, K] nats, sums over tokens.
        lengths: [B, K] tokens, 1 or more.
        ranking: [B, K] int64, replies from best to worst.
        weight:  λ (β in the paper), 0 or more; the official code multiplies it by (K − 1)².
    Returns: [B] nats.
    Raises:  ValueError as `plackett_luce_dpo_loss`, and when a length is below 1 or weight is negative.
    Source:  Song et al. 2023, arXiv:2306.17492, PRO without the temperatures that rewards would set.

    >>> pro_loss(torch.tensor([[-2., -4.]]), torch.tensor([[1, 2]]), torch.tensor([[0, 1]]), weight=0.5)   # log 2 + 1
    tensor([1.6931])
    """
    within(0, math.inf, weight=weight)
    scores = _list(logps, lengths, ranking=ranking)
    return listwise_loss(scores, ranking) - weight * logps.gather(-1, ranking[:, :1])[:, 0]


def pro_reward_loss(logps: Tensor, lengths: Tensor, rewards: Tensor, weight: float) -> Tensor:
    """PRO where rewards are known: clear wins count more, and near ties are hardly told apart.

        L = −Σ_{k<K} log( exp(p_k G_k) / (exp(p_k G_k) + Σ_{j>k} exp(p_j (r_k − r_j))) ) − λ log π(y_1)
        replies from best to worst, G_k = max_{j>k} (r_k − r_j),     1 / (r_k − r_j) is the paper's temperature

    Args:
        logps, lengths, weight: as `pro_loss`.
        rewards: [B, K]; the first of equals is the better.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, a number is not finite, a length is below 1, or weight is negative.
    Source:  Song et al. 2023, arXiv:2306.17492, PRO with temperatures; as in the official code.

    >>> rewards = torch.tensor([[1., 0.]])                                                           # gap 1: pro_loss
    >>> pro_reward_loss(torch.tensor([[-2., -4.]]), torch.tensor([[1, 2]]), rewards, weight=0.5)
    tensor([1.6931])
    """
    within(0, math.inf, weight=weight)
    scores = _list(logps, lengths, rewards=rewards)
    ranked, order = rewards.sort(dim=-1, descending=True, stable=True)
    ordered, gaps = scores.gather(-1, order), _gaps(ranked)  # gaps [B, K, K]: r_k − r_j, 0 or more above the diagonal
    sharpness = torch.diag_embed(gaps[..., -1]) + gaps.triu(1)  # the worst is the farthest: G_k on the diagonal
    rivals = torch.ones_like(gaps, dtype=torch.bool).triu()
    among = (ordered[:, None] * sharpness).masked_fill(~rivals, -math.inf).log_softmax(-1)
    return -among.diagonal(dim1=-2, dim2=-1)[:, :-1].sum(-1) - weight * logps.gather(-1, order[:, :1])[:, 0]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 − eˣ) for x below 0, for instance the log-probability that something does *not* happen. Nothing is checked.

    Source: Mächler 2012. The branch that is not taken gets an x whose gradient is finite: 0 · ∞ would be NaN.

    >>> log1mexp(torch.tensor([0.75, 0.25]).log())                                                   # log ¼, log ¾
    tensor([-1.3863, -0.2877])
    """
    near = x > -math.log(2)
    return torch.where(near, (-torch.where(near, x, -1).expm1()).log(), (-torch.where(near, -1, x).exp()).log1p())


def _gaps(x: Tensor) -> Tensor:
    """x_i − x_j for all pairs, [B, K, K]."""
    return x[..., :, None] - x[..., None, :]


def _pair(**logps: Tensor) -> None:
    need(**{name: (x, "B") for name, x in logps.items()})
    finite(**logps)


def _per_token(chosen_logps: Tensor, rejected_logps: Tensor, *lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Mean log-probability per token of both replies, [B] each."""
    _pair(chosen_logps=chosen_logps, rejected_logps=rejected_logps)
    named = dict(zip(("chosen_lengths", "rejected_lengths"), lengths, strict=True))
    need(chosen_logps=(chosen_logps, "B"), **{name: (x, "B") for name, x in named.items()})
    within(1, math.inf, **named)
    return chosen_logps / lengths[0], rejected_logps / lengths[1]


def _list(logps: Tensor, lengths: Tensor, **beside: Tensor) -> Tensor:
    """Mean log-probability per token of all K replies, [B, K]."""
    need(logps=(logps, "B K"), lengths=(lengths, "B K"), **{name: (x, "B K") for name, x in beside.items()})
    finite(logps=logps, **beside)
    within(1, math.inf, lengths=lengths)
    return logps / lengths
