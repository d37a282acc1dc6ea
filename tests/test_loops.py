"""Loops change what they should, count what happened, and stop with good parameters when a number is not finite."""

import math
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from rlcore.loops import actor_critic, experience, networks, ppo, reinforce, trpo, updates
from rlcore.loops.experience import Experience
from rlcore.worlds.batch import Step


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Table(nn.Module):
    """A softmax policy that sees nothing: one row of logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, observations: Tensor) -> networks.Softmax:
        return networks.Softmax(self.logits.expand(*observations.shape[:-1], -1))


class Constant(nn.Module):
    """A critic that sees nothing: one number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, observations: Tensor) -> Tensor:
        return self.value.expand(observations.shape[:-1])


class Script:
    """A world whose rewards, ends and cut-offs are written down; observations count the steps."""

    def __init__(self, rewards, ended=(), cut_off=(), rows: int = 1) -> None:
        self.rewards, self.ended, self.cut_off, self.rows, self.now = rewards, ended, cut_off, rows, 0
        self.observations = torch.zeros(rows, 1, dtype=torch.float64)

    def step(self, actions: Tensor) -> Step:
        reward = self.rewards[self.now] if not callable(self.rewards) else self.rewards(actions)
        rewards = torch.as_tensor(reward, dtype=torch.float64).expand(self.rows)
        ended, cut_off = (
            torch.full((self.rows,), where is True or self.now in where) for where in (self.ended, self.cut_off)
        )
        self.now = self.now + 1 if not callable(self.rewards) else 0
        after = torch.full((self.rows, 1), self.now + 100.0, dtype=torch.float64)
        self.observations = torch.full((self.rows, 1), float(self.now), dtype=torch.float64)
        return Step(rewards, after, ended, cut_off)


def bandit(rows: int) -> Script:
    """Action 1 pays 1, the others nothing; every step is an episode."""
    return Script(lambda actions: (actions == 1).double(), ended=True, rows=rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_softmax_has_the_numbers_of_torch_distributions(seed):
    old, new = torch.randn(2, 5, 3, generator=generator(seed), dtype=torch.float64)
    ours, theirs, actions = networks.Softmax(new), Categorical(logits=new), torch.tensor([0, 1, 2, 1, 0])
    torch.testing.assert_close(ours.logp(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    wanted = (old.softmax(-1) * (old.log_softmax(-1) - new.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(ours.kl(networks.Softmax(old)), wanted)


def test_a_gaussian_has_the_numbers_of_torch_distributions():
    means, stds = (
        torch.randn(2, 5, 2, generator=generator(), dtype=torch.float64),
        torch.tensor([[0.3, 2.0], [1.0, 0.5]]),
    )
    old, new = (networks.Gaussian(mean, std.double().log()) for mean, std in zip(means, stds, strict=True))
    theirs = [Independent(Normal(d.mean, d.log_std.exp().expand(5, 2)), 1) for d in (old, new)]
    actions = torch.randn(5, 2, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(new.logp(actions), theirs[1].log_prob(actions))
    torch.testing.assert_close(new.entropy(), theirs[1].entropy())
    torch.testing.assert_close(new.kl(old), kl_divergence(*theirs))


def test_actions_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    counts = torch.bincount(networks.Softmax(logits).act(generator())).double() / 20_000
    torch.testing.assert_close(counts, torch.tensor([0.5, 0.3, 0.2]).double(), atol=0.014, rtol=0)  # 4 standard errors
    drawn = networks.Gaussian(torch.full((20_000, 1), 3.0), torch.tensor([math.log(2.0)])).act(generator())
    assert abs(drawn.mean() - 3) < 4 * 2 / 20_000**0.5
    assert abs(drawn.std() - 2) < 4 * 2 / 40_000**0.5


def test_a_new_policy_is_nearly_uniform_and_the_same_for_the_same_seed():
    seen = torch.randn(100, 4, generator=generator())
    first, second = (networks.SoftmaxPolicy(4, 3, 16, generator(1))(seen).logits for _ in range(2))
    assert torch.equal(first, second)
    assert (first.softmax(-1) - 1 / 3).abs().max() < 0.02
    assert networks.Critic(4, 16, generator())(seen).shape == (100,)
    assert networks.GaussianPolicy(4, 2, 16, generator())(seen).logp(torch.zeros(100, 2)).shape == (100,)


def test_rows_go_on_over_the_ends_of_episodes():
    lived = experience.collect(Script([1.0, 2.0, 3.0], ended=[1]), Table([0.0, 0.0]), 3, generator())
    assert lived.rewards.tolist() == [[1.0, 2.0, 3.0]]
    assert lived.ended.tolist() == [[False, True, False]]
    assert lived.observations[0, :, 0].tolist() == [0.0, 1.0, 2.0]
    assert lived.after[0, :, 0].tolist() == [101.0, 102.0, 103.0]
    assert lived.mask.all()


class Countdown(Script):
    """Row b's episode lasts b + 1 steps, that of row 0 by the time limit; every step pays 1."""

    def step(self, actions: Tensor) -> Step:
        self.now += 1
        row, ones = torch.arange(self.rows), torch.ones(self.rows, dtype=torch.float64)
        return Step(ones, self.observations, (row < self.now) & (row > 0), (row < self.now) & (row == 0))


def test_only_the_first_episode_of_a_row_counts():
    world = Script([1.0, 2.0, 4.0, 8.0], ended=[2], cut_off=[0], rows=2)
    lived = experience.episodes(world, Table([0.0, 0.0]), generator())
    assert lived.mask.tolist() == [[True], [True]]
    lengths = Countdown([], rows=3)
    assert experience.evaluate(lengths, Table([0.0, 0.0]), generator()).tolist() == [1.0, 2.0, 3.0]


def test_a_row_that_is_cut_off_in_its_middle_bootstraps_from_what_was_seen_last():
    def critic(observations: Tensor) -> Tensor:
        return observations[..., 0]

    lived = experience.collect(Script([1.0, 2.0, 3.0], ended=[1], cut_off=[0]), Table([0.0]), 3, generator())
    rewards, discounts, values = experience.bootstrapped(lived, critic, gamma=0.5)
    assert rewards.tolist() == [[1 + 0.5 * 101, 2.0, 3.0]]
    assert discounts.tolist() == [[0.0, 0.0, 0.5]]
    assert values.tolist() == [[0.0, 1.0, 2.0, 103.0]]


def test_returns_of_episodes_are_added_up_over_batches():
    tally, policy = updates.Tally(), Table([0.0])
    world = Script([1.0, 2.0, 4.0, 8.0, 16.0], ended=[1], cut_off=[3])
    assert tally.finished(experience.collect(world, policy, 1, generator())).tolist() == []
    assert tally.finished(experience.collect(world, policy, 3, generator())).tolist() == [3.0, 12.0]
    assert tally.finished(experience.collect(world, policy, 1, generator())).tolist() == []


def test_a_step_is_cut_to_the_longest_allowed():
    weight = nn.Parameter(torch.tensor([0.0, 0.0]))
    updates.descend(torch.optim.SGD([weight], lr=1.0), 1, 0.5, loss=-(weight @ torch.tensor([3.0, 4.0])))
    torch.testing.assert_close(weight.data, torch.tensor([0.3, 0.4]))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda w: w / 0, r"update 7: value_loss is nan"),
        (lambda w: (w - 1).sqrt(), r"update 7: the gradient of value_loss is inf"),
    ],
)
def test_a_number_that_is_not_finite_stops_with_its_name_and_leaves_the_parameters(loss, said):
    weight = nn.Parameter(torch.tensor(1.0 if "gradient" in said else 0.0))
    before = weight.item()
    with pytest.raises(FloatingPointError, match=said):
        updates.descend(torch.optim.SGD([weight], lr=1.0), 7, math.inf, value_loss=loss(weight))
    assert weight.item() == before


SETTINGS = {
    "updates": 30,
    "steps": 8,
    "gamma": 0.9,
    "lam": 1.0,
    "lr": 0.1,
    "value_coefficient": 0.5,
    "entropy_coefficient": 0.0,
    "max_norm": math.inf,
}


def run_reinforce(policy, seed=0, weigh=lambda to_go, mask: to_go, **changed):
    settings = {"updates": 30, "gamma": 0.9, "lr": 0.1, "entropy_coefficient": 0.0} | changed
    return reinforce.train(policy, lambda: bandit(64), weigh, **settings, generator=generator(seed))


def run_actor_critic(policy, seed=0, **changed):
    return actor_critic.train(policy, Constant(0.0), bandit(16), **(SETTINGS | changed), generator=generator(seed))


def run_ppo(policy, seed=0, policy_loss=None, **changed):
    settings = SETTINGS | {"epochs": 2, "minibatches": 2} | changed
    loss = policy_loss or ppo.clipped(0.2, 0.2)
    return ppo.train(policy, Constant(0.0), bandit(16), loss, **settings, generator=generator(seed))


def run_trpo(policy, seed=0, **changed):
    keep = ("updates", "steps", "gamma", "lam")
    settings = {name: SETTINGS[name] for name in keep} | {
        "max_kl": 0.05,
        "cg_steps": 5,
        "damping": 1e-6,
        "shrink": 0.5,
        "tries": 10,
        "critic_lr": 0.1,
        "critic_steps": 2,
    }
    return trpo.train(policy, Constant(0.0), bandit(16), **(settings | changed), generator=generator(seed))


RUNS = {"reinforce": run_reinforce, "actor_critic": run_actor_critic, "ppo": run_ppo, "trpo": run_trpo}
each_loop = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


@each_loop
def test_the_arm_that_pays_is_found_on_three_seeds(run):
    worst = 1.0
    for seed in range(3):
        policy = Table([0.5, 0.0, 0.5])
        for _ in run(policy, seed):
            pass
        worst = min(worst, policy.logits.softmax(-1)[1].item())
    assert worst > 0.8


@each_loop
def test_the_same_seed_gives_the_same_numbers(run):
    first, second = (list(islice(run(Table([0.0, 0.0])), 5)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.returns, other.returns)
        assert one[3:] == other[3:]


@each_loop
def test_a_record_counts_steps_and_tells_kl_and_entropy_of_the_policies_around_the_update(run):
    policy = Table([0.0, 1.0, 0.0])
    old = policy.logits.detach().clone()
    records = run(policy)
    first = next(records)
    new = policy.logits.detach()
    assert first.update == 1
    assert first.kl == pytest.approx(networks.Softmax(new).kl(networks.Softmax(old)).item(), abs=1e-9)
    assert first.entropy == pytest.approx(Categorical(logits=old).entropy().item())
    assert first.steps == len(first.returns)
    assert next(records).steps == 2 * first.steps


def drawn(rows: int, steps: int, logits: list[float], seed: int = 0) -> Tensor:
    """The actions that a loop with this seed draws first."""
    return experience.collect(bandit(rows), Table(logits), steps, generator(seed)).actions


def test_reinforce_sums_score_times_return_and_divides_by_the_episodes():
    actions = drawn(64, 1, [0.0, 0.0])[:, 0]
    score = torch.nn.functional.one_hot(actions, 2) - 0.5
    wanted = -(score * (actions == 1)[:, None]).double().mean(0)
    gradient = gradient_of_first_update(reinforce, lambda policy: run_reinforce(policy))
    torch.testing.assert_close(gradient, wanted)


def test_actor_critic_and_the_first_pass_of_ppo_have_the_policy_gradient():
    actions = drawn(16, 8, [0.0, 0.0])
    score = (torch.nn.functional.one_hot(actions, 2) - 0.5).double()
    advantages = (actions == 1).double()  # the critic says 0
    wanted = -(score * advantages[..., None]).mean((0, 1))
    torch.testing.assert_close(gradient_of_first_update(actor_critic, run_actor_critic), wanted)
    whitened = (advantages - advantages.mean()) / advantages.std()
    wanted = -(score * whitened[..., None]).mean((0, 1))
    gradient = gradient_of_first_update(ppo, lambda policy: run_ppo(policy, minibatches=1))
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("module", "extra"), [(actor_critic, {}), (ppo, {"epochs": 1, "minibatches": 1})], ids=["actor_critic", "ppo"]
)
def test_the_critic_learns_the_return_and_not_the_advantage(module, extra):
    """Every step pays 1 and ends, the critic says ½: it is wrong by ½, so the loss is c₁ · ½ · ½²."""
    losses, loss = {}, [ppo.clipped(0.2, 0.2)] if module is ppo else []

    def keep(optimizer, update, max_norm, **given):
        losses.update({name: value.item() for name, value in given.items()})

    world = Script(lambda actions: torch.ones(16).double(), ended=True, rows=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "descend", keep)
        settings = SETTINGS | {"value_coefficient": 0.8} | extra
        next(module.train(Table([0.0, 0.0]), Constant(0.5), world, *loss, **settings, generator=generator()))
    assert losses["value_loss"] == pytest.approx(0.8 * 0.5 * 0.25)


def gradient_of_first_update(module, run) -> Tensor:
    """∇ policy_loss at the first call of `descend`, before Adam rescales it."""
    policy, seen = Table([0.0, 0.0]), []

    def keep(optimizer, update, max_norm, **losses):
        seen.append(torch.autograd.grad(losses["policy_loss"], policy.logits, retain_graph=True)[0])
        return updates.descend(optimizer, update, max_norm, **losses)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "descend", keep)
        next(run(policy))
    return seen[0]


def test_entropy_bonus_pulls_towards_the_uniform_policy():
    for run in (run_reinforce, run_actor_critic, run_ppo):
        free, held = Table([0.0, 0.0]), Table([0.0, 0.0])
        for _ in run(free), run(held, entropy_coefficient=2.0):
            for _record in _:
                pass
        assert held.logits.softmax(-1)[1] < free.logits.softmax(-1)[1] - 0.1


def test_trpo_never_passes_its_limit_and_comes_near_it():
    kls = [record.kl for record in islice(run_trpo(Table([0.5, 0.0, 0.5]), max_kl=0.01, shrink=0.95), 10)]
    assert max(kls) <= 0.01
    assert min(kls) > 0.008


def test_trpo_stays_where_no_try_fits():
    policy = Table([0.0, 0.0, 0.0])
    record = next(run_trpo(policy, max_kl=0.01, tries=1))  # the full step goes a little too far
    assert record.extra == {"fraction": 0.0, "rejected": 1}
    assert policy.logits.tolist() == [0.0, 0.0, 0.0]


def test_without_the_clip_many_passes_carry_the_policy_away():
    held, away = Table([0.0, 0.0, 0.0]), Table([0.0, 0.0, 0.0])
    kept = next(run_ppo(held, epochs=60, lr=0.05))
    gone = next(run_ppo(away, epochs=60, lr=0.05, policy_loss=ppo.unclipped))
    assert kept.extra["largest_ratio"] < 2.2 < 2.8 < gone.extra["largest_ratio"]
    assert kept.kl < 0.2 * gone.kl


def test_a_price_on_kl_that_is_changed_between_records_holds_the_policy():
    price = {"beta": 0.0}

    def penalised(now, old, actions, advantages):
        return ppo.unclipped(now, old, actions, advantages) + price["beta"] * now.kl(old)

    def kl_at(beta):
        price["beta"] = beta
        return next(run_ppo(Table([0.0, 0.0, 0.0]), epochs=30, policy_loss=penalised)).kl

    assert kl_at(10.0) < 0.1 * kl_at(0.0)


def test_ppo_stops_with_the_last_good_parameters():
    policy = Table([0.0, 0.0])

    def broken(now, old, actions, advantages):
        return now.logp(actions) * float("nan")

    with pytest.raises(FloatingPointError, match="update 1: policy_loss is nan"):
        next(run_ppo(policy, policy_loss=broken))
    assert policy.logits.tolist() == [0.0, 0.0]


class Aim(Script):
    """Pays most at action 2; every step is an episode."""

    def step(self, actions: Tensor) -> Step:
        flags = torch.ones(self.rows, dtype=torch.bool)
        return Step(-((actions[:, 0] - 2) ** 2), self.observations, flags, ~flags)


def aim(seed: int, **changed):
    """A Gaussian policy, and PPO's records of its training."""
    policy, world = networks.GaussianPolicy(1, 1, 8, generator(seed)), Aim([], rows=64)
    world.observations = torch.ones(64, 1)
    settings = SETTINGS | {"epochs": 4, "minibatches": 2, "steps": 2, "lr": 0.02, "updates": 60} | changed
    critic, loss = networks.Critic(1, 8, generator(seed)), ppo.clipped(0.2, 0.2)
    return policy, ppo.train(policy, critic, world, loss, **settings, generator=generator(seed))


def test_a_gaussian_policy_finds_its_aim_on_three_seeds():
    worst = 0.0
    for seed in range(3):
        policy, records = aim(seed)
        for _ in records:
            pass
        worst = max(worst, abs(policy(torch.ones(1, 1)).mean.item() - 2))
    assert worst < 0.2


def test_the_old_policy_stays_as_it_was_while_a_width_that_all_inputs_share_changes():
    policy, records = aim(0, epochs=10)
    old = networks.Gaussian(policy(torch.ones(1, 1)).mean.detach(), policy.log_std.detach().clone())
    record, new = next(records), policy(torch.ones(1, 1))
    assert (new.log_std - old.log_std).abs() > 0.05
    wanted = kl_divergence(Normal(old.mean, old.log_std.exp()), Normal(new.mean, new.log_std.exp()))
    assert record.kl == pytest.approx(wanted.item(), rel=1e-4)


def test_an_experience_has_the_axes_it_says():
    lived = experience.collect(bandit(5), Table([0.0, 0.0]), 3, generator())
    assert {name: tuple(x.shape) for name, x in zip(Experience._fields, lived, strict=True)} == {
        "observations": (5, 3, 1),
        "actions": (5, 3),
        "rewards": (5, 3),
        "after": (5, 3, 1),
        "ended": (5, 3),
        "cut_off": (5, 3),
        "mask": (5, 3),
    }
