"""What does a reply earn, exactly? A world of short replies, few enough to write every one of them down.

Three prompts, five words and EOS. A reply has at most four words; a shorter one ends with EOS, one of four words ends
by itself: 1 + 5 + 25 + 125 + 625 = 781 replies per prompt, and every quantity is a plain sum over them. A policy is a
table of logits per prompt and prefix. Left out: sampling and training.
Sizes: P = 3 prompts, N = 781 replies, S = 156 prefixes of at most three words, V = 6 tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from rlcore.mdp import MDP
from rlcore.shapes import finite, need, positive, probabilities

FITS = {"someone arrives": "hello", "someone helped you": "thanks", "you are late": "sorry"}
WORDS = ("hello", "thanks", "sorry", "friend", "whatever")
COURTESY = {"friend": 0.5, "whatever": -0.5}
LONGEST = 4
SILENCE = "(silence)"  # how the empty reply reads
EOS = len(WORDS)  # the token after the words; it also pads
P, S, N, V = len(FITS), 156, 781, EOS + 1


@dataclass(frozen=True)
class Phrases:
    """Every prompt, every reply, every reward, and what follows from them.

    Replies and prefixes share one numbering: shorter before longer, then in the order of WORDS. Appending word w to
    number n gives number 5 n + 1 + w. Numbers below S = 156 (at most three words) are also the prefixes where a token
    is still to be chosen; there, EOS ends the reply with the same number.

    Args:
        dtype:  float32 or float64, of every number in the world.
        device: where the tensors live.
    Raises: ValueError when dtype is neither or the device is unknown.

    >>> world = Phrases()
    >>> best = world.reward.argmax(-1)
    >>> [f"{prompt}: {world.responses[n]}" for prompt, n in zip(world.prompts, best)]
    ['someone arrives: hello friend', 'someone helped you: thanks friend', 'you are late: sorry friend']
    """

    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    prompts: ClassVar[tuple[str, ...]] = tuple(FITS)

    def __post_init__(self):
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {self.dtype}, expected torch.float32 or torch.float64")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError, NotImplementedError) as reason:
            raise ValueError(f"device is {str(self.device)!r}, expected a device of this machine") from reason

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """The N replies as text."""
        said = [" ".join(WORDS[w] for w in row if w != EOS) for row in self.tokens.tolist()]
        return (SILENCE, *said[1:])

    @cached_property
    def tokens(self) -> Tensor:
        """[N, 4] token ids: words 0 to 4, EOS 5; after EOS, 5 again as padding."""
        said = [words for length in range(LONGEST + 1) for words in product(range(EOS), repeat=length)]
        return torch.tensor([[*words, *[EOS] * (LONGEST - len(words))] for words in said], device=self.device)

    @cached_property
    def mask(self) -> Tensor:
        """[N, 4] True where the policy chose the token: words and EOS, not padding."""
        return torch.arange(LONGEST, device=self.device) <= (self.tokens != EOS).sum(-1, keepdim=True)

    @cached_property
    def states(self) -> Tensor:
        """[N, 4] the prefix at which each token was chosen; 0 behind the mask."""
        walk = [torch.zeros_like(self.tokens[:, 0])]
        for word in self.tokens.T[:-1]:
            walk.append(EOS * walk[-1] + 1 + word)
        return torch.where(self.mask, torch.stack(walk, -1), 0)

    @cached_property
    def said(self) -> Tensor:
        """[S, V] the number of what has been said after each token: `responses[said[prefix, token]]`."""
        prefix, token = torch.arange(S, device=self.device)[:, None], torch.arange(V, device=self.device)
        return torch.where(token == EOS, prefix, EOS * prefix + 1 + token)

    def index(self, reply: str) -> int:
        """The number of a reply, or of a prefix: words apart by single spaces, "" for silence.

        >>> Phrases().index("hello friend"), Phrases().responses[9]
        (9, 'hello friend')
        """
        if (reply or SILENCE) not in self.responses:
            raise ValueError(f"reply is {reply!r}, expected at most {LONGEST} words of {', '.join(WORDS)}")
        return self.responses.index(reply or SILENCE)

    @cached_property
    def terms(self) -> dict[str, Tensor]:
        """The four terms of the gold reward, [P, N] each; c is how often each word occurs.

        fit:        +1 if the reply opens with the word that fits the prompt, +1/2 if that word comes later;
                    −1/2 for each word that fits another prompt
        courtesy:   +1/2 for each "friend", −1/2 for each "whatever"
        brevity:    −1/5 for each word
        repetition: −5/4 for each word said before: Σ_w max(c_w − 1, 0)
        """
        counts = torch.nn.functional.one_hot(self.tokens, V)[..., :EOS].sum(-2).to(self.dtype)  # [N, words]
        fitting = torch.tensor([WORDS.index(word) for word in FITS.values()], device=self.device)  # [P]
        opens = (self.tokens[:, 0] == fitting[:, None]).to(self.dtype)  # [P, N]
        contains = (counts[:, fitting].T > 0).to(self.dtype)
        wrong = counts[:, fitting].sum(-1) - counts[:, fitting].T
        worth = torch.tensor([COURTESY.get(word, 0.0) for word in WORDS], dtype=self.dtype, device=self.device)
        return {
            "fit": (opens + contains - wrong) / 2,
            "courtesy": (counts @ worth).expand(P, N),
            "brevity": (-counts.sum(-1) / 5).expand(P, N),
            "repetition": (-1.25 * (counts - 1).clamp(min=0).sum(-1)).expand(P, N),
        }

    @cached_property
    def reward(self) -> Tensor:
        """[P, N] the gold reward: the sum of all four terms."""
        return sum(self.terms.values())

    @cached_property
    def proxy(self) -> Tensor:
        """[P, N] what a careless judge measures: the gold reward without the repetition term."""
        return self.reward - self.terms["repetition"]

    def reference_logits(self) -> Tensor:
        """[P, S, V] a policy that has seen the task, not mastered it: greets well, thanks fairly, apologises badly.

            3, 2 or 1 for hello, thanks or sorry at the start, where it fits · 1 for friend after the start
            number of words so far for EOS · 0 for everything else

        >>> world = Phrases()
        >>> world.value(world.reference_logits())
        tensor([-0.0065, -0.2175, -0.4696], dtype=torch.float64)
        """
        logits = torch.zeros(P, S, V, dtype=self.dtype, device=self.device)
        for prompt, word in enumerate(FITS.values()):
            logits[prompt, 0, WORDS.index(word)] = 3.0 - prompt
        logits[:, 1:, WORDS.index("friend")] = 1.0
        logits[..., EOS] = (self.tokens[:S] != EOS).sum(-1).to(self.dtype)
        return logits

    def logps(self, logits: Tensor) -> Tensor:
        """Log-probability of every reply: log π(y|x) = Σ_t log π(y_t | x, y_<t).

        Args:
            logits: [..., P, S, V].
        Returns: [..., P, N] nats.
        Raises:  ValueError when the shape is wrong or a logit is not finite.
        """
        token_logps = self._log_softmax(logits)[..., self.states, self.tokens]  # [..., P, N, 4]
        return torch.where(self.mask, token_logps, 0.0).sum(-1)

    def value(self, logits: Tensor, reward: Tensor | None = None) -> Tensor:
        """Expected reward of a policy on each prompt, [..., P]: V(x) = Σ_y π(y|x) r(x, y).

        Args:
            logits: [..., P, S, V].
            reward: [P, N]; the gold reward if None, here and below.
        """
        return (self.logps(logits).exp() * self._checked(reward)).sum(-1)

    def q_values(self, logits: Tensor, reward: Tensor | None = None) -> Tensor:
        """Expected reward after each token, [..., P, S, V]: Q(x, y_<t, a), with V = Σ_a π Q and A = Q − V."""
        policy = self._log_softmax(logits).exp()
        leaf = self._checked(reward).expand(*policy.shape[:-2], N)
        return self._fold(leaf, lambda q, states: (policy[..., states, :] * q).sum(-1))

    def exact_gradient(self, logits: Tensor, reward: Tensor | None = None) -> Tensor:
        """Gradient of the mean value over prompts with respect to the logits, summed over every reply.

            ∇ 1/P Σ_x V(x) = 1/P Σ_x Σ_y π(y|x) r(x, y) Σ_t ∇ log π(y_t | x, y_<t),
            ∂ log π(a|s) / ∂ logit(b|s) = 1[a = b] − π(b|s)

        Returns: [..., P, S, V].
        Source:  Williams 1992; Sutton & Barto 2018, section 13.3.
        """
        weights = self.logps(logits).exp() * self._checked(reward) / P  # [..., P, N]
        steps = torch.where(self.mask, weights[..., None], 0.0).flatten(-2)  # [..., P, N·4]
        where = (self.states * V + self.tokens).flatten()  # [N·4]
        through = steps.new_zeros(*steps.shape[:-1], S * V).index_add(-1, where, steps).unflatten(-1, (S, V))
        return through - self._log_softmax(logits).exp() * through.sum(-1, keepdim=True)

    def token_logits(self, seq_logps: Tensor) -> Tensor:
        """The table [..., P, S, V] whose replies have the given probabilities: log π(a | x, prefix), normalised.

        Args:
            seq_logps: [..., P, N] normalised log-probabilities of replies.
        """
        self._normalised(seq_logps=seq_logps)
        return self._fold(seq_logps, lambda mass, states: mass.logsumexp(-1)).log_softmax(-1)

    def kl(self, logps: Tensor, ref_logps: Tensor) -> Tensor:
        """KL(policy‖ref) on each prompt, over whole replies: Σ_y π(y|x) (log π(y|x) − log π_ref(y|x)).

        Args:
            logps, ref_logps: [..., P, N] normalised log-probabilities.
        Returns: [..., P] nats.
        Raises:  ValueError when a shape is wrong, a number is not finite, or a row does not sum to 1.
        """
        self._normalised(logps=logps, ref_logps=ref_logps)
        return (logps.exp() * (logps - ref_logps)).sum(-1)

    def log_partition(self, ref_logps: Tensor, beta: float, reward: Tensor | None = None) -> Tensor:
        """log Z(x) = log Σ_y π_ref(y|x) exp(r(x, y) / β), [..., P] nats; β log Z is the best E[r] − β KL there is."""
        return self._tilted(ref_logps, beta, reward).logsumexp(-1)

    def optimum(self, ref_logps: Tensor, beta: float, reward: Tensor | None = None) -> Tensor:
        """Log-probabilities of the policy that maximises E[r] − β KL(policy‖ref).

            π*(y|x) = π_ref(y|x) exp(r(x, y) / β) / Z(x)

        Args:
            ref_logps: [..., P, N] normalised log-probabilities.
            beta:      above 0, in units of reward per nat.
        Returns: [..., P, N] nats.
        Raises:  ValueError when beta is not above 0, or so small that r / β overflows.
        Source:  Rafailov et al. 2023, arXiv:2305.18290, eq. 4.
        """
        return self._tilted(ref_logps, beta, reward).log_softmax(-1)

    def frontier(self, ref_logps: Tensor, betas: list[float], reward: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """KL(policy‖ref) and reward of π*, [K, P] each, at K betas. No policy earns more at the same mean KL."""
        optima = torch.stack([self.optimum(ref_logps, float(beta), reward) for beta in betas])
        return self.kl(optima, ref_logps), (optima.exp() * self._checked(reward)).sum(-1)

    def to_mdp(self, reward: Tensor | None = None) -> MDP:
        """Prefixes as states, tokens as actions, gamma 1: all reward arrives with the token that ends the reply.

        Returns: MDP with P·S + 1 states: `roots[prompt] + prefix`, and the end last; `state_names` reads them.
        """
        reward, end = self._checked(reward), P * S
        ended = (self.said >= S) | (torch.arange(V, device=self.device) == EOS)
        successor = torch.where(ended, end, self.roots[:, None, None] + self.said).flatten(0, 1)  # [P·S, V]
        transitions = torch.zeros(end + 1, V, end + 1, dtype=reward.dtype, device=self.device)
        transitions[:end].scatter_(-1, successor[..., None], 1.0)
        transitions[end, :, end] = 1.0
        rewards = torch.where(ended, reward[:, self.said], 0.0).flatten(0, 1)
        return MDP(transitions, torch.cat([rewards, rewards.new_zeros(1, V)]), gamma=1.0)

    def mdp_policy(self, logits: Tensor) -> Tensor:
        """The policy [P·S + 1, V] on the states of `to_mdp`: probabilities of each token, uniform at the end."""
        need(logits=(logits, f"{P} {S} {V}"))
        policy = self._log_softmax(logits).exp().flatten(0, 1)
        return torch.cat([policy, torch.full_like(policy[:1], 1 / V)])

    @property
    def roots(self) -> Tensor:
        """[P] the states of `to_mdp` where a prompt has been read and nothing said."""
        return S * torch.arange(P, device=self.device)

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """What each state of `to_mdp` reads: the prompt, a bar, the words so far."""
        prefixes = ("", *self.responses[1:S])
        return (*(f"{prompt} | {prefix}".strip() for prompt in self.prompts for prefix in prefixes), "(end)")

    def _fold(self, leaf: Tensor, join: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Carry what replies are worth [..., P, N] up the tree, to what each token is worth [..., P, S, V]."""
        carried, rows = leaf[..., S:], []
        for length in reversed(range(LONGEST)):
            states = slice(first := (5**length - 1) // 4, first + 5**length)
            words = carried.unflatten(-1, (5**length, 5))
            rows.append(torch.cat([words, leaf[..., states, None]], -1))  # [..., P, 5^length, V]
            carried = join(rows[-1], states)
        return torch.cat(rows[::-1], -2)

    def _tilted(self, ref_logps: Tensor, beta: float, reward: Tensor | None) -> Tensor:
        positive(beta=beta)
        self._normalised(ref_logps=ref_logps)
        scaled = self._checked(reward) / beta
        finite(**{"reward / beta": scaled})
        return ref_logps + scaled

    def _checked(self, reward: Tensor | None) -> Tensor:
        if reward is None:
            return self.reward
        need(reward=(reward, f"{P} {N}"))
        finite(reward=reward)
        return reward

    def _log_softmax(self, logits: Tensor) -> Tensor:
        need(logits=(logits, f"... {P} {S} {V}"))
        finite(logits=logits)
        return logits.log_softmax(-1)

    def _normalised(self, **logps: Tensor) -> None:
        for name, values in logps.items():
            need(**{name: (values, f"... {P} {N}")})
            finite(**{name: values})
            probabilities(**{f"exp({name})": values.exp()})
