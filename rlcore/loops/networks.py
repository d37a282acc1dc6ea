"""Which function maps what is seen to what is done? Small policies and critics for classic control.

A policy network maps observations to a distribution over actions, whose numbers come from `rlcore.policies`. Left out:
language models, which have their own room.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from rlcore import kl, policies


class Softmax(NamedTuple):
    """A distribution over A actions.

    >>> uniform = Softmax(torch.zeros(2))
    >>> uniform.logp(torch.tensor(1)), uniform.kl(old=Softmax(torch.tensor([0.0, 1.0])))
    (tensor(-0.6931), tensor(0.1109))
    """

    logits: Tensor  # [..., A]

    def act(self, generator: torch.Generator) -> Tensor:
        """Actions drawn, [B] int64, from logits [B, A]."""
        return torch.multinomial(self.logits.softmax(-1), 1, generator=generator)[:, 0]

    def logp(self, actions: Tensor) -> Tensor:
        """[...] nats."""
        return policies.softmax_logp(self.logits, actions)

    def entropy(self) -> Tensor:
        """[...] nats."""
        return policies.softmax_entropy(self.logits)

    def kl(self, old: "Softmax") -> Tensor:
        """KL(old‖self), [...] nats, exact."""
        return kl.exact(old.logits, self.logits)


class Gaussian(NamedTuple):
    """A distribution over real actions with D independent coordinates.

    >>> Gaussian(torch.tensor([0.0]), torch.tensor([0.0])).kl(old=Gaussian(torch.tensor([1.0]), torch.tensor([0.0])))
    tensor(0.5000)
    """

    mean: Tensor  # [..., D]
    log_std: Tensor  # [D]

    def act(self, generator: torch.Generator) -> Tensor:
        """Actions drawn, [..., D]."""
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device, dtype=self.mean.dtype)
        return self.mean + self.log_std.exp() * noise.to(self.mean.device)

    def logp(self, actions: Tensor) -> Tensor:
        """[...] nats, of the density."""
        return policies.gaussian_logp(self.mean, self.log_std, actions)

    def entropy(self) -> Tensor:
        """[...] nats, the same everywhere."""
        return policies.gaussian_entropy(self.log_std).expand(self.mean.shape[:-1])

    def kl(self, old: "Gaussian") -> Tensor:
        """KL(old‖self), [...] nats, exact."""
        before, now = (Normal(d.mean, d.log_std.exp().expand_as(d.mean)) for d in (old, self))
        return kl_divergence(before, now).sum(-1)


class SoftmaxPolicy(nn.Module):
    """Observations [..., inputs] → a distribution over actions. Starts out nearly uniform.

    >>> policy = SoftmaxPolicy(inputs=4, actions=2, hidden=8, generator=torch.Generator().manual_seed(0))
    >>> policy(torch.ones(3, 4)).logits.shape
    torch.Size([3, 2])
    """

    def __init__(self, inputs: int, actions: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = _layers(inputs, actions, hidden, last_gain=0.01, generator=generator)

    def forward(self, observations: Tensor) -> Softmax:
        return Softmax(self.net(observations))


class GaussianPolicy(nn.Module):
    """Observations [..., inputs] → a Gaussian over actions [..., dims]; its width is learned, one for all inputs."""

    def __init__(self, inputs: int, dims: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = _layers(inputs, dims, hidden, last_gain=0.01, generator=generator)
        self.log_std = nn.Parameter(torch.zeros(dims))

    def forward(self, observations: Tensor) -> Gaussian:
        return Gaussian(self.net(observations), self.log_std)


class Critic(nn.Module):
    """Observations [..., inputs] → values [...], in units of reward."""

    def __init__(self, inputs: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = _layers(inputs, 1, hidden, last_gain=1.0, generator=generator)

    def forward(self, observations: Tensor) -> Tensor:
        return self.net(observations)[..., 0]


def _layers(inputs: int, outputs: int, hidden: int, last_gain: float, generator: torch.Generator) -> nn.Sequential:
    """Two hidden layers, orthogonal weights: the usual choice for PPO (Engstrom et al. 2020, arXiv:2005.12729)."""
    sizes, parts = [(inputs, hidden, 2**0.5), (hidden, hidden, 2**0.5), (hidden, outputs, last_gain)], []
    for size_in, size_out, gain in sizes:
        layer = nn.utils.skip_init(nn.Linear, size_in, size_out)
        nn.init.orthogonal_(layer.weight, gain=gain, generator=generator)
        nn.init.zeros_(layer.bias)
        parts += [layer, nn.Tanh()]
    return nn.Sequential(*parts[:-1])
