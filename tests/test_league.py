"""The league: who takes part, what each may look at, which way each pushes, what it costs, and what its rows say."""

import copy
import inspect
import math

import pytest
import torch
from torch import nn

from rlcore import dpo as losses
from rlcore import dpo_training, lm
from rlcore.loops import desk, dpo, entrants, league, reward_model, schedules
from rlcore.loops.dpo_curves import bench
from rlcore.loops.entrants import METHODS
from rlcore.loops.schedules import ROWS, K, seen

FAMILY = {
    "pairs": {
        *("DPO β 0.1", "DPO β 0.5", "cDPO", "robust DPO", "IPO", "hinge", "squared hinge", "exponential", "SLiC-HF"),
        *("DPOP", "β-DPO", "sDPO", "RSO", "R-DPO", "SimPO", "ORPO", "CPO", "PAFT", "TDPO-1", "TDPO-2"),
        *("forward KL", "Jensen–Shannon", "α-divergence", "pairwise CRINGE", "SFT on chosen"),
    },
    "lists": {"Plackett–Luce β 0.1", "Plackett–Luce β 0.5", "LiPO-λ β 0.1", "LiPO-λ β 0.5", "RRHF", "PRO"},
    "thumbs": {"KTO", "BCO", "CRINGE", "unlikelihood"},
    "marks": {"DRO-V"},
    "negatives": {"NPO", "D²O", "ascent on rejected"},
}
ALONE = {"SimPO", "ORPO", "CPO", "SLiC-HF", "pairwise CRINGE", "SFT on chosen", "RRHF", "PRO", "CRINGE", "unlikelihood"}
ALONE |= {"ascent on rejected"}  # without a reference
HOLDS = {"ORPO", "CPO", "SLiC-HF", "SFT on chosen", "RRHF", "PRO", "CRINGE", "unlikelihood"}  # likelihood of the best
UNLEARNS = {"NPO", "ascent on rejected"}  # nothing but rejected replies


@pytest.fixture(scope="module", autouse=True)
def small():
    """A pool of 400 prompts, and few replies to measure with: each test is quick."""
    patch = pytest.MonkeyPatch()
    for name, number in {"PROMPTS": 400, "TEST": 200, "FRESH": 300, "ECHOES": 50}.items():
        patch.setattr(league, name, number)
    league.pool.cache_clear()
    yield
    patch.undo()
    league.pool.cache_clear()


@pytest.fixture(scope="module")
def pool(small):
    return league.pool(3)


def few(data, count=32):
    """The first replies of some data, as a quick batch."""
    prompts = slice(count // data.ranking.shape[1])
    return dpo.Ranked(data.replies.rows(slice(count)), data.ranking[prompts], data.rewards[prompts])


def one_batch(pool, kind, policy=None):
    """What a method of a kind sees in a small first step."""
    return dpo.as_batch(policy or pool.reference, pool.reference, few(seen(pool, kind)))


def moved():
    """A policy that is not the reference: the shipped one of PPO."""
    return lm.shipped("replies_ppo")[0]


class Silent(nn.Module):
    """A reference that must not be asked."""

    config, device = None, "cpu"

    def forward(self, *_, **__):
        raise AssertionError("the reference was asked")


def gradient(model, number):
    model.zero_grad()
    number.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# Who takes part


def test_every_method_of_the_family_takes_part_once():
    assert [method.name for method in METHODS.values()] == list(METHODS)
    for kind, names in FAMILY.items():
        assert {method.name for method in METHODS.values() if method.kind == kind} == names


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_is_finite_and_asks_the_reference_only_where_it_says_so(pool, name):
    method, policy = METHODS[name], moved()
    batch = one_batch(pool, method.kind, policy)
    loss = method.make()(batch)
    assert loss.ndim == 1
    assert len(loss) >= 8
    assert torch.isfinite(loss).all()
    assert method.reference == (name not in ALONE)
    unknown = torch.full_like(batch.ref_logps, math.nan)
    alone = dpo.Batch(policy, Silent(), batch.replies, unknown, batch.rewards)
    if method.reference:
        with pytest.raises((ValueError, AssertionError), match=r"finite|asked"):
            method.make()(alone)
    else:
        torch.testing.assert_close(method.make()(alone), loss)


@pytest.mark.parametrize("name", METHODS)
def test_a_small_step_pushes_where_the_method_promises(pool, name):
    """At the reference: the slope of what is to rise, along the step −∇L, is above 0."""
    method, policy = METHODS[name], copy.deepcopy(pool.reference)
    data = few(schedules.accepted(pool, 1.0) if name == "RSO" else seen(pool, method.kind), 128)
    step = -gradient(policy, method.make()(dpo.as_batch(policy, pool.reference, data)).mean())
    logps = dpo.as_batch(policy, pool.reference, data).logps
    best, worst = logps[:, 0].mean(), logps[:, -1].mean()
    rises = -worst if name in UNLEARNS else best if name in HOLDS else best - worst
    assert step @ gradient(policy, rises) > 0


def by_hand(name, pool, b):
    """The loss of a method, written down from log-probabilities, lengths and marks."""
    sigma, h = nn.functional.logsigmoid, b.margin
    w, l = b.logps[:, :2].unbind(1)  # noqa: E741
    w_length, l_length = b.lengths[:, :2].unbind(1)
    ratios, size = b.log_ratios.flatten(), (len(b.logps), -1)
    if name == "R-DPO":
        return -sigma(0.1 * h + 0.05 * (w_length - l_length))
    if name == "SimPO":
        return -sigma(2.5 * (w / w_length - l / l_length) - 1.375)
    if name == "SLiC-HF":
        return (10 - w + l).clamp(min=0) - 0.05 * w
    if name == "CPO":
        return -sigma(0.1 * (w - l)) - 0.05 * w
    if name == "NPO":
        return -20 * sigma(-0.1 * b.log_ratios[:, [1, 3]]).flatten()
    if name == "KTO":
        z = b.mismatched.mean().clamp(min=0)
        return 1 - (0.1 * torch.tensor([1.0, -1.0]) * (b.log_ratios - z)).sigmoid().flatten()
    if name == "BCO":
        shift = 0.1 * b.log_ratios.mean(0).sum() / 2
        return -sigma(torch.tensor([1.0, -1.0]) * (0.1 * b.log_ratios - shift)).flatten()
    if name == "DRO-V":
        value = lm.values(lm.scalar(pool.reference, seed=0), b.replies)[:, 0]
        return (b.rewards.flatten() - value - 0.5 * ratios) ** 2 / 2
    if name == "RRHF":
        p = b.logps / b.lengths
        return sum((p[:, j] - p[:, i]).clamp(min=0) for i in range(K) for j in range(i + 1, K)) - w
    if name == "unlikelihood":
        chances = b.token_logps.exp().clamp(max=math.exp(-1e-3))
        return -w + 0.1 * -(1 - chances).log().where(b.replies.mask, 0).sum(1).view(size)[:, 1]
    assert name == "TDPO-2"
    policy, reference = b.logits.log_softmax(-1), b.ref_logits.log_softmax(-1)
    drift = (reference.exp() * (reference - policy)).sum(-1).where(b.replies.mask, 0).sum(1).view(size)
    return -sigma(0.1 * (h - 0.5 * (drift[:, 1] - drift[:, 0])))


HAND = ("R-DPO", "SimPO", "SLiC-HF", "CPO", "NPO", "KTO", "BCO", "DRO-V", "RRHF", "unlikelihood", "TDPO-2")


@pytest.mark.parametrize("name", HAND)
def test_a_loss_gets_what_belongs_to_it(pool, name):
    """Chosen and rejected, lengths, marks, values and weights, each in its place."""
    batch = one_batch(pool, METHODS[name].kind, moved())
    found = METHODS[name].make()(batch)
    torch.testing.assert_close(found, by_hand(name, pool, batch), atol=1e-3, rtol=1e-3)


def test_marks_are_seen_by_the_one_method_that_may_see_them(pool):
    for method in METHODS.values():
        batch = one_batch(pool, method.kind, moved())
        loss = method.make()(batch)
        batch.rewards = batch.rewards + torch.arange(batch.rewards.numel()).view_as(batch.rewards)
        assert torch.equal(method.make()(batch), loss) == (method.kind != "marks"), method.name


def test_what_negatives_are_worth_compared_with_each_other_is_not_seen(pool):
    """Another order of the pairs of a prompt is the same loss: nothing but "rejected" is looked at."""
    for name in FAMILY["negatives"]:
        batch, method = one_batch(pool, "negatives", moved()), METHODS[name]
        rows = torch.arange(len(batch.replies)).view(-1, 4)[:, [2, 3, 0, 1]].flatten()
        turned = batch.ref_logps[:, [2, 3, 0, 1]]
        other = dpo.Batch(batch.policy, batch.reference, batch.replies.rows(rows), turned, batch.rewards)
        torch.testing.assert_close(method.make()(other).mean(), method.make()(batch).mean())


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if inspect.isclass(m.loss)])
def test_state_is_new_in_every_run(pool, name):
    method = METHODS[name]
    batch = one_batch(pool, method.kind, moved())
    first, second = ([loss(batch).detach() for _ in range(2)] for loss in (method.make(), method.make()))
    assert all(map(torch.equal, first, second))
    if name != "DRO-V":  # its state changes by steps of the optimiser
        assert not torch.equal(*first)


def test_beta_dpo_keeps_its_moving_mean_and_gives_the_batch_its_beta(pool):
    batch = one_batch(pool, "pairs", moved())
    h = batch.margin.detach()
    loss = entrants.BetaDPO(beta=0.1, alpha=0.6, share=1.0)
    found = loss(batch)
    beta = 0.1 * (1 + 0.6 * h.mean().item())  # the usual margin is 0 at first; all pairs are kept
    torch.testing.assert_close(found.sort().values, losses.dpo_loss(h, beta).sort().values, atol=1e-5, rtol=1e-4)
    assert loss.mean == pytest.approx(0.1 * h.mean().item())
    assert loss.std == pytest.approx(0.9 + 0.1 * h.std().item())
    loss(batch)
    assert loss.mean == pytest.approx(0.19 * h.mean().item())
    assert loss.std == pytest.approx(0.81 + 0.19 * h.std().item())
    assert len(entrants.BetaDPO(0.1, 0.6, share=0.8)(batch)) == round(0.8 * len(h))


def test_d2o_sets_each_rejected_reply_against_the_other_pair(pool):
    batch = one_batch(pool, "negatives", moved())
    ratios = batch.log_ratios.detach()
    first = -nn.functional.logsigmoid(0.1 * (ratios[0, 2] + ratios[0, 3]) / 2 - 0.1 * ratios[0, 1])
    second = -nn.functional.logsigmoid(0.1 * (ratios[0, 0] + ratios[0, 1]) / 2 - 0.1 * ratios[0, 3])
    torch.testing.assert_close(METHODS["D²O"].make()(batch)[:2], torch.stack([first, second]))


def test_the_value_of_dro_depends_on_the_prompt_alone_and_is_trained(pool):
    loss, batch = METHODS["DRO-V"].make(), one_batch(pool, "marks")
    before = [p.clone() for p in loss.parameters()]
    values = lm.values(loss.value, batch.replies)[:, 0]
    assert (values[::2] - values[1::2]).abs().max() < 1e-5  # the two replies of a pair
    schedules.trained(pool, pool.reference, seen(pool, "marks", 0, 1), loss)
    assert any(not torch.equal(p, old) for p, old in zip(loss.parameters(), before, strict=True))


# What each may look at, and when


def test_the_kinds_are_views_of_the_same_felt_worth(pool):
    felt = pool.felt
    pairs, lists, marks, negatives = (seen(pool, kind) for kind in ("pairs", "lists", "marks", "negatives"))
    assert torch.equal(seen(pool, "thumbs").ranking, pairs.ranking)
    n = torch.arange(len(felt))
    for half in (0, 1):  # replies 0 and 1, then 2 and 3
        best = pairs.ranking[half::2, 0]
        assert torch.equal(felt[n, best + 2 * half], felt[:, 2 * half : 2 * half + 2].amax(1))
        worst = negatives.ranking[:, 2 * half + 1]
        assert torch.equal(felt[n, worst], felt[:, 2 * half : 2 * half + 2].amin(1))
        assert ((negatives.ranking[:, 2 * half : 2 * half + 2] // 2) == half).all()
    assert (felt.gather(1, lists.ranking).diff(dim=1) <= 0).all()
    torch.testing.assert_close(marks.rewards.view(-1, K), felt - schedules.NOISE)
    assert all((data.rewards == 0).all() for data in (pairs, lists, negatives))
    assert all(data.replies is not None and len(data.replies) == felt.numel() for data in (pairs, lists, negatives))


@pytest.mark.parametrize("kind", FAMILY)
def test_steps_take_128_replies_each_and_follow_one_another(pool, kind):
    parts, whole = [seen(pool, kind, a, b) for a, b in ((0, 3), (3, 5))], seen(pool, kind, 0, 5)
    assert len(whole.replies) == 5 * ROWS
    assert whole.ranking.numel() == 5 * ROWS
    assert torch.equal(torch.cat([part.ranking for part in parts]), whole.ranking)
    assert torch.equal(torch.cat([part.replies.tokens for part in parts]), whole.replies.tokens)


def test_choices_of_the_annotator_are_plackett_luce():
    golds = torch.tensor([1.0, 0.0, -1.0]).expand(20_000, 3)
    ranking = desk.felt(golds, torch.Generator().manual_seed(0)).argsort(1, descending=True)
    weights = golds[0].exp()
    first = torch.bincount(ranking[:, 0], minlength=3) / len(golds)
    torch.testing.assert_close(first, weights / weights.sum(), atol=4 * 0.5 / 20_000**0.5, rtol=0)
    among = ranking[ranking[:, 0] == 0][:, 1]  # 0 before the others: then 1 with weight 1 against e⁻¹
    share, error = (among == 1).double().mean().item(), 0.5 / len(among) ** 0.5
    assert share == pytest.approx(1 / (1 + math.exp(-1)), abs=4 * error)
    felt = desk.felt(torch.zeros(20_000, 1), torch.Generator().manual_seed(1))
    assert felt.mean().item() == pytest.approx(schedules.NOISE, abs=4 * math.pi / 6**0.5 / 20_000**0.5)


def watched(monkeypatch):
    """Starts, references and data of the trainings that follow."""
    calls, train = [], schedules.train

    def noted(policy, reference, data, loss, **how):
        calls.append((copy.deepcopy(policy), copy.deepcopy(reference), data, how["batch"]))
        return train(policy, reference, data, loss, **how)

    monkeypatch.setattr(schedules, "train", noted)
    return calls


def same(one, other):
    return all(map(torch.equal, one.parameters(), other.parameters()))


def test_sdpo_goes_on_from_its_first_result_as_start_and_reference(pool, monkeypatch):
    calls = watched(monkeypatch)
    policy = schedules.fit(METHODS["sDPO"], pool, steps=3)
    (start, reference, first, batch), (again, later, second, _) = calls
    assert batch == ROWS // 2
    assert same(start, pool.reference)
    assert same(reference, pool.reference)
    assert same(again, later)
    assert not same(again, start)
    assert not same(policy, again)
    assert [len(first.replies), len(second.replies)] == [2 * ROWS, ROWS]


def test_paft_trains_both_halves_from_the_same_start_and_adds_the_changes(pool, monkeypatch):
    method, calls = METHODS["PAFT"], watched(monkeypatch)
    threshold = method.settings["threshold"]
    policy = schedules.fit(method, pool, steps=3)
    (one, _, first, _), (other, _, second, _) = calls
    assert same(one, other)
    assert [len(first.replies), len(second.replies)] == [2 * ROWS, ROWS]
    tuned = schedules.trained(pool, pool.reference, first, METHODS["SFT on chosen"].make())
    preferred = schedules.trained(pool, pool.reference, second, METHODS["DPO β 0.1"].make())
    models = (policy, pool.reference, tuned, preferred)
    for found, start, one, other in zip(*(model.parameters() for model in models), strict=True):
        change = one - start
        kept = torch.where(change.abs() > threshold, change - threshold * change.sign(), 0)
        torch.testing.assert_close(found, other + kept, atol=1e-6, rtol=0)


def test_rso_keeps_replies_by_the_judges_score_and_ranks_them_by_it(pool):
    pairs = schedules.accepted(pool, temperature=1.0)
    judge = lm.shipped("replies_judge_1")[0]
    scores = reward_model.score(judge, pairs.replies).view(-1, 2)
    assert torch.equal(scores.gather(1, pairs.ranking), scores.sort(1, descending=True).values)
    texts = lm.read(bench().tokenizer, pairs.replies)
    assert all(a[0] == b[0] for a, b in zip(texts[::2], texts[1::2], strict=True))  # the same prompt
    before = reward_model.score(judge, pool.replies).view(-1, K)
    chances = dpo_training.acceptance_probabilities(before, 1.0)
    kept = torch.rand(chances.shape, generator=torch.Generator().manual_seed(pool.seed)) < chances
    assert len(pairs.ranking) == (kept.sum(1) >= 2).sum()
    wanted = [row[mask][:2] for row, mask in zip(before, kept, strict=True) if mask.sum() >= 2]
    torch.testing.assert_close(scores, torch.stack(wanted), atol=1e-4, rtol=0)
    assert scores.mean() > before.mean() + 0.3


def test_rso_goes_round_its_pairs_until_the_budget_is_spent(pool, monkeypatch):
    calls = watched(monkeypatch)
    schedules.fit(METHODS["RSO"], pool, steps=12)
    ((_, _, data, _),) = calls
    pairs = schedules.accepted(pool, 1.0)
    assert len(data.ranking) == 12 * ROWS // 2 > len(pairs.ranking)
    n = len(pairs.ranking)
    assert torch.equal(data.ranking[n : n + 5], pairs.ranking[:5])
    assert torch.equal(data.replies.tokens[2 * n : 2 * n + 10], pairs.replies.tokens[:10])


# How it is measured


def test_the_reference_is_no_better_than_itself(pool):
    row = league.evaluate(pool.reference, pool)
    assert list(row) == [*league.OUTCOME, "echo", *league.HELD_OUT]
    assert row["kl"] == pytest.approx(0, abs=1e-4)
    assert [row[name] for name in ("label", "order", "chosen", "rejected")] == [0.5, 0.5, 0, 0]
    assert row["echo"] > 0.85


def test_held_out_columns_are_their_definitions(pool):
    policy, row = moved(), league.evaluate(moved(), pool)
    told = dpo.held_out(policy, pool.reference, pool.test)
    assert row["label"] == pytest.approx(told.accuracy, abs=1e-6)
    assert [row["chosen"], row["rejected"]] == pytest.approx([told.chosen, told.rejected], abs=1e-4)
    replies, ranking, golds = pool.test
    with torch.no_grad():
        own, refs = (lm.logps(m, replies).where(replies.mask, 0).sum(1).view(-1, 2) for m in (policy, pool.reference))
    ratios, n = own - refs, torch.arange(len(own))
    agree = [(r[0] > r[1]) == (g[0] > g[1]) for r, g in zip(ratios, golds, strict=True) if g[0] != g[1]]
    assert row["order"] == pytest.approx(sum(map(float, agree)) / len(agree), abs=1e-6)
    per_token = own / replies.mask.sum(1).view(-1, 2)
    right = per_token[n, ranking[:, 0]] > per_token[n, ranking[:, 1]]
    assert row["average"] == pytest.approx(right.double().mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "models", "passes"),
    [("DPO β 0.1", 2, 2), ("SimPO", 1, 1), ("TDPO-2", 2, 3), ("KTO", 2, 4), ("DRO-V", 3, 3)],
)
def test_what_a_step_costs_is_counted_and_the_same_every_time(pool, name, models, passes):
    found = league.cost(METHODS[name], pool)
    assert (found["models"], found["passes"]) == (models, passes)
    assert found == league.cost(METHODS[name], pool)
    logits = ROWS * pool.replies.tokens.shape[1] * pool.reference.config.vocab_size * 4
    assert found["bytes"] > 2 * logits  # those logits and their gradient are alive together


def test_bytes_are_counted_from_birth_to_death():
    given = torch.zeros(1000)
    with league.Bytes() as memory:
        x = given + 1  # 4,000
        y = x * 2  # 8,000
        del x
        view = y[:10]  # no bytes of its own
        z = (y.double(), view)  # 12,000
        del y, view, z
    assert memory.most == 12_000
    assert memory.now == 0


def test_a_row_is_complete_and_the_same_every_time(pool):
    policy, row = league.enter("R-DPO", pool.seed, steps=1)
    assert tuple(row) == league.COLUMNS
    assert (row["method"], row["kind"], row["reference"], row["seed"], row["steps"]) == ("R-DPO", "pairs", True, 3, 1)
    assert row["settings"] == "beta 0.1, alpha 0.05"
    again, other = league.enter(METHODS["R-DPO"], pool.seed, steps=1)
    assert same(policy, again)
    assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert league.told({"seed": 3, "gold": 1.23456, "bytes": 7}) == {"seed": 3, "gold": "1.2346", "bytes": 7}


def test_a_short_run_of_the_league_earns_more_on_three_seeds():
    """12 of the 63 steps."""
    for seed in range(3):
        pool = league.pool(seed)
        start = desk.gold(bench().tokenizer, pool.replies).mean()
        _, row = league.enter("DPO β 0.5", seed, steps=12)
        assert row["gold"] > start + 0.2, (seed, row, start)
        assert row["label"] > 0.65, (seed, row)
        assert 0 < row["kl"] < 2, (seed, row)
