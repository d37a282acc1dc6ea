"""Reward models and the support desk: the loop against finite differences, annotators against Bradley–Terry."""

import math

import pytest
import torch

from rlcore import lm, preferences
from rlcore.loops import desk, judge_curves, reward_model
from rlcore.worlds import replies as world

WORDS = lm.tokenizer(world.WORDS)
SETTINGS = {"epochs": 1, "batch": 4, "lr": 1e-3, "max_norm": 1e9}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(seed=0, dtype=torch.float64):
    model = lm.build(WORDS, hidden=8, layers=1, heads=2, context=64, seed=seed)
    return lm.scalar(model.to(dtype), seed)


def pairs(count, seed=0):
    """Two demonstrations to one prompt each, as 2 · count rows."""
    texts = world.demonstrations(2 * count, generator(seed))
    asked = [texts[k - k % 2][0] for k in range(2 * count)]
    return lm.encode(WORDS, asked, [reply for _, reply in texts])


def in_order(golds):
    return golds.argsort(1, descending=True)


# The loop ------------------------------------------------------------------------------------------------------------


def alone(judge, replies, row):
    """The score of one reply without batch, padding or rlcore: the number after the last token that was chosen."""
    tokens = torch.cat([replies.prompts[row][replies.prompt_mask[row]], replies.tokens[row][replies.mask[row]]])
    return judge(input_ids=tokens[None]).logits[0, -1, 0]


def test_a_score_is_the_number_after_the_last_chosen_token():
    judge, replies = tiny(), pairs(5)
    assert len(set(replies.mask.sum(1).tolist())) > 2  # lengths differ, so some rows are padded
    wanted = torch.stack([alone(judge, replies, row) for row in range(10)])
    torch.testing.assert_close(reward_model.score(judge, replies), wanted.detach())


def test_scores_are_the_same_in_portions(monkeypatch):
    judge, replies = tiny(), pairs(5)
    whole = reward_model.score(judge, replies)
    monkeypatch.setattr(reward_model, "ROWS", 3)
    torch.testing.assert_close(reward_model.score(judge, replies), whole)


def test_the_gradient_of_a_step_is_that_of_the_mean_loss_by_finite_differences():
    """The definition, −log σ(r_w − r_l) averaged over the pairs, each reply scored alone."""
    judge, replies = tiny(), pairs(3)
    ranking = torch.tensor([[0, 1], [1, 0], [1, 0]])

    def mean_loss():
        with torch.no_grad():
            scores = [alone(judge, replies, row).item() for row in range(6)]
        chosen, rejected = [0, 3, 5], [1, 2, 4]
        gaps = [scores[w] - scores[lost] for w, lost in zip(chosen, rejected, strict=True)]
        return sum(math.log1p(math.exp(-gap)) for gap in gaps) / 3

    names = ["score.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"]
    parameters, ways, wanted = dict(judge.named_parameters()), {}, {}
    for name in names:
        kept = parameters[name].data.clone()
        ways[name] = torch.randn(kept.shape, generator=generator(), dtype=torch.float64)
        at = {}
        for step in (-2, -1, 1, 2):  # wide: the norms inside compute in float32, whatever the parameters are
            parameters[name].data = kept + step * 0.01 * ways[name]
            at[step] = mean_loss()
        parameters[name].data = kept
        wanted[name] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / 0.12
    loss, settings = mean_loss(), SETTINGS | {"batch": 3}
    record = next(
        reward_model.train(judge, replies, ranking, preferences.pairwise_loss, **settings, generator=generator())
    )
    assert record.loss == pytest.approx(loss, abs=1e-6)
    for name, slope in wanted.items():
        assert abs(slope) > 1e-3
        assert (parameters[name].grad * ways[name]).sum().item() == pytest.approx(slope, rel=1e-3), name


def test_rankings_of_two_are_bradley_terry_pairs_whichever_loss_ranks_them():
    replies, ranking = pairs(8), torch.tensor([[0, 1], [1, 0]] * 4)

    def bradley_terry(scores, ranking):
        return preferences.bradley_terry_loss(*scores.gather(1, ranking).T)

    records = []
    for loss in (bradley_terry, preferences.pairwise_loss, preferences.listwise_loss):
        judge = tiny()
        train = reward_model.train(judge, replies, ranking, loss, **SETTINGS, generator=generator())
        records.append((torch.tensor([[record.loss, record.accuracy] for record in train]), judge.score.weight.data))
    for record, weights in records[1:]:
        torch.testing.assert_close(record, records[0][0])
        torch.testing.assert_close(weights, records[0][1])


def test_a_constant_added_to_all_scores_changes_no_loss_and_no_accuracy():
    replies, ranking = pairs(8), torch.tensor([[0, 1], [1, 0]] * 4)
    plain, shifted = tiny(), tiny()
    with torch.no_grad():
        shifted.score.bias += 5
    first, second = (
        list(reward_model.train(judge, replies, ranking, preferences.pairwise_loss, **SETTINGS, generator=generator()))
        for judge in (plain, shifted)
    )
    for a, b in zip(first, second, strict=True):
        assert a.loss == pytest.approx(b.loss, abs=1e-12)
        assert a.accuracy == b.accuracy
    gaps = reward_model.score(shifted, replies) - reward_model.score(plain, replies)
    torch.testing.assert_close(gaps, torch.full_like(gaps, 5.0), atol=1e-3, rtol=0)  # no gradient, a little decay


def test_each_pass_takes_every_ranking_once_and_in_another_order():
    seen = []

    def spy(scores, ranking):
        seen.append(scores.detach()[:, 0])
        return scores.sum(1) * 0

    replies, ranking = pairs(10), torch.tensor([[0, 1]] * 10)
    settings = {"epochs": 2, "batch": 4, "lr": 1e-12, "max_norm": 1.0}
    records = list(reward_model.train(tiny(), replies, ranking, spy, **settings, generator=generator()))
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    assert [len(scores) for scores in seen] == [4, 4, 2, 4, 4, 2]
    one, two = torch.cat(seen[:3]), torch.cat(seen[3:])
    torch.testing.assert_close(one.sort().values, two.sort().values)
    assert not torch.allclose(one, two)
    wanted = reward_model.score(tiny(), replies)[::2]
    torch.testing.assert_close(one.sort().values, wanted.sort().values)


@pytest.mark.parametrize(
    ("scores", "ranking", "wanted"),
    [
        ([[1.0, 1.0]], [[0, 1]], 0.5),
        ([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0], [3.0, 0.0]], [[1, 0], [0, 1], [0, 1], [0, 1]], 2.5 / 4),
        ([[3.0, 2.0, 1.0]], [[0, 1, 2]], 1.0),
        ([[3.0, 2.0, 1.0]], [[1, 0, 2]], 2 / 3),  # one of three pairs the wrong way
        ([[3.0, 3.0, 1.0]], [[1, 0, 2]], 2.5 / 3),
        ([[1.0, 2.0, 3.0]], [[0, 1, 2]], 0.0),
    ],
)
def test_accuracy_counts_pairs_and_half_of_a_tie(scores, ranking, wanted):
    assert reward_model.accuracy(torch.tensor(scores), torch.tensor(ranking)) == pytest.approx(wanted)


def test_sizes_that_do_not_fit_are_refused_before_anything_changes():
    judge, replies = tiny(), pairs(3)
    before = judge.score.weight.clone()
    for ranking, said in (
        (torch.tensor([[0, 1]] * 4), r"replies has 6 rows, expected N · K = 4 · 2"),
        (torch.tensor([[0, 1, 2]] * 3), r"replies has 6 rows, expected N · K = 3 · 3"),
        (torch.tensor([0, 1]), r"ranking"),
    ):
        with pytest.raises(ValueError, match=said):
            next(reward_model.train(judge, replies, ranking, preferences.pairwise_loss, **SETTINGS, generator=None))
    wrong = torch.tensor([[0, 0]] * 3)
    with pytest.raises(ValueError, match=r"ranking is \[0, 0\] in row 0, expected each answer once"):
        next(reward_model.train(judge, replies, wrong, preferences.pairwise_loss, **SETTINGS, generator=generator()))
    with pytest.raises(ValueError, match="ranking"):
        reward_model.accuracy(torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.int64))
    assert torch.equal(judge.score.weight, before)


def test_a_loss_that_is_not_finite_leaves_the_judge_as_it_was():
    judge = tiny()
    before = judge.score.weight.clone()
    broken = reward_model.train(
        judge, pairs(4), torch.tensor([[0, 1]] * 4), lambda scores, ranking: scores.sum(1) * torch.nan, **SETTINGS,
        generator=generator(),
    )  # fmt: skip
    with pytest.raises(FloatingPointError, match="update 1: loss is nan"):
        next(broken)
    assert torch.equal(judge.score.weight, before)


def test_a_small_judge_learns_an_order_it_has_not_seen_on_three_seeds():
    """Sure labels on demonstrations: rude ones lose. Guessing is 0.5."""
    reached = []
    for seed in (0, 1, 2):
        learnt, fresh = pairs(600, seed), pairs(400, seed + 10)
        golds = [desk.gold(WORDS, replies).view(-1, 2) for replies in (learnt, fresh)]
        judge = lm.scalar(lm.build(WORDS, hidden=16, layers=1, heads=2, context=64, seed=seed), seed)
        settings = {"epochs": 4, "batch": 32, "lr": 1e-2, "max_norm": 1.0}
        loss = preferences.pairwise_loss
        losses = [
            r.loss
            for r in reward_model.train(judge, learnt, in_order(golds[0]), loss, **settings, generator=generator(seed))
        ]
        differ = golds[1][:, 0] != golds[1][:, 1]
        scores = reward_model.score(judge, fresh).view(-1, 2)
        reached.append(reward_model.accuracy(scores[differ], in_order(golds[1][differ])))
        assert losses[0] == pytest.approx(math.log(2), abs=0.2)
    assert min(reached) > 0.9, reached


# The desk ------------------------------------------------------------------------------------------------------------


def said(prompt, *texts, ended=True):
    return lm.encode(WORDS, [prompt] * len(texts), texts, ended=ended)


def test_gold_of_tokens_is_gold_of_the_text():
    finished, cut_off = (
        pairs(20),
        lm.encode(WORDS, world.PROMPTS[:2], ["hello !", "please wait . you will"], ended=False),
    )
    texts = lm.read(WORDS, finished)
    assert desk.gold(WORDS, finished).tolist() == pytest.approx([world.gold(*text, ended=True) for text in texts])
    assert desk.gold(WORDS, cut_off).tolist() == pytest.approx([0.3 - 1.0, -0.2 - 1.0])


@pytest.mark.parametrize(
    ("temperature", "flip_rate", "length_bias"),
    [(1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.5, 0.2, 0.0), (1.0, 0.0, 0.3), (1.0, 0.4, -0.2)],
)
def test_annotators_prefer_as_often_as_bradley_terry_says(temperature, flip_rate, length_bias):
    """6 words and EOS worth 0.6 against 2 words and EOS worth 0.3, in both orders, by the closed form."""
    count, short, long = 20_000, "hello !", "please call us any time ."
    taste = {"temperature": temperature, "flip_rate": flip_rate, "length_bias": length_bias}
    for texts, sign in (((long, short), 1), ((short, long), -1)):
        two = said(world.PROMPTS[0], *texts)
        many = two.rows(torch.arange(2).repeat(count))
        golds = desk.gold(WORDS, two).expand(count, 2)
        ranking = desk.rank(golds, many, generator(), **taste)
        chance = 1 / (1 + math.exp(-sign * ((0.6 - 0.3) / temperature + length_bias * (6 - 2))))
        chance = (1 - flip_rate) * chance + flip_rate * (1 - chance)
        assert torch.equal(ranking.sort(1).values, torch.tensor([[0, 1]]).expand(count, 2))
        frequency = (ranking[:, 0] == 0).double().mean().item()
        assert abs(frequency - chance) < 4 * math.sqrt(chance * (1 - chance) / count)


def test_groups_put_replies_to_one_prompt_next_to_each_other():
    model = lm.build(WORDS, hidden=8, layers=1, heads=2, context=64, seed=0)
    drawn = desk.groups(model, WORDS, 30, 3, generator())
    asked = [prompt for prompt, _ in lm.read(WORDS, drawn)]
    assert len(asked) == 90
    assert all(len(set(asked[k : k + 3])) == 1 for k in range(0, 90, 3))
    assert 10 < len(set(asked)) <= 24
    assert set(asked) <= set(world.PROMPTS)
    with pytest.raises(ValueError, match="size is 0"):
        desk.groups(model, WORDS, 3, 0, generator())


def test_the_proxy_joins_the_judges_and_adds_unfinished_to_what_was_cut_off_alone():
    judges = [tiny(seed, torch.float32) for seed in (0, 1, 2)]
    model = lm.build(WORDS, hidden=8, layers=1, heads=2, context=64, seed=3)
    asked = lm.Prompts(*(part[torch.arange(24).repeat(4)] for part in desk.prompts(WORDS)))
    drawn = lm.sample(model, asked, longest=12, temperature=1.0, generator=generator())
    assert 0 < drawn.ended.sum() < len(drawn)  # both kinds are there
    scores = torch.stack([reward_model.score(judge, drawn) for judge in judges])
    for join in (lambda x: x.mean(0), lambda x: x.amin(0)):
        added = desk.proxy(judges, join)(drawn) - join(scores)
        torch.testing.assert_close(added[drawn.ended], torch.zeros(int(drawn.ended.sum())))
        torch.testing.assert_close(added[~drawn.ended], torch.full((int((~drawn.ended).sum()),), desk.UNFINISHED))
    assert desk.UNFINISHED == world.UNFINISHED
    assert not desk.proxy(judges, lambda x: x.mean(0))(drawn).requires_grad


# The curves ----------------------------------------------------------------------------------------------------------


def test_rankings_of_the_curves_are_plackett_luce():
    golds = torch.tensor([[0.5, -0.3, 1.0]]).expand(40_000, 3)
    drawn = judge_curves.ranked(golds, generator())
    for order in ([2, 0, 1], [1, 0, 2]):
        wanted = preferences.plackett_luce_logps(golds[:1], torch.tensor([order])).exp().item()
        seen = (drawn == torch.tensor(order)).all(1).double().mean().item()
        assert abs(seen - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 40_000)


def test_shuffled_pairs_hold_every_pair_of_a_prompt_once_the_better_first():
    replies, ranking = pairs(4), torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])  # two groups of four
    rows = replies.tokens.tolist()
    texts = [(rows[a], rows[b]) for a, b in [(2, 0), (2, 3), (2, 1), (0, 3), (0, 1), (3, 1)]]
    texts += [(rows[4 + a], rows[4 + b]) for a, b in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]]
    found = judge_curves.as_pairs(replies, ranking).tokens.tolist()
    assert list(zip(found[::2], found[1::2], strict=True)) == texts


def test_a_higher_flip_rate_turns_more_of_the_same_labels_round():
    replies = pairs(3000)
    pool = judge_curves.Pool(replies, desk.gold(WORDS, replies).view(-1, 2), seed=0)
    plain = pool.labels(0.0)
    turned = [(pool.labels(rate) != plain).any(1) for rate in (0.1, 0.3)]
    assert (turned[1] | ~turned[0]).all()
    assert turned[0].any()
    assert torch.equal(plain, pool.labels(0.0))
