"""The phrase world against plain Python: enumeration with itertools, products of softmaxes, sums of floats."""

import math
from itertools import product

import pytest
import torch

from rlcore import mdp as bellman
from rlcore.worlds.phrases import EOS, WORDS, Phrases

REPLIES = [words for length in range(5) for words in product(WORDS, repeat=length)]
PREFIX = {words: number for number, words in enumerate(REPLIES) if len(words) < 4}
FIT = {"someone arrives": "hello", "someone helped you": "thanks", "you are late": "sorry"}
BETAS = [3.0, 1.0, 0.3, 0.1]


@pytest.fixture(scope="module")
def world():
    return Phrases()


@pytest.fixture(scope="module")
def logits():
    return torch.randn(3, 156, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def ref_logps(world):
    return world.logps(world.reference_logits())


def gold(prompt, words):
    """The reward as one would explain it to a person: [fit, courtesy, brevity, repetition]."""
    fit = 1.0 if words[:1] == (FIT[prompt],) else 0.5 if FIT[prompt] in words else 0.0
    for word in words:
        if word in FIT.values() and word != FIT[prompt]:
            fit -= 0.5
    courtesy = 0.5 * words.count("friend") - 0.5 * words.count("whatever")
    return [fit, courtesy, -0.2 * len(words), -1.25 * (len(words) - len(set(words)))]


def probabilities(logits):
    """[3][781] by multiplying softmaxes along each reply."""
    tables = []
    for table in logits.tolist():
        rows = [[math.exp(x) / math.fsum(map(math.exp, row)) for x in row] for row in table]
        tables.append([])
        for words in REPLIES:
            chance = 1.0
            for step, word in enumerate(words):
                chance *= rows[PREFIX[words[:step]]][WORDS.index(word)]
            tables[-1].append(chance * rows[PREFIX[words]][EOS] if len(words) < 4 else chance)
    return tables


def mean_reward(policy, reward):
    return math.fsum(p * r for p, r in zip(policy, reward, strict=True))


def divergence(policy, other):
    return math.fsum(p * math.log(p / q) for p, q in zip(policy, other, strict=True))


def tilt(policy, reward, beta):
    return [p * math.exp(r / beta) for p, r in zip(policy, reward, strict=True)]


def mean_value(logits, reward):
    return math.fsum(map(mean_reward, probabilities(logits), reward.tolist())) / 3


def close(got, want, atol=1e-12):
    torch.testing.assert_close(got, torch.as_tensor(want, dtype=got.dtype), atol=atol, rtol=0)


# What can be said, and what it earns


def test_there_are_781_replies_and_156_prefixes(world):
    assert len(world.responses) == len(set(world.responses)) == sum(5**n for n in range(5)) == 781
    assert sum(5**n for n in range(4)) == 156
    assert world.responses == ("(silence)", *(" ".join(words) for words in REPLIES[1:]))


def test_tokens_mask_and_states_retell_every_reply(world):
    tokens, mask, states = world.tokens.tolist(), world.mask.tolist(), world.states.tolist()
    for n, words in enumerate(REPLIES):
        said = [WORDS.index(word) for word in words] + [EOS] * (len(words) < 4)
        visited = [PREFIX[words[:step]] for step in range(len(said))]
        padding = 4 - len(said)
        assert tokens[n] == said + [EOS] * padding
        assert mask[n] == [True] * len(said) + [False] * padding
        assert states[n] == visited + [0] * padding


def test_index_finds_a_reply_by_its_words(world):
    assert [world.index(" ".join(words)) for words in REPLIES] == list(range(781))
    assert [world.index(response) for response in world.responses] == list(range(781))


def test_reward_terms_are_what_the_rules_say(world):
    want = torch.tensor([[gold(prompt, words) for words in REPLIES] for prompt in world.prompts], dtype=torch.float64)
    for number, name in enumerate(["fit", "courtesy", "brevity", "repetition"]):
        close(world.terms[name], want[..., number])
    close(world.reward, want.sum(-1))
    close(world.proxy, want[..., :3].sum(-1))


def test_rewards_by_pencil(world):
    arrives = world.reward[0]
    assert arrives[world.index("hello friend")].item() == pytest.approx(1 + 0.5 - 0.4)
    assert arrives[world.index("friend hello")].item() == pytest.approx(0.5 + 0.5 - 0.4)
    assert arrives[world.index("sorry whatever")].item() == pytest.approx(-0.5 - 0.5 - 0.4)
    assert arrives[world.index("hello friend friend friend")].item() == pytest.approx(1 + 1.5 - 0.8 - 2.5)
    assert arrives[world.index("")].item() == 0


def test_the_best_reply_is_polite_short_and_the_only_best_one(world):
    for prompt, rewards in zip(world.prompts, world.reward, strict=True):
        best, second = rewards.topk(2).values.tolist()
        assert world.responses[rewards.argmax()] == f"{FIT[prompt]} friend"
        assert best == pytest.approx(1.1)
        assert best - second >= 0.25


def test_the_best_reply_by_proxy_repeats_itself_and_is_worth_less_than_the_reference(world):
    reference = world.value(world.reference_logits())
    for prompt, (proxy, rewards) in enumerate(zip(world.proxy, world.reward, strict=True)):
        fooled = proxy.argmax()
        assert world.responses[fooled] == f"{FIT[world.prompts[prompt]]} friend friend friend"
        assert proxy[fooled].item() == pytest.approx(1.7)
        assert rewards[fooled].item() == pytest.approx(-0.8)
        assert rewards[fooled] < reference[prompt] < 0


# What a policy does


def test_log_probabilities_are_products_of_softmaxes(world, logits):
    close(world.logps(logits).exp(), probabilities(logits))


def test_all_replies_together_have_probability_one(world, logits):
    close(world.logps(logits).exp().sum(-1), torch.ones(3))
    close(world.logps(world.reference_logits()).exp().sum(-1), torch.ones(3))


def test_the_reference_by_pencil(world):
    """The fitting word: e³, e² or e of five more; then friend: e / (2 e + 4); then EOS: e² / (e² + e + 4)."""
    e, chances = math.e, world.logps(world.reference_logits()).exp()
    for prompt, (word, power) in enumerate([("hello", 3), ("thanks", 2), ("sorry", 1)]):
        want = e**power / (e**power + 5) * e / (2 * e + 4) * e**2 / (e**2 + e + 4)
        assert chances[prompt, world.index(f"{word} friend")].item() == pytest.approx(want, abs=1e-15)


def test_the_reference_opens_well_more_or_less_often_and_has_much_to_learn(world):
    chances = world.logps(world.reference_logits()).exp()
    opens = [[words[:1] == (FIT[prompt],) for words in REPLIES] for prompt in world.prompts]
    close((chances * torch.tensor(opens)).sum(-1), [0.80, 0.60, 0.35], atol=0.01)
    assert (world.value(world.reference_logits()) < world.reward.amax(-1) - 1).all()


@pytest.mark.parametrize("name", ["reward", "proxy"])
def test_value_is_the_enumerated_mean_reward(world, logits, name):
    reward = getattr(world, name)
    close(world.value(logits, reward), list(map(mean_reward, probabilities(logits), reward.tolist())))


def test_value_defaults_to_the_gold_reward(world, logits):
    assert torch.equal(world.value(logits), world.value(logits, world.reward))
    assert not torch.equal(world.value(logits), world.value(logits, world.proxy))


def test_q_values_are_mean_rewards_of_the_replies_that_go_on_from_there(world, logits):
    chances, q = probabilities(logits), world.q_values(logits)
    asked = [(0, (), 0), (1, ("hello",), 3), (2, ("sorry", "friend"), EOS), (2, ("hello", "hello", "hello"), 4)]
    for prompt, prefix, token in asked:
        said = prefix if token == EOS else (*prefix, WORDS[token])
        inside = [REPLIES.index(said)]
        if token != EOS:
            inside = [n for n, words in enumerate(REPLIES) if words[: len(said)] == said]
        weight = math.fsum(chances[prompt][n] for n in inside)
        want = math.fsum(chances[prompt][n] * world.reward[prompt, n].item() for n in inside) / weight
        assert q[prompt, PREFIX[prefix], token].item() == pytest.approx(want, abs=1e-12)


def test_exact_gradient_is_what_autograd_finds(world, logits):
    for reward in (world.reward, world.proxy):
        table = logits.clone().requires_grad_()
        world.value(table, reward).mean().backward()
        close(world.exact_gradient(logits, reward), table.grad)


def test_exact_gradient_is_the_slope_of_the_enumerated_value(world, logits):
    gradient, step = world.exact_gradient(logits), 1e-5
    for prompt, state, token in [(0, 0, 0), (0, 0, EOS), (1, 3, 2), (2, 14, 3), (1, 30, EOS), (2, 155, 4)]:
        values = []
        for sign in (1, -1):
            moved = logits.clone()
            moved[prompt, state, token] += sign * step
            values.append(mean_value(moved, world.reward))
        slope = (values[0] - values[1]) / (2 * step)
        assert gradient[prompt, state, token].item() == pytest.approx(slope, abs=1e-9)


def test_a_constant_reward_has_no_gradient(world, logits):
    close(world.exact_gradient(logits, torch.full((3, 781), 7.0, dtype=torch.float64)), torch.zeros(3, 156, 6))


def test_small_gradient_steps_raise_the_value(world):
    logits = world.reference_logits()
    values = []
    for _ in range(20):
        values.append(world.value(logits).mean().item())
        logits = logits + world.exact_gradient(logits)
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


def test_leading_axes_are_a_batch_of_policies(world, logits):
    batch = torch.stack([logits, world.reference_logits(), -logits]).view(3, 1, 3, 156, 6)
    for method in (world.logps, world.value, world.q_values, world.exact_gradient):
        got = method(batch)
        assert got.shape[:2] == (3, 1)
        for number, table in enumerate(batch[:, 0]):
            close(got[number, 0], method(table))
    logps = world.logps(batch)
    close(world.kl(logps, logps[1, 0])[2, 0], world.kl(logps[2, 0], logps[1, 0]))
    close(world.token_logits(logps)[0, 0], world.token_logits(logps[0, 0]))


# What regularised optimisation reaches


def test_kl_is_the_enumerated_sum_policy_first(world, logits, ref_logps):
    policy, ref = probabilities(logits), probabilities(world.reference_logits())
    close(world.kl(world.logps(logits), ref_logps), list(map(divergence, policy, ref)))
    close(world.kl(ref_logps, world.logps(logits)), list(map(divergence, ref, policy)))


@pytest.mark.parametrize("beta", BETAS)
def test_partition_and_optimum_are_enumerated_sums(world, ref_logps, beta):
    for name in ("reward", "proxy"):
        reward = getattr(world, name)
        tilted = [
            tilt(*rows, beta) for rows in zip(probabilities(world.reference_logits()), reward.tolist(), strict=True)
        ]
        want = torch.tensor([[x / math.fsum(row) for x in row] for row in tilted], dtype=torch.float64)
        close(world.log_partition(ref_logps, beta, reward), [math.log(math.fsum(row)) for row in tilted])
        close(world.optimum(ref_logps, beta, reward).exp(), want)


def three_replies(world, probabilities):
    """A reference that says only the first few replies, on every prompt."""
    logps = torch.full((3, 781), -800.0, dtype=torch.float64)  # e⁻⁸⁰⁰ is 0
    logps[:, : len(probabilities)] = torch.tensor(probabilities, dtype=torch.float64).log()
    return logps


@pytest.mark.parametrize(
    ("beta", "partition", "optimum", "reward", "kl"),
    [
        (0.5, 13.636347, (0.036667, 0.162559, 0.800774), 1.764107, 0.915475),
        (1.0, 2.793296, (0.179000, 0.291944, 0.529056), 1.350056, 0.322834),
        (2.0, 1.538273, (0.325040, 0.321540, 0.353420), 1.028380, 0.083530),
    ],
)
def test_three_replies_have_the_optimum_computed_by_hand(world, beta, partition, optimum, reward, kl):
    """π_ref = (.5, .3, .2), r = (0, 1, 2)."""
    ref_logps = three_replies(world, [0.5, 0.3, 0.2])
    rewards = torch.zeros(3, 781, dtype=torch.float64)
    rewards[:, :3] = torch.tensor([0.0, 1.0, 2.0])
    close(world.log_partition(ref_logps, beta, rewards).exp()[0], partition, atol=1e-6)
    close(world.optimum(ref_logps, beta, rewards)[0, :3].exp(), optimum, atol=1e-6)
    got_kl, got_reward = world.frontier(ref_logps, [beta], rewards)
    close(got_kl[0, 0], kl, atol=1e-6)
    close(got_reward[0, 0], reward, atol=1e-6)


def test_two_tokens_have_the_soft_values_computed_by_hand(world):
    """β = 0.7, π_ref = (.6, .4) × ((.5, .5), (.3, .7)), rewards ((1, 0), (2, −1)): V*(s₀) = 0.917407."""
    names, beta = ["hello hello", "hello thanks", "thanks hello", "thanks thanks"], 0.7
    where = [world.index(name) for name in names]
    ref_logps, reward = torch.full((3, 781), -800.0, dtype=torch.float64), torch.zeros(3, 781, dtype=torch.float64)
    ref_logps[:, where] = torch.tensor([0.3, 0.3, 0.12, 0.28], dtype=torch.float64).log()
    reward[:, where] = torch.tensor([1.0, 0.0, 2.0, -1.0], dtype=torch.float64)
    close(beta * world.log_partition(ref_logps, beta, reward)[1], 0.917407, atol=1e-6)
    optimum = world.optimum(ref_logps, beta, reward)
    total = beta * (world.token_logits(optimum) - world.token_logits(ref_logps))[..., world.states, world.tokens]
    total = torch.where(world.mask, total, 0.0).sum(-1)[0, where]
    close(total, [0.0826, -0.9174, 1.0826, -1.9174], atol=5e-5)


@pytest.mark.parametrize("beta", BETAS)
def test_no_perturbed_policy_beats_the_optimum(world, ref_logps, beta):
    generator = torch.Generator().manual_seed(0)
    optimum = world.optimum(ref_logps, beta)

    def objective(logps):
        return (logps.exp() * world.reward).sum(-1) - beta * world.kl(logps, ref_logps)

    best = objective(optimum)
    for scale in (0.01, 0.1, 1.0, 3.0):
        noise = scale * torch.randn(50, 3, 781, dtype=torch.float64, generator=generator)
        assert (objective((optimum + noise).log_softmax(-1)) < best).all()
    assert (objective(ref_logps) < best).all()


@pytest.mark.parametrize("beta", BETAS)
def test_the_optimum_reaches_beta_log_z_and_gives_the_reward_back(world, ref_logps, beta):
    optimum, free = world.optimum(ref_logps, beta), beta * world.log_partition(ref_logps, beta)
    kl, reward = world.frontier(ref_logps, [beta])
    close(reward[0] - beta * kl[0], free)
    close(beta * (optimum - ref_logps) + free[:, None], world.reward, atol=1e-11)
    close((ref_logps.exp() * world.reward).sum(-1) + beta * world.kl(ref_logps, optimum), free)


def test_a_large_beta_keeps_the_reference_and_a_small_one_takes_the_best_reply(world, ref_logps):
    close(world.optimum(ref_logps, 1e9), ref_logps, atol=1e-8)
    greedy = torch.nn.functional.one_hot(world.reward.argmax(-1), 781)
    close(world.optimum(ref_logps, 1e-3).exp(), greedy.double())


def test_the_frontier_is_enumerated_and_rises_with_kl(world, ref_logps):
    kl, reward = world.frontier(ref_logps, BETAS)
    assert kl.shape == reward.shape == (4, 3)
    ref, rewards = probabilities(world.reference_logits())[1], world.reward[1].tolist()
    for number, beta in enumerate(BETAS):
        tilted = tilt(ref, rewards, beta)
        best = [x / math.fsum(tilted) for x in tilted]
        close(kl[number, 1], divergence(best, ref))
        close(reward[number, 1], mean_reward(best, rewards))
    assert (kl.diff(dim=0) > 0).all()
    assert (reward.diff(dim=0) > 0).all()


def test_pressing_on_the_proxy_first_raises_then_ruins_the_gold_reward(world, ref_logps):
    optima = [world.optimum(ref_logps, beta, world.proxy).exp() for beta in (10.0, 1.0, 0.3, 0.1, 0.03)]
    proxy = [(policy * world.proxy).sum(-1).mean().item() for policy in optima]
    rewards = [(policy * world.reward).sum(-1).mean().item() for policy in optima]
    start = world.value(world.reference_logits()).mean().item()
    assert proxy == sorted(proxy)
    assert max(rewards) == rewards[2] > start + 0.6
    assert rewards[-1] < start - 0.5


# The token tree


def test_token_logits_rebuild_the_policy_from_its_replies(world, logits):
    close(world.token_logits(world.logps(logits)), logits.log_softmax(-1), atol=1e-11)


@pytest.mark.parametrize("beta", [*BETAS, 0.01])
def test_token_logits_of_the_optimum_say_what_the_optimum_says(world, ref_logps, beta):
    optimum = world.optimum(ref_logps, beta)
    table = world.token_logits(optimum)
    close(world.logps(table), optimum, atol=1e-10)
    close(table.exp().sum(-1), torch.ones(3, 156))


def test_the_mdp_root_is_worth_the_enumerated_value(world, logits):
    for reward in (world.reward, world.proxy):
        v = bellman.solve(world.to_mdp(reward), world.mdp_policy(logits))
        close(v[world.roots].mean(), mean_value(logits, reward))
        close(v[world.roots], world.value(logits, reward))
        assert v[-1] == 0


def test_the_mdp_gives_the_same_q_values_and_advantages_of_mean_zero(world, logits):
    mdp, policy = world.to_mdp(), world.mdp_policy(logits)
    v = bellman.solve(mdp, policy)
    q = bellman.q_from_v(mdp, v)
    close(q[:-1].unflatten(0, (3, 156)), world.q_values(logits))
    close((policy * (q - v[:, None])).sum(-1), torch.zeros(3 * 156 + 1))


def test_the_gradient_is_occupancy_times_advantage_times_policy(world, logits):
    """The policy gradient theorem, with the chance of each prefix multiplied out in plain Python."""
    q, policy = world.q_values(logits), logits.softmax(-1)
    advantages = q - (policy * q).sum(-1, keepdim=True)
    visits = torch.zeros(3, 156, dtype=torch.float64)
    for words, state in PREFIX.items():
        visits[:, state] = 1.0
        for step, word in enumerate(words):
            visits[:, state] *= policy[:, PREFIX[words[:step]], WORDS.index(word)]
    close(world.exact_gradient(logits), visits[..., None] * policy * advantages / 3)


def test_acting_greedily_in_the_mdp_says_the_best_reply(world):
    mdp = world.to_mdp()
    solution = bellman.policy_iteration(mdp)
    close(solution.v[world.roots], world.reward.amax(-1))
    state, said = world.roots[2].item(), []
    while state != 3 * 156:
        action = solution.q[state].argmax().item()
        said += [WORDS[action]] if action != EOS else []
        state = mdp.transitions[state, action].argmax().item()
    assert said == ["sorry", "friend"]


def test_the_mdp_walks_the_tree_of_prefixes(world):
    mdp, names = world.to_mdp(), world.state_names
    assert len(names) == len(set(names)) == mdp.rewards.shape[0] == 3 * 156 + 1
    for state in (0, 1, 17, 156, 200, 311, 312, 467):
        prompt, _, prefix = names[state].partition(" |")
        words = tuple(prefix.split())
        for token in range(6):
            after = words + ((WORDS[token],) if token != EOS else ())
            ended = token == EOS or len(after) == 4
            name = "(end)" if ended else " ".join([prompt, "|", *after])
            assert names[mdp.transitions[state, token].argmax()] == name
            want = sum(gold(prompt, after)) if ended else 0.0
            assert mdp.rewards[state, token].item() == pytest.approx(want, abs=1e-12)
    assert (mdp.transitions.max(-1).values == 1).all()
    assert [names[root] for root in world.roots] == [f"{prompt} |" for prompt in world.prompts]


# Types, devices, and what is refused


def everything(world):
    logits = world.reference_logits()
    logps = world.logps(logits)
    optimum = world.optimum(logps, 0.3)
    return {
        "reward": world.reward,
        "proxy": world.proxy,
        "logits": logits,
        "logps": logps,
        "value": world.value(logits),
        "q_values": world.q_values(logits),
        "gradient": world.exact_gradient(logits),
        "optimum": optimum,
        "kl": world.kl(optimum, logps),
        "log_partition": world.log_partition(logps, 0.3),
        "frontier": world.frontier(logps, [1.0])[1],
        "token_logits": world.token_logits(optimum),
        "transitions": world.to_mdp().transitions,
        "rewards": world.to_mdp().rewards,
        "policy": world.mdp_policy(logits),
    }


def test_float32_gives_the_same_numbers_in_float32(world):
    exact, short = everything(world), everything(Phrases(dtype=torch.float32))
    for name, got in short.items():
        assert got.dtype is torch.float32, name
        torch.testing.assert_close(got.double(), exact[name], atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_numbers_on_the_gpu(world):
    exact = everything(world)
    for name, got in everything(Phrases(device="cuda")).items():
        assert got.is_cuda, name
        close(got.cpu(), exact[name], atol=1e-11)


def test_a_world_of_another_type_or_device_is_refused():
    with pytest.raises(ValueError, match=r"dtype is torch\.float16, expected torch\.float32 or torch\.float64"):
        Phrases(dtype=torch.float16)
    with pytest.raises(ValueError, match="device is 'moon', expected a device of this machine"):
        Phrases(device="moon")


@pytest.mark.parametrize("reply", ["good morning", "hello hello hello hello hello", "hello  friend"])
def test_an_unknown_reply_is_refused(world, reply):
    with pytest.raises(ValueError, match=f"reply is '{reply}', expected at most 4 words of hello"):
        world.index(reply)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_a_beta_that_is_not_above_zero_is_refused(world, ref_logps, beta):
    for method in (world.optimum, world.log_partition):
        with pytest.raises(ValueError, match=r"beta is .*, expected a finite number above 0"):
            method(ref_logps, beta)
    with pytest.raises(ValueError, match=r"beta is .*, expected a finite number above 0"):
        world.frontier(ref_logps, [1.0, beta])


def test_a_beta_so_small_that_the_quotient_overflows_is_refused():
    world = Phrases(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"reward / beta holds -?inf"):
        world.optimum(world.logps(world.reference_logits()), 1e-39)


def test_wrong_shapes_are_refused(world, logits, ref_logps):
    for method in (world.logps, world.value, world.exact_gradient, world.q_values, world.mdp_policy):
        with pytest.raises(ValueError, match=r"logits has shape \[2, 156, 6\]"):
            method(logits[:2])
    with pytest.raises(ValueError, match=r"logits has shape \[1, 3, 156, 6\]"):
        world.mdp_policy(logits[None])
    with pytest.raises(ValueError, match=r"ref_logps has shape \[781\]"):
        world.optimum(ref_logps[0], 1.0)
    with pytest.raises(ValueError, match=r"logps has shape \[3, 780\]"):
        world.kl(ref_logps[:, 1:], ref_logps)
    with pytest.raises(ValueError, match=r"seq_logps has shape \[3, 156, 6\]"):
        world.token_logits(logits)
    for call in (
        lambda reward: world.value(logits, reward),
        lambda reward: world.exact_gradient(logits, reward),
        lambda reward: world.optimum(ref_logps, 1.0, reward),
        lambda reward: world.frontier(ref_logps, [1.0], reward),
        world.to_mdp,
    ):
        with pytest.raises(ValueError, match=r"reward has shape \[781\]"):
            call(world.reward[0])


def test_numbers_that_are_not_finite_are_refused(world, logits, ref_logps):
    reward, table, logps = world.reward.clone(), logits.clone(), ref_logps.clone()
    reward[1, 2], table[0, 0, 0], logps[2, 1] = math.nan, math.inf, -math.inf
    with pytest.raises(ValueError, match=r"reward holds nan at index \[1, 2\]"):
        world.value(logits, reward)
    with pytest.raises(ValueError, match=r"reward holds nan at index \[1, 2\]"):
        world.optimum(ref_logps, 1.0, reward)
    with pytest.raises(ValueError, match=r"reward holds nan at index \[1, 2\]"):
        world.to_mdp(reward)
    with pytest.raises(ValueError, match=r"logits holds inf at index \[0, 0, 0\]"):
        world.logps(table)
    with pytest.raises(ValueError, match=r"ref_logps holds -inf at index \[2, 1\]"):
        world.kl(ref_logps, logps)


def test_log_probabilities_that_do_not_sum_to_one_are_refused(world, ref_logps):
    for call in (
        lambda wrong: world.optimum(wrong, 1.0),
        lambda wrong: world.log_partition(wrong, 1.0),
        lambda wrong: world.kl(ref_logps, wrong),
    ):
        with pytest.raises(ValueError, match=r"exp\(ref_logps\) sums to 1\.10517 at row \[0\], expected 1"):
            call(ref_logps + 0.1)
    with pytest.raises(ValueError, match=r"exp\(seq_logps\) sums to 1\.10517"):
        world.token_logits(ref_logps + 0.1)
