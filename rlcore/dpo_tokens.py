"""What does DPO say about single tokens? Soft values of the token game, credit per token, and KL along a reply.

A state is a prompt with the tokens so far, an action is the next token. With the penalty −β log π/π_ref per token the
optimum is a soft one, and its sequence-level policy is the π* of RLHF. Left out: the token losses themselves (dpo).
"""

import torch
from torch import Tensor

from rlcore import kl
from rlcore.shapes import axes, finite, need, positive

Number = float | Tensor


def soft_q(rewards: Tensor, next_values: Tensor, ref_logps: Tensor, beta: Number) -> Tensor:
    """What a token is worth: its reward, the reference's bonus for it, and the value of the state that follows.

        Q*(s, a) = r(s, a) + β log π_ref(a|s) + V*(s')

    The bonus stands inside Q, as in the source, so that V* is a plain log-sum-exp. TDPO's Q leaves it out.

    Args:
        rewards:     [..., A] reward of taking token a; mostly 0 but where the reply ends.
        next_values: [..., A] V*(s') in units of reward, 0 where the reply ends.
        ref_logps:   [..., A] nats, of the reference's next token.
        beta:        above 0.
    Returns: [..., A] in units of reward.
    Raises:  ValueError when the shapes disagree, rewards or values are not finite, or beta is not above 0.
    Source:  Rafailov et al. 2024 ("From r to Q*"), arXiv:2404.12358, section 4.

    >>> soft_q(torch.tensor([1., 0.]), torch.zeros(2), torch.tensor([0.5, 0.5]).log(), beta=1.)
    tensor([ 0.3069, -0.6931])
    """
    need(rewards=(rewards, "... A"))
    need(next_values=(next_values, axes(rewards.shape)), ref_logps=(ref_logps, axes(rewards.shape)))
    finite(rewards=rewards, next_values=next_values)
    positive(beta=beta)
    return rewards + beta * ref_logps + next_values


def soft_value(q: Tensor, beta: Number) -> Tensor:
    """The value of a state under its soft-optimal policy; at the prompt it is β log Z.

        V*(s) = β log Σ_a exp(Q*(s, a) / β)

    Args:
        q:    [..., A] of `soft_q`; −∞ for a token the reference never writes.
        beta: above 0.
    Returns: [...] in units of reward.
    Raises:  ValueError when q has no axis or holds a NaN, or beta is not above 0.
    Source:  Ziebart 2010; Rafailov et al. 2024, arXiv:2404.12358, section 4.

    >>> soft_value(torch.tensor([3., 5.]).log(), beta=1.)                            # log 8
    tensor(2.0794)
    """
    _q(q, beta)
    return beta * (q / beta).logsumexp(-1)


def soft_logps(q: Tensor, beta: Number) -> Tensor:
    """The soft-optimal policy of a state, as log-probabilities: Q* of DPO's policy are its logits, up to a constant.

        log π*(a|s) = (Q*(s, a) − V*(s)) / β

    Args, Raises: as `soft_value`.
    Returns: [..., A] nats.
    Source:  Ziebart 2010; Rafailov et al. 2024, arXiv:2404.12358, section 4.

    >>> soft_logps(torch.tensor([3., 5.]).log(), beta=1.).exp()
    tensor([0.3750, 0.6250])
    """
    _q(q, beta)
    return (q / beta).log_softmax(-1)


def token_credits(logps: Tensor, ref_logps: Tensor, mask: Tensor, beta: Number) -> Tensor:
    """What each token adds to the implicit reward of a reply. Summed it is Σ r − V*(s_0), where the policy is optimal.

        c_t = β log π(a_t|s_t)/π_ref(a_t|s_t)

    A credit is a soft advantage, r + V*(s') − V*(s): not what the token was paid.

    Args:
        logps, ref_logps: [B, T] nats; behind the mask anything, a NaN included.
        mask:             [B, T] bool, True where the policy chose the token.
        beta:             above 0.
    Returns: [B, T] in units of reward; 0 behind the mask.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or beta is not above 0.
    Source:  Rafailov et al. 2024, arXiv:2404.12358, section 4.

    >>> logps, ref_logps = torch.tensor([[-1., -2., float("nan")]]), torch.tensor([[-2., -2., -1.]])
    >>> token_credits(logps, ref_logps, torch.tensor([[True, True, False]]), beta=0.5)
    tensor([[0.5000, 0.0000, 0.0000]])
    """
    need(logps=(logps, "B T"), ref_logps=(ref_logps, "B T"), mask=(mask, "B T"))
    positive(beta=beta)
    return beta * torch.where(_boolean(mask), logps - ref_logps, 0)


def sequential_kl(logits: Tensor, ref_logits: Tensor, mask: Tensor) -> Tensor:
    """TDPO's D: along one reply, the sum of KL(ref‖policy) of the next token. The reply is data: not an estimate of it.

        D = Σ_t Σ_a π_ref(a|s_t) (log π_ref(a|s_t) − log π(a|s_t))

    Args:
        logits, ref_logits: [B, T, V] of the next token; position t belongs to token t.
        mask:               [B, T] bool, True where the policy chose the token.
    Returns: [B] nats, 0 or more.
    Raises:  ValueError when the shapes disagree, a logit is not finite, or the mask is not boolean.
    Source:  Zeng et al. 2024 (TDPO), arXiv:2404.11999, "sequential KL divergence", the reference first.

    >>> half, nine = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.9, 0.1]]]).log()
    >>> sequential_kl(nine, half, torch.tensor([[True]]))                            # ½ log(½ / 0.9) + ½ log(½ / 0.1)
    tensor([0.5108])
    """
    need(logits=(logits, "B T V"), mask=(mask, "B T"))
    return torch.where(_boolean(mask), kl.exact(ref_logits, logits), 0).sum(-1)


def _q(q: Tensor, beta: Number) -> None:
    need(q=(q, "... A"))
    if q.isnan().any() or q.isposinf().any():
        raise ValueError("q holds nan or inf, expected numbers, or −inf for a token that cannot come")
    positive(beta=beta)


def _boolean(mask: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    return mask
