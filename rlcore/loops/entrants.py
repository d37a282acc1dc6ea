"""Who takes part in the league? Every trainable method of the family: a function of a Batch, and its settings.

Left out: the losses themselves (dpo, rankings, feedback, …), what methods may look at and in which steps (schedules),
and how they are measured (league).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlcore import dpo, dpo_tokens, dpo_training, feedback, lm, logprobs, rankings, token_feedback
from rlcore import generalized_dpo as general
from rlcore.loops.dpo import Batch
from rlcore.loops.schedules import Method, parallel, sampled, stepwise


class BetaDPO:
    """β-DPO: pairs whose margin is unusual are mostly left out, and each batch has its own β."""

    def __init__(self, beta: float, alpha: float, share: float) -> None:
        self.beta, self.alpha, self.share = beta, alpha, share
        self.mean, self.std, self.generator = 0.0, 1.0, torch.Generator().manual_seed(0)

    def __call__(self, b: Batch) -> Tensor:
        h = b.margin
        weights = dpo_training.keep_weights(h, self.mean, self.std).clamp(min=1e-30)
        kept = h[torch.multinomial(weights, round(self.share * len(h)), generator=self.generator)]
        beta = dpo_training.dynamic_beta(kept, self.beta, self.alpha, self.mean, least=1e-3)
        self.mean = 0.9 * self.mean + 0.1 * h.mean().item()
        self.std = 0.9 * self.std + 0.1 * h.std().item()
        return dpo.dpo_loss(kept, beta)


class DRO(nn.Module):
    """DRO-V: the value of a prompt is a second model, trained beside the policy."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta, self.value = beta, lm.scalar(lm.shipped("replies_sft")[0], seed=0)

    def forward(self, b: Batch) -> Tensor:
        values = lm.values(self.value, b.replies)[:, 0]
        return feedback.dro_loss(b.log_ratios.flatten(), b.rewards.flatten(), values, self.beta)


class Cringe:
    """CRINGE: likelihood of good replies; each token of a bad one against a rival that the model would write."""

    def __init__(self, weight: float, k: int) -> None:
        self.weight, self.k, self.generator = weight, k, torch.Generator().manual_seed(0)

    def __call__(self, b: Batch) -> Tensor:
        tokens, mask = b.replies.tokens, b.replies.mask
        chances = token_feedback.rival_probs(b.logits, tokens, self.k).flatten(0, 1)
        rivals = torch.multinomial(chances, 1, generator=self.generator).view_as(tokens)
        rival_logps = logprobs.token_logps(b.logits, rivals)
        return token_feedback.cringe_loss(b.token_logps, rival_logps, good(b), mask, self.weight)


class PairwiseCringe(Cringe):
    """Pairwise CRINGE: the same for a pair, until the chosen reply is far enough ahead."""

    def __init__(self, target: float, temperature: float, **settings: float) -> None:
        super().__init__(**settings)
        self.target, self.temperature = target, temperature

    def __call__(self, b: Batch) -> Tensor:
        gate = token_feedback.pairwise_cringe_gate(*b.logps.unbind(1), self.target, self.temperature)
        return gate * super().__call__(b).view(-1, 2).sum(1)


def good(b: Batch) -> Tensor:
    """Which replies of a batch of pairs are desirable, [2 B] bool."""
    return torch.arange(len(b.replies)) % 2 == 0


def standing(b: Batch) -> Tensor:
    """A label for each place in a ranking, [B, K]: 1 for the best, 0 for the worst, evenly between."""
    return torch.linspace(1, 0, b.logps.shape[1]).expand_as(b.logps)


def in_order(b: Batch) -> Tensor:
    """The ranking of a batch, [B, K]: its replies are best first already."""
    return torch.arange(b.logps.shape[1]).expand_as(b.logps)


def own(b: Batch) -> tuple[Tensor, ...]:
    """Log-probabilities and lengths of chosen and rejected replies, [B] each: for losses without a reference."""
    return *b.logps.unbind(1), *b.lengths.unbind(1)


def seq_kls(b: Batch) -> tuple[Tensor, ...]:
    """TDPO's D of chosen and rejected replies, [B] each."""
    return dpo_tokens.sequential_kl(b.logits, b.ref_logits, b.replies.mask).view(-1, 2).unbind(1)


def dpo_loss(b: Batch, beta: float, **_: float) -> Tensor:
    """What else is set belongs to the schedule."""
    return dpo.dpo_loss(b.margin, beta)


def gpo(f: general.Function) -> Callable[..., Tensor]:
    return lambda b, beta: general.gpo_loss(b.margin, beta, f)


def f_dpo(score: general.Function) -> Callable[..., Tensor]:
    return lambda b, beta: general.f_dpo_loss(*b.log_ratios.unbind(1), beta, score)


def rdpo(b: Batch, **settings: float) -> Tensor:
    return dpo.rdpo_loss(b.margin, *b.lengths.unbind(1), **settings)


def tdpo_2(b: Batch, **settings: float) -> Tensor:
    return dpo.tdpo_loss(b.margin, *seq_kls(b), **settings)


def slic(b: Batch, **settings: float) -> Tensor:
    """The chosen reply is also the text that holds the policy."""
    chosen_logps, rejected_logps = b.logps.unbind(1)
    return rankings.slic_loss(chosen_logps, rejected_logps, chosen_logps, **settings)


def plackett_luce(b: Batch, beta: float) -> Tensor:
    return rankings.plackett_luce_dpo_loss(b.log_ratios, in_order(b), beta)


def lipo(b: Batch, beta: float) -> Tensor:
    return rankings.lipo_loss(b.log_ratios, standing(b), beta)


def pro(b: Batch, weight: float) -> Tensor:
    return rankings.pro_loss(b.logps, b.lengths, in_order(b), weight)


def kto(b: Batch, **settings: float) -> Tensor:
    point = feedback.kto_reference_point(b.mismatched)
    return feedback.kto_loss(b.log_ratios.flatten(), good(b), point, **settings)


def bco(b: Batch, beta: float) -> Tensor:
    ratios = b.log_ratios.flatten()
    return feedback.bco_loss(ratios, good(b), feedback.bco_shift(ratios, good(b), beta), beta)


def unlikelihood(b: Batch, weight: float) -> Tensor:
    """Likelihood of the chosen reply beside it. Tokens that are all but certain, as within a sentence, stay."""
    logps, mask = (x.view(-1, 2, x.shape[-1])[:, 1] for x in (b.token_logps, b.replies.mask))
    return weight * token_feedback.unlikelihood_loss(logps.clamp(max=-1e-3), mask) - b.logps[:, 0]


def npo(b: Batch, beta: float) -> Tensor:
    return feedback.npo_loss(b.log_ratios[:, 1::2].flatten(), beta)


def d2o(b: Batch, **settings: float) -> Tensor:
    """The rejected reply of each pair against the other pair, whose rank is not looked at."""
    pairs = b.log_ratios.view(-1, 2, 2)
    return feedback.d2o_loss(pairs.flip(1).flatten(0, 1), pairs[:, :, 1].flatten(), **settings)


NOISY = {"beta": 0.1, "flip_rate": 0.1}
LIGHT = 0.05  # the weight at which the likelihood of a whole reply counts about as much as that of one token
THUMBS = {"beta": 0.1, "weight_desirable": 1.0, "weight_undesirable": 1.0}
CRINGE = {"weight": 0.1, "k": 5}
_METHODS = (
    Method("DPO β 0.1", "pairs", True, dpo_loss, {"beta": 0.1}),
    Method("DPO β 0.5", "pairs", True, dpo_loss, {"beta": 0.5}),
    Method("cDPO", "pairs", True, lambda b, **s: dpo.cdpo_loss(b.margin, **s), NOISY),
    Method("robust DPO", "pairs", True, lambda b, **s: dpo.robust_dpo_loss(b.margin, **s), NOISY),
    Method("IPO", "pairs", True, lambda b, beta: dpo.ipo_loss(b.margin, beta), {"beta": 0.1}),
    Method("hinge", "pairs", True, lambda b, beta: dpo.hinge_loss(b.margin, beta), {"beta": 0.1}),
    Method("squared hinge", "pairs", True, gpo(general.squared_hinge), {"beta": 0.1}),
    Method("exponential", "pairs", True, gpo(general.exponential), {"beta": 0.1}),
    Method("DPOP", "pairs", True, lambda b, **s: dpo.dpop_loss(*b.pair, **s), {"beta": 0.1, "penalty": 1.0}),
    Method("β-DPO", "pairs", True, BetaDPO, {"beta": 0.1, "alpha": 0.6, "share": 0.8}),
    Method("sDPO", "pairs", True, dpo_loss, {"beta": 0.1}, stepwise),
    Method("RSO", "pairs", True, dpo_loss, {"beta": 0.1, "temperature": 1.0}, sampled),
    Method("R-DPO", "pairs", True, rdpo, {"beta": 0.1, "alpha": 0.05}),
    Method("forward KL", "pairs", True, f_dpo(general.forward_kl_score), {"beta": 0.1}),
    Method("Jensen–Shannon", "pairs", True, f_dpo(general.jensen_shannon_score), {"beta": 0.1}),
    Method("α-divergence", "pairs", True, f_dpo(general.alpha_score(0.5)), {"beta": 0.1}),
    Method("TDPO-1", "pairs", True, lambda b, beta: dpo.tdpo1_loss(b.margin, *seq_kls(b), beta), {"beta": 0.1}),
    Method("TDPO-2", "pairs", True, tdpo_2, {"beta": 0.1, "alpha": 0.5}),
    Method("PAFT", "pairs", True, dpo_loss, {"beta": 0.1, "share": 1.0, "weight": 1.0, "threshold": 1e-3}, parallel),
    Method("SimPO", "pairs", False, lambda b, **s: rankings.simpo_loss(*own(b), **s), {"beta": 2.5, "target": 1.375}),
    Method("ORPO", "pairs", False, lambda b, **s: rankings.orpo_loss(*own(b), **s), {"weight": 1.0}),
    Method("CPO", "pairs", False, lambda b, **s: rankings.cpo_loss(*own(b)[:2], **s), {"beta": 0.1, "weight": LIGHT}),
    Method("SLiC-HF", "pairs", False, slic, {"target": 10.0, "weight": LIGHT}),
    Method("pairwise CRINGE", "pairs", False, PairwiseCringe, {"target": 10.0, "temperature": 10.0} | CRINGE),
    Method("SFT on chosen", "pairs", False, lambda b: -b.logps[:, 0], {}),
    Method("Plackett–Luce β 0.1", "lists", True, plackett_luce, {"beta": 0.1}),
    Method("Plackett–Luce β 0.5", "lists", True, plackett_luce, {"beta": 0.5}),
    Method("LiPO-λ β 0.1", "lists", True, lipo, {"beta": 0.1}),
    Method("LiPO-λ β 0.5", "lists", True, lipo, {"beta": 0.5}),
    Method("RRHF", "lists", False, lambda b: rankings.rrhf_loss(b.logps, b.lengths, standing(b)), {}),
    Method("PRO", "lists", False, pro, {"weight": LIGHT}),
    Method("KTO", "thumbs", True, kto, THUMBS),
    Method("BCO", "thumbs", True, bco, {"beta": 0.1}),
    Method("CRINGE", "thumbs", False, Cringe, CRINGE),
    Method("unlikelihood", "thumbs", False, unlikelihood, {"weight": 0.1}),
    Method("DRO-V", "marks", True, DRO, {"beta": 0.5}),
    Method("NPO", "negatives", True, npo, {"beta": 0.1}),
    Method("D²O", "negatives", True, d2o, {"beta": 0.1, "alpha": 0.1}),
    Method("ascent on rejected", "negatives", False, lambda b: b.logps[:, 1::2].flatten(), {}),
)
METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
"""All entrants by name."""
