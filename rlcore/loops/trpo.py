"""TRPO: one natural step per batch, as long as the limit on KL allows, then shrunk until the real KL agrees.

Left out: the vine procedure, and a critic trained with conjugate gradients.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from rlcore import trust_region
from rlcore.loops.experience import collect
from rlcore.loops.updates import Record, Tally, descend, frozen, judged, normalised


def train(
    policy: nn.Module,
    critic: nn.Module,
    world,
    *,
    updates: int,
    steps: int,
    gamma: float,
    lam: float,
    max_kl: float,
    cg_steps: int,
    damping: float,
    shrink: float,
    tries: int,
    critic_lr: float,
    critic_steps: int,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Maximise the surrogate under a limit on the mean KL(old‖new) over the batch; changes policy and critic.

    Args:
        policy, critic: observations → a distribution, → values.
        world:       batched; goes on where it stands.
        steps:       T of every row between two updates.
        gamma, lam:  in [0, 1].
        max_kl:      nats, above 0.
        cg_steps, damping: of the conjugate gradient; damping · v is added to every product F v, above 0.
        shrink, tries: of the line search.
        critic_lr, critic_steps: Adam steps of the critic on each batch.
    Yields: a Record per update; extra: fraction of the step taken (0: none) and the number of tries rejected.
    Raises: FloatingPointError with update and quantity when the critic's loss is not finite.
    Source: Schulman et al. 2015, arXiv:1502.05477, section 6 and appendix C; with GAE: arXiv:1506.02438.
    """
    optimizer, tally, rows = torch.optim.Adam(critic.parameters(), lr=critic_lr), Tally(), len(world.observations)
    for update in range(1, updates + 1):
        lived = collect(world, policy, steps, generator)
        advantages, targets = judged(lived, critic, gamma, lam)
        seen = lived.observations
        before = frozen(policy(seen))
        found = _step(policy, lived, before, normalised(advantages), max_kl, cg_steps, damping, shrink, tries)
        for _ in range(critic_steps):
            loss = ((critic(seen) - targets) ** 2).mean() / 2
            descend(optimizer, update, float("inf"), value_loss=loss)
        with torch.no_grad():
            kl, entropy = policy(seen).kl(before).mean().item(), before.entropy().mean().item()
        told = {"fraction": found.fraction, "rejected": found.rejected}
        yield Record(update, update * rows * steps, tally.finished(lived), kl, entropy, told)


def _step(policy, lived, before, advantages, max_kl, cg_steps, damping, shrink, tries) -> trust_region.Search:
    parameters, start = list(policy.parameters()), parameters_to_vector(policy.parameters()).detach()
    old_logps = before.logp(lived.actions)

    def surrogate() -> Tensor:
        return trust_region.surrogate(policy(lived.observations).logp(lived.actions), old_logps, advantages).mean()

    def kl() -> Tensor:
        return policy(lived.observations).kl(before).mean()

    slope = torch.autograd.grad(kl(), parameters, create_graph=True)

    def fisher_product(v: Tensor) -> Tensor:  # the second derivative of the KL, times v
        product = torch.autograd.grad(parameters_to_vector(slope) @ v, parameters, retain_graph=True)
        return torch.cat([part.flatten() for part in product]) + damping * v

    @torch.no_grad()
    def at(quantity, vector: Tensor) -> Tensor:
        vector_to_parameters(vector, parameters)
        return quantity()

    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(surrogate(), parameters)])
    if not gradient.any():  # all advantages alike: no way is up
        return trust_region.Search(start, 0.0, 0)
    step = trust_region.natural_step(gradient, fisher_product, max_kl, steps=cg_steps)
    found = trust_region.line_search(
        lambda x: at(surrogate, x), lambda x: at(kl, x), start, step, max_kl, shrink, tries
    )
    vector_to_parameters(found.parameters, parameters)
    return found
