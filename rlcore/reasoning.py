"""What is a line of thought worth? Right once in k tries, right by vote, right step by step, or as a better guess.

Nothing here trains: these are measures of replies, and rewards for them. A step is a piece of a reply that is judged by
itself; rows hold S of them. Left out: who judges (worlds, a reward model), normalising over replies (grpo), the losses.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlcore import returns
from rlcore.shapes import axes, finite, need, probabilities, whole, within

MOST_VOTES = 128  # 128! still fits into a float64


def pass_at_k(samples: int | Tensor, correct: Tensor, k: int) -> Tensor:
    """pass@k: how likely is at least one of k replies right? Estimated from n replies, c of them right, without bias.

        1 − C(n − c, k) / C(n, k) = 1 − Π_{i<k} (n − c − i) / (n − i)

    Of all ways to pick k of the n, the share that picks a right one; so its mean is 1 − (1 − p)^k for any n ≥ k.
    The plug-in 1 − (1 − c/n)^k is too low for k > 1: with p = 0.2, n = 10, k = 5 its mean is 0.594 instead of 0.672.

    Args:
        samples: n, replies to each prompt: a number, or [...].
        correct: [...] c, how many of them are right, from 0 to n.
        k:       from 1 to n; from fewer replies there is no unbiased estimate.
    Returns: [...] float64, from 0 to 1. Average it over prompts.
    Raises:  ValueError when shapes disagree, a count is not whole, c is not from 0 to n, or k is not from 1 to n.
    Source:  Chen et al. 2021 (Codex), arXiv:2107.03374, eq. 1; here k factors, in the paper's code c.

    >>> pass_at_k(4, torch.tensor([0, 1, 3]), k=2)                              # of 6 pairs 0, 3 and 6 hold a right one
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    whole(1, k=k)
    samples = torch.as_tensor(samples)
    need(correct=(correct, "..."), samples=(samples, axes(correct.shape) if samples.ndim else ""))
    wrong = (samples - correct).double()
    within(k, math.inf, samples=samples), within(0, math.inf, correct=correct, **{"samples − correct": wrong})
    if (samples % 1).any() or (correct % 1).any():
        raise ValueError("samples or correct holds a fraction, expected whole numbers of replies")
    taken = torch.arange(k, device=correct.device)
    return 1 - ((wrong[..., None] - taken) / (samples[..., None] - taken)).prod(-1)  # 0 is among them where k > n − c


def majority_vote(answers: Tensor) -> Tensor:
    """Self-consistency: the answer given most often; of several given equally often the one that came first.

    Draws come in random order, so who comes first among equals is a matter of chance, the same for all of them.

    Args:
        answers: [B, N] whole numbers that stand for answers. One without an answer votes too: give it its own number.
    Returns: [B] the winner.
    Raises:  ValueError when answers is not [B, N] or there are none.
    Source:  Wang et al. 2022, arXiv:2203.11171, majority vote ("unweighted sum").

    >>> majority_vote(torch.tensor([[7, 3, 3, 7, 5], [1, 2, 3, 3, 4]]))
    tensor([7, 3])
    """
    if not need(answers=(answers, "B N"))["N"]:
        raise ValueError(f"answers has shape {list(answers.shape)}, expected at least one answer in each row")
    votes = (answers[:, :, None] == answers[:, None, :]).sum(-1)  # [B, N]
    return answers.gather(1, votes.argmax(1, keepdim=True))[:, 0]  # argmax takes the first


def majority_at_k(answer_probs: Tensor, right: Tensor, k: int) -> Tensor:
    """maj@k: how likely does the right answer win the vote of k draws? Exactly; ties are broken by chance.

        Σ_v P(right gets v votes, nobody more) E[1 / (1 + answers tied with it)]

    Many draws help where the right answer is the likeliest, else they harm: the limit is 1, or 0. Two are worth one. In
    place of all A^k rows it counts, answer by answer, the ways in which the others can use up the votes.

    Args:
        answer_probs: [..., A] chance of each answer in one draw.
        right:        [...] int64, which answer is right.
        k:            draws, from 1 to 128.
    Returns: [...] probability, with its gradient.
    Raises:  ValueError when shapes disagree, a row is no distribution, right is no answer, or k is out of range.
    Source:  Wang et al. 2022, arXiv:2203.11171; Condorcet 1785 for two answers.

    >>> majority_at_k(torch.tensor([[0.6, 0.4], [0.4, 0.6]]), torch.tensor([0, 0]), k=3)        # p² (3 − 2p)
    tensor([0.6480, 0.3520])
    """
    size = need(answer_probs=(answer_probs, "... A"), right=(right, axes(answer_probs.shape[:-1])))["A"]
    probabilities(answer_probs=answer_probs)
    whole(1, k=k), within(1, MOST_VOTES, k=k), within(0, size - 1, right=right)
    own = answer_probs.double().gather(-1, right[..., None])[..., 0]
    others = answer_probs.double().scatter(-1, right[..., None], 0)
    total = torch.zeros_like(own)
    for votes in range(1, k + 1):
        ways = pad(torch.ones_like(own)[..., None, None], (0, size - 1, 0, k - votes))  # [..., cast, answers tied]
        for prob in others.unbind(-1):
            ways = sum(_cast(ways, prob, cast, cast == votes) for cast in range(min(votes, k - votes) + 1))
        share = ways[..., -1, :] / torch.arange(1, size + 1, device=own.device)
        total = total + own**votes / math.gamma(votes + 1) * share.sum(-1)
    return (math.gamma(k + 1) * total).to(answer_probs.dtype)


def _cast(ways: Tensor, prob: Tensor, cast: int, tied: bool) -> Tensor:
    """The ways in which one more answer gets so many votes, over the orders in which they come."""
    return pad(ways, (int(tied), -int(tied), cast, -cast)) * (prob**cast / math.gamma(cast + 1))[..., None, None]


def step_product(step_probs: Tensor, mask: Tensor) -> Tensor:
    """One score from the scores of steps: how likely are all of them right, if each is judged by itself?

        Π_s P(step s is right)

    Every further step costs something: of two equally careful replies the longer one loses.

    Args:
        step_probs: [B, S] what a process reward model says of each step, in [0, 1].
        mask:       [B, S] bool, True where there is a step, at least one in each row.
    Returns: [B] in [0, 1].
    Raises:  ValueError when shapes disagree, the mask is not boolean, a row has no step, or a score is outside [0, 1].
    Source:  Lightman et al. 2023, arXiv:2305.20050, section 2.6; appendix F compares it with the minimum.

    >>> step_product(torch.tensor([[0.9, 0.5, 0.8]]), torch.tensor([[True, True, False]]))
    tensor([0.4500])
    """
    return _steps(step_probs, mask, 1).prod(-1)


def step_minimum(step_probs: Tensor, mask: Tensor) -> Tensor:
    """One score from the scores of steps: how good is the worst one? A chain is as strong as its weakest link.

    Length costs nothing. The gradient goes to the worst step alone. Args, Returns and Raises are those of step_product.

    Source:  Lightman et al. 2023, arXiv:2305.20050, appendix F; Wang et al. 2023 (Math-Shepherd), arXiv:2312.08935.

    >>> step_minimum(torch.tensor([[0.9, 0.5, 0.2]]), torch.tensor([[True, True, False]]))
    tensor([0.5000])
    """
    return _steps(step_probs, mask, math.inf).amin(-1)


def _steps(step_probs: Tensor, mask: Tensor, behind: float) -> Tensor:
    need(step_probs=(step_probs, "B S"), mask=(mask, "B S"))
    _boolean(mask)
    if not mask.any(-1).all():
        raise ValueError(f"mask has no True in row {(~mask.any(-1)).nonzero()[0].item()}, expected at least one step")
    within(0, 1, step_probs=step_probs.detach()[mask])
    return torch.where(mask, step_probs, behind)


def process_advantages(step_rewards: Tensor, mask: Tensor, ddof: int) -> Tensor:
    """GRPO with a judge of steps: rewards normalised over all steps of a group, then summed from each step to the end.

        r̃ = (r − mean) / std over the steps of K replies,     A_s = Σ_{j ≥ s} r̃_j

    With one step each it is `grpo.group_normalized`. With more, the mean over *steps* is taken off each step, so that
    adding one more step better than that mean pays. `returns.discounted_returns` sums without any baseline.

    Args:
        step_rewards: [B, K, S] of each step; behind the mask anything, a NaN included.
        mask:         [B, K, S] bool, True where there is a step, at least two in each group.
        ddof:         1 as torch.std divides, 0 as numpy.std. The paper does not say.
    Returns: [B, K, S], 0 where there is no step; at first steps they sum to 0. Equal rewards give exact zeros.
    Raises:  ValueError when shapes disagree, a group has fewer than two steps, or a number or ddof is out of range.
    Source:  Shao et al. 2024 (GRPO), arXiv:2402.03300, section 4.1.3.

    >>> mask = torch.tensor([[[True, True], [True, False]]])
    >>> process_advantages(torch.tensor([[[1., 1.], [0., 9.]]]), mask, ddof=0)               # mean 2/3, std √2 / 3
    tensor([[[ 1.4142,  0.7071], [-1.4142,  0.0000]]])
    """
    need(step_rewards=(step_rewards, "B K S"), mask=(mask, "B K S"))
    _boolean(mask)
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof!r}, expected 0 (divide by the steps) or 1 (by one less)")
    kept, rewards = mask.flatten(1), torch.where(mask, step_rewards, 0).flatten(1)
    finite(step_rewards=rewards)
    count = kept.sum(-1, keepdim=True)
    if (count < 2).any():
        raise ValueError(f"mask has {int(count.min())} True in a group, expected at least 2 steps to compare")
    first = rewards.gather(1, kept.int().argmax(-1, keepdim=True))  # taken off first, so that equal ones give zeros
    shifted = torch.where(kept, rewards - first, 0)
    centered = torch.where(kept, shifted - shifted.sum(-1, keepdim=True) / count, 0)
    spread = (centered.square().sum(-1, keepdim=True) / (count - ddof)).sqrt()
    scaled = torch.where(spread > 0, centered / spread, 0).view(mask.shape)
    return torch.where(mask, scaled.flip(-1).cumsum(-1).flip(-1), 0)


def to_tokens(per_step: Tensor, steps: Tensor) -> Tensor:
    """Every token gets what its step got.

    Args:
        per_step: [..., S], for instance `process_advantages` of replies.
        steps:    [..., T] int64, the step a token belongs to, from 0 to S − 1; −1 where it belongs to none.
    Returns: [..., T], 0 where a token belongs to no step.
    Raises:  ValueError when the shapes disagree or a step does not exist.

    >>> to_tokens(torch.tensor([[0.5, -2.]]), torch.tensor([[0, 0, 1, -1]]))
    tensor([[ 0.5000,  0.5000, -2.0000,  0.0000]])
    """
    size = need(per_step=(per_step, "... S"))["S"]
    need(steps=(steps, f"{axes(per_step.shape[:-1])} T"))
    within(-1, size - 1, steps=steps)
    return torch.where(steps < 0, 0, per_step.gather(-1, steps.clamp(min=0)))


def shaped_rewards(rewards: Tensor, discounts: Tensor, potentials: Tensor) -> Tensor:
    """Potential-based shaping: pay each step, too, for how much better the state has become. No best action changes.

        r_t + γ_t Φ(s_{t+1}) − Φ(s_t),     Φ = 0 at the end

    Whatever one does, the return from a state falls by its Φ: so do Q and V, and advantages and best policy stay. Pay
    Φ(s_{t+1}) alone, and going round in circles pays. With V for Φ this is `returns.td_errors`. Of an MDP the shaped
    rewards [S, A] are `q_from_v(mdp, phi) - phi[:, None]`, with phi 0 where it ends.

    Args:
        rewards:    [B, T]   r_t, received after action t.
        discounts:  [B, T]   γ, or 0 where the episode ended at t: nothing of Φ is paid there.
        potentials: [B, T+1] Φ(s_t), any function of the state; a row cut off bootstraps from V − Φ.
    Returns: [B, T] in units of reward.
    Raises:  ValueError when shapes disagree, a discount is outside [0, 1], or something before an end is not finite.
    Source:  Ng, Harada & Russell 1999, theorem 1.

    >>> shaped_rewards(torch.tensor([[0., 1.]]), torch.tensor([[.5, 0.]]), torch.tensor([[1., 4., 9.]]))
    tensor([[ 1., -3.]])
    """
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), potentials=(potentials, "B T+1"))
    returns.check_steps(rewards, discounts, potentials=potentials)
    return rewards + returns.discounted(discounts, potentials[:, 1:]) - potentials[:, :-1]


def prefix_match(predicted: Sequence, continuation: Sequence, boundaries: Iterable[int]) -> float:
    """RPT's reward for a guess of what comes next: 1 if the text goes on with just that, up to the end of some token.

        r = 1[y = x_{1:l} and l ∈ L],     l = |y|,     L = where the tokens of the text end

    A guess may take in several tokens. Half a token earns nothing.

    Args:
        predicted:    y, the guess: bytes in the paper; any sequence of the continuation's type.
        continuation: x, how the text goes on.
        boundaries:   L, symbols from the start of the continuation to the end of each token in it, 1 or more.
    Returns: 1 or 0.
    Raises:  ValueError when the two are of different types, or a boundary is not within the continuation.
    Source:  Dong et al. 2025 (RPT), arXiv:2506.08007, eq. 3.

    >>> [prefix_match(guess, "red roses", [3, 9]) for guess in ("red", "red roses", "red r", "roses", "red roses!")]
    [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    if type(predicted) is not type(continuation):
        raise ValueError(f"predicted is {type(predicted).__name__}, expected {type(continuation).__name__} as the text")
    for ends in (boundaries := set(boundaries)):
        whole(1, boundaries=ends), within(1, len(continuation), boundaries=ends)
    return float(len(predicted) in boundaries and continuation[: len(predicted)] == predicted)


def top_entropy(logits: Tensor, k: int) -> Tensor:
    """Is there anything to think about? Entropy of the next token among the k likeliest. RPT trains where it is high.

    Args:
        logits: [..., V] of a small proxy model, unnormalised.
        k:      from 1 to V; 16 in the paper, which does not say whether they are normalised again. Here they are.
    Returns: [...] nats, from 0 to log k.
    Raises:  ValueError when a logit is not finite, or k is not from 1 to V.
    Source:  Dong et al. 2025 (RPT), arXiv:2506.08007, the filter of its training data.

    >>> top_entropy(torch.tensor([[9., 9., 0., 0.], [9., 0., 0., 0.]]), k=2)                          # log 2
    tensor([0.6931, 0.0012])
    """
    size = need(logits=(logits, "... V"))["V"]
    whole(1, k=k), within(1, size, k=k)
    finite(logits=logits)
    logps = logits.topk(k, dim=-1).values.log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)


def information_gain(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """RLP's reward for a thought c: how much likelier does it make what really comes next? Dense where RPT's is 0 or 1.

        r = log π(x_t | x_<t, c) − log π̄(x_t | x_<t),     π̄: a slow copy of the policy that does not think

    Its mean over texts is the drop in cross-entropy; below 0, the thought misled.

    Args:
        logps, ref_logps: [...] nats, of the true next token with and without the thought.
    Returns: [...] nats; a constant, without gradient.
    Raises:  ValueError when the shapes disagree or a log-probability is not finite.
    Source:  Hatamizadeh et al. 2025 (RLP), arXiv:2510.01265, the information-gain reward.

    >>> information_gain(torch.tensor([0.5, 0.1]).log(), torch.tensor([0.25, 0.2]).log())            # log 2, log ½
    tensor([ 0.6931, -0.6931])
    """
    need(logps=(logps, "..."), ref_logps=(ref_logps, axes(logps.shape)))
    finite(logps=logps, ref_logps=ref_logps)
    return (logps - ref_logps).detach()


def _boolean(mask: Tensor) -> None:
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
