"""How do comparisons become a reward? Bradley–Terry for two answers, Plackett–Luce for K, and fits of their strengths.

A score is a real number per answer, in units of reward; only differences within a prompt mean anything. Losses are
unreduced and to be minimised. Left out: where scores come from (a language model with one output), ties.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from rlcore.shapes import axes, finite, need, positive, whole, within


class Fit(NamedTuple):
    """Strengths that explain the wins best, how sure they are, and how many steps it took."""

    scores: Tensor  # [N], mean 0
    errors: Tensor  # [N] standard errors of the centred scores
    steps: int


def bradley_terry(score_a: Tensor, score_b: Tensor) -> Tensor:
    """Probability that a is preferred to b: P(a ≻ b) = σ(score_a − score_b).

    Args:
        score_a, score_b: [...] in units of reward.
    Returns: [...] in (0, 1).
    Raises:  ValueError when the shapes disagree or a score is not finite.
    Source:  Zermelo 1929; Bradley & Terry 1952.

    >>> bradley_terry(torch.tensor([7.]).log(), torch.tensor([3.]).log())
    tensor([0.7000])
    """
    return _difference(score_a=score_a, score_b=score_b).sigmoid()


def bradley_terry_loss(chosen_scores: Tensor, rejected_scores: Tensor) -> Tensor:
    """A reward model's loss: minus the log-probability of the choice that was made.

        L = −log σ(r_w − r_l),     ∂L/∂r_w = −σ(r_l − r_w)

    Args:
        chosen_scores, rejected_scores: [...] of the preferred and the other answer to the same prompt.
    Returns: [...] nats, unreduced; log 2 where the model cannot tell them apart.
    Raises:  ValueError when the shapes disagree or a score is not finite.
    Source:  Christiano et al. 2017, arXiv:1706.03741, eq. 1; Ouyang et al. 2022, arXiv:2203.02155, eq. 1.

    >>> bradley_terry_loss(torch.tensor([1.]), torch.tensor([1.]))
    tensor([0.6931])
    """
    return -logsigmoid(_difference(chosen_scores=chosen_scores, rejected_scores=rejected_scores))


def margin_loss(chosen_scores: Tensor, rejected_scores: Tensor, margin: Tensor) -> Tensor:
    """Bradley–Terry with a head start: the more clearly an annotator preferred, the further apart the scores should be.

        L = −log σ(r_w − r_l − m)

    Args:
        chosen_scores, rejected_scores: [...].
        margin: [...] m, 0 or more, in units of reward.
    Returns: [...] nats, unreduced.
    Raises:  ValueError when the shapes disagree, a score is not finite, or a margin is negative.
    Source:  Touvron et al. 2023 (Llama 2), arXiv:2307.09288, eq. 2.

    >>> margin_loss(torch.tensor([3.]), torch.tensor([1.]), margin=torch.tensor([2.]))
    tensor([0.6931])
    """
    difference = _difference(chosen_scores=chosen_scores, rejected_scores=rejected_scores)
    need(margin=(margin, axes(difference.shape)))
    within(0, torch.inf, margin=margin)
    return -logsigmoid(difference - margin)


def plackett_luce_logps(scores: Tensor, ranking: Tensor) -> Tensor:
    """Log-probability of a whole ranking: choose the best of all, then the best of the rest, and so on.

        log P = Σ_k [score(τ_k) − log Σ_{j ≥ k} exp(score(τ_j))]

    K = 2 is Bradley–Terry.

    Args:
        scores:  [B, K] of the K answers to each prompt.
        ranking: [B, K] int64, answers from best to worst: ranking[b, 0] is the index of the best.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, a score is not finite, or a row of ranking is no permutation.
    Source:  Luce 1959; Plackett 1975.

    >>> plackett_luce_logps(torch.tensor([[2., 1., 5.]]).log(), torch.tensor([[2, 0, 1]]))     # log (5/8 · 2/3)
    tensor([-0.8755])
    """
    ordered = _ordered(scores, ranking)
    return (ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def listwise_loss(scores: Tensor, ranking: Tensor) -> Tensor:
    """Minus the log-probability of the ranking, [B] nats; also called ListMLE. See `plackett_luce_logps`.

    Source: Xia et al. 2008.
    """
    return -plackett_luce_logps(scores, ranking)


def pairwise_loss(scores: Tensor, ranking: Tensor) -> Tensor:
    """All pairs of one prompt's K answers, as one element: the mean of K(K−1)/2 Bradley–Terry losses.

        L = −2 / (K (K − 1)) Σ_{i<j} log σ(score(τ_i) − score(τ_j))

    Args:
        scores:  [B, K], K at least 2.
        ranking: [B, K] int64, answers from best to worst.
    Returns: [B] nats.
    Raises:  ValueError as `plackett_luce_logps`, and where K is 1.
    Source:  Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, eq. 1.

    >>> pairwise_loss(torch.zeros(1, 4), torch.tensor([[0, 1, 2, 3]]))                         # log 2, six times
    tensor([0.6931])
    """
    ordered = _ordered(scores, ranking)
    if scores.shape[-1] < 2:
        raise ValueError(f"scores has shape {list(scores.shape)}, expected at least 2 answers per prompt")
    better, worse = torch.triu_indices(*2 * ordered.shape[-1:], offset=1, device=scores.device)
    return -logsigmoid(ordered[..., better] - ordered[..., worse]).mean(-1)


def pointwise_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Each answer for itself: good or not? The score is the log-odds of "good".

        L = −label · log σ(score) − (1 − label) · log σ(−score)

    Args:
        scores: [...].
        labels: [...] 0 or 1, or the share of annotators who said "good".
    Returns: [...] nats, unreduced.
    Raises:  ValueError when the shapes disagree, a score is not finite, or a label is outside [0, 1].
    Source:  Cox 1958; for verifiers: Cobbe et al. 2021, arXiv:2110.14168, section 4.

    >>> pointwise_loss(torch.tensor([0., 3.]).log1p(), torch.tensor([1., 0.]))                 # log 2, log 5
    tensor([0.6931, 1.6094])
    """
    need(scores=(scores, "..."), labels=(labels, axes(scores.shape)))
    finite(scores=scores)
    within(0, 1, labels=labels)
    return binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none")


def fit_bradley_terry(wins: Tensor, tol: float = 1e-10, steps: int = 100) -> Fit:
    """The strengths under which the observed wins are likeliest, by Newton's method.

        maximise Σ_ij wins_ij log σ(s_i − s_j),     Σ_i s_i = 0

    At the maximum every player's expected number of wins is the observed one.

    Args:
        wins:  [N, N] how often the row beat the column, 0 or more; the diagonal is 0.
        tol:   stop when no expected number of wins is off by more.
        steps: at most so many.
    Returns: Fit(scores [N], errors [N], steps).
    Raises:  ValueError when wins is not square, holds a negative or NaN, or has no finite fit: where some players never
             lose to the others, their strength has no bound.
    Source:  Ford 1957 (when a fit exists); Newton's method.

    >>> fit_bradley_terry(torch.tensor([[0., 7.], [3., 0.]])).scores                           # ± ½ log 7/3
    tensor([ 0.4236, -0.4236])
    """

    def newton(won: Tensor, expected: Tensor, curvature: Tensor) -> Tensor:
        step = torch.linalg.pinv(curvature, hermitian=True) @ (won - expected)
        return step / max(1.0, step.abs().max().item())  # a step of at most 1 cannot overshoot badly

    return _fit(wins, tol, steps, newton)


def fit_bradley_terry_mm(wins: Tensor, tol: float = 1e-10, steps: int = 100_000) -> Fit:
    """The same fit by minorisation–maximisation: slower steps, no matrix, never a worse likelihood.

        e^{s_i} ← wins of i / Σ_j games_ij / (e^{s_i} + e^{s_j})

    Args, Returns, Raises: as `fit_bradley_terry`.
    Source:  Zermelo 1929; Hunter 2004, eq. 3.
    """
    return _fit(wins, tol, steps, lambda won, expected, curvature: won.log() - expected.log())


def _fit(wins: Tensor, tol: float, steps: int, move: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Fit:
    """Move the scores until every player expects the wins observed; the curvature is minus the second derivative."""
    games, won = _counted(wins)
    positive(tol=tol), whole(1, steps=steps)
    scores = torch.zeros_like(won)
    for step in range(steps + 1):
        chance = (scores[:, None] - scores).sigmoid()
        expected, curvature = (games * chance).sum(-1), _laplacian(games * chance * (1 - chance))
        off = (won - expected).abs().max()
        if off <= tol:
            errors = torch.linalg.pinv(curvature, hermitian=True).diagonal().sqrt()
            return Fit(scores.to(wins.dtype), errors.to(wins.dtype), step)
        scores = scores + move(won, expected, curvature)
        scores = scores - scores.mean()
    raise ValueError(f"steps is {steps}, expected more: wins are still off by {off:.3g}")


def _difference(**pair: Tensor) -> Tensor:
    (first, a), (second, b) = pair.items()
    need(**{first: (a, "...")})
    need(**{second: (b, axes(a.shape))})
    finite(**pair)
    return a - b


def _ordered(scores: Tensor, ranking: Tensor) -> Tensor:
    """Scores from the best answer to the worst, [B, K]."""
    need(scores=(scores, "B K"), ranking=(ranking, "B K"))
    finite(scores=scores)
    wrong = (ranking.sort(-1).values != torch.arange(scores.shape[-1], device=ranking.device)).any(-1).nonzero()
    if len(wrong):
        row = wrong[0].item()
        raise ValueError(f"ranking is {ranking[row].tolist()} in row {row}, expected each answer once")
    return scores.gather(-1, ranking)


def _counted(wins: Tensor) -> tuple[Tensor, Tensor]:
    """Games of each pair [N, N] and wins of each player [N], in float64, if a finite fit exists."""
    need(wins=(wins, "N N"))
    finite(wins=wins)
    within(0, torch.inf, wins=wins)
    if wins.diagonal().any():
        raise ValueError("wins has entries on its diagonal, expected 0: nobody plays against themselves")
    count, group = connected_components((wins > 0).cpu().numpy(), connection="strong")
    if count > 1:
        raise ValueError(f"wins has no finite fit: players fall into groups {group.tolist()} without wins both ways")
    wins = wins.double()
    return wins + wins.T, wins.sum(-1)


def _laplacian(weights: Tensor) -> Tensor:
    return torch.diag(weights.sum(-1)) - weights
