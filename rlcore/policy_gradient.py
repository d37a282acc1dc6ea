"""Which way is uphill, from samples alone? The score-function loss, and the baselines that calm it.

The gradient of an expected reward is the mean of score times reward. A baseline leaves that mean where it is, as long
as it does not depend on the action, and changes its variance. Left out: where advantages come from (returns), how
groups are normalised (grpo), and an entropy bonus: `loss - coefficient * policies.softmax_entropy(logits)`.
"""

from torch import Tensor

from rlcore import grpo, shapes


def score_function_loss(logps: Tensor, advantages: Tensor) -> Tensor:
    """A loss to be minimised, whose gradient is minus the policy gradient. Its value means nothing.

        L = −A log π(a|s),     ∇L = −A ∇log π(a|s)

    The caller detaches the advantages. Where they are not, the gradient also runs into whatever made them: here into a
    critic's value, which descent would raise without end instead of fitting it.

    >>> import torch
    >>> values = torch.zeros(1, requires_grad=True)
    >>> score_function_loss(torch.tensor([-2.]), 1 - values).sum().backward()
    >>> values.grad                                                     # should be none at all
    tensor([-2.])

    Args:
        logps:      [...] log π of what was done, nats; [B, T] per token or [B] per sequence.
        advantages: [...] in units of reward, same axes; an axis of size 1 is the same for all.
    Returns: [...] one loss per entry of logps. Each entry stays by itself: reduce it with `masked`. Padding has to hold
             finite numbers, since 0 · NaN is NaN in the gradient.
    Raises:  ValueError when the axes disagree.
    Source:  Williams 1992, eq. 4; Sutton et al. 2000, theorem 1.

    >>> score_function_loss(torch.tensor([-1., -2.]), torch.tensor([3., -4.]))
    tensor([ 3., -8.])
    """
    shapes.beside(logps=logps, advantages=advantages)
    return -advantages * logps


def leave_one_out(rewards: Tensor) -> Tensor:
    """Advantages inside a group: each reward minus the mean of the others'. To be maximised.

        A_i = r_i − 1/(K−1) Σ_{j≠i} r_j = K/(K−1) (r_i − mean r)

    The others' rewards do not depend on reply i, so the policy gradient stays unbiased. Computed from differences to
    the first reward: equal rewards give exact zeros.

    Args:
        rewards: [B, K] K independent replies to each prompt, K at least 2.
    Returns: [B, K], in units of reward; each row sums to 0.
    Raises:  ValueError when a reward is not finite or a group has fewer than 2 replies.
    Source:  Kool et al. 2019; Ahmadian et al. 2024 (RLOO), arXiv:2402.14740, section 3.

    >>> import torch
    >>> leave_one_out(torch.tensor([[1., 2., 6.]]))                     # 1 − 4,  2 − 3.5,  6 − 1.5
    tensor([[-3.0000, -1.5000,  4.5000]])
    """
    size = shapes.need(rewards=(rewards, "B K"))["K"]
    shapes.finite(rewards=rewards)
    if size < 2:
        raise ValueError(f"rewards has groups of {size}, expected at least 2 replies: one has no others")
    from_first = rewards - rewards[:, :1]
    return (size * from_first - from_first.sum(-1, keepdim=True)) / (size - 1)


def remax_advantages(rewards: Tensor, greedy_rewards: Tensor) -> Tensor:
    """ReMax: each reward minus that of the greedy reply to the same prompt. To be maximised.

        A = r(x, y) − r(x, y°),     y°_t = argmax π(·|x, y°_<t)

    The greedy reply does not depend on what was drawn, so the policy gradient stays unbiased, with one reply per prompt
    too. It costs one more generation per prompt, and is no mean: advantages need not be around 0.

    Args:
        rewards:        [B, K] K replies to each prompt; [B, 1] in the paper.
        greedy_rewards: [B] of the greedy reply to each prompt.
    Returns: [B, K], in units of reward; exact zeros where a reply earns what the greedy one earns.
    Raises:  ValueError when the shapes disagree or a reward is not finite.
    Source:  Li et al. 2023 (ReMax), arXiv:2310.10505, section 4.

    >>> import torch
    >>> remax_advantages(torch.tensor([[1., 0.], [3., 2.]]), torch.tensor([1., 2.]))
    tensor([[ 0., -1.],
            [ 1.,  0.]])
    """
    shapes.need(rewards=(rewards, "B K"), greedy_rewards=(greedy_rewards, "B"))
    shapes.finite(rewards=rewards, greedy_rewards=greedy_rewards)
    return rewards - greedy_rewards[:, None]


def batch_normalized(rewards: Tensor, ddof: int) -> Tensor:
    """REINFORCE++: how many standard deviations above the mean of the *whole batch*? To be maximised.

        A = (r − mean_batch r) / std_batch r,     std² = Σ (r − mean)² / (N − ddof)

    One mean and one scale for every prompt: none counts more for being easy or hard, where `grpo.group_normalized`
    makes it so. A large batch is nearly unbiased up to that scale. Its mean knows nothing of the prompt, so its noise
    is large; the paper's second form takes each group's mean off first: batch_normalized(grpo.group_centered(rewards)).

    Args:
        rewards: [...] one for each reply, at least 2 altogether. The paper's have the KL in them, −β Σ k1.
        ddof:    0 divides by N, as OpenRLHF does; 1 by N − 1. OpenRLHF counts a reply as often as it has tokens, which
                 is `rlhf.whitened`.
    Returns: [...] without units; they sum to 0; exact zeros where all rewards are equal.
    Raises:  ValueError when a reward is not finite, there are fewer than 2, or ddof is neither 0 nor 1.
    Source:  Hu et al. 2025 (REINFORCE++), arXiv:2501.03262, global advantage normalisation.

    >>> import torch
    >>> batch_normalized(torch.tensor([[1., 1.], [0., 2.]]), ddof=0)
    tensor([[ 0.0000,  0.0000],
            [-1.4142,  1.4142]])
    """
    shapes.need(rewards=(rewards, "..."))
    shapes.finite(rewards=rewards)
    if rewards.numel() < 2:
        raise ValueError(f"rewards has {rewards.numel()} entries, expected at least 2: one has no spread")
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof!r}, expected 0 (divide by N) or 1 (divide by N − 1)")
    return grpo.group_normalized(rewards.reshape(1, -1), ddof).view(rewards.shape)  # one group: the whole batch


def optimal_baseline(scores: Tensor, rewards: Tensor, probabilities: Tensor) -> Tensor:
    """The one constant that leaves the least total variance in score · (reward − b).

        b* = E[‖∇log π‖² r] / E[‖∇log π‖²]

    The mean reward, weighted by how far each outcome moves the parameters.

    Args:
        scores:        [..., N, D] ∇ log π of each of N outcomes.
        rewards:       [..., N].
        probabilities: [..., N] of the outcomes, sum to 1; 1/N each for N samples.
    Returns: [...] in units of reward.
    Raises:  ValueError when shapes disagree, a number is not finite, probabilities are none, or all scores are 0.
    Source:  Weaver & Tao 2001; Greensmith et al. 2004, theorem 8.

    >>> import torch
    >>> scores = torch.tensor([[0.75, -0.75], [-0.25, 0.25]])           # π = (¼, ¾)
    >>> optimal_baseline(scores, torch.tensor([0., 1.]), torch.tensor([0.25, 0.75]))     # the rare one moves more
    tensor(0.2500)
    """
    shapes.need(scores=(scores, "... N D"))
    axes = shapes.axes(scores.shape[:-1])
    shapes.need(rewards=(rewards, axes), probabilities=(probabilities, axes))
    shapes.finite(scores=scores, rewards=rewards)
    shapes.probabilities(probabilities=probabilities)
    weights = probabilities * scores.square().sum(-1)
    total = weights.sum(-1)
    if not (total > 0).all():
        raise ValueError("scores are all 0 where probabilities are not, expected a policy that can still change")
    return (weights * rewards).sum(-1) / total
