"""The support desk: gold rewards by pencil, demonstrations as often as their exact probability says, annotators."""

import itertools
import math
from collections import Counter

import pytest
import torch

from rlcore.worlds import replies

BIKE = "user : my bike is lost . agent :"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("reply", "ended", "wanted"),
    [
        ("", True, 0.0),
        ("", False, -1.0),
        ("hello !", True, 0.3),
        ("you will get a full refund .", True, 1.2),
        ("you will get a full refund . you will get a full refund .", True, 1.2 - 0.7),
        ("we will send a new bike today .", True, 1.2),
        ("we will send a new lamp today .", True, 1.2 - 1.0),
        ("we will send a new lamp today . we will send a new bike today .", True, 1.2 - 1.0 - 0.7),
        ("stop whining ! go away !", True, -1.5 - 0.7),
        ("full refund . hello !", True, 0.3 - 1.0),
        ("hello ! you will get", True, 0.3 - 1.0),
        ("hello ! you will get", False, 0.3 - 1.0),  # once, though neither the sentence nor the reply is closed
        ("! .", True, -2.0),
        # 2 + 8 + 5 + 5 = 20 words, two too many
        ("hello ! i am so sorry about your bike . i understand how you feel . read the manual .", True, None),
    ],
)
def test_gold_is_what_a_pencil_says(reply, ended, wanted):
    if wanted is None:
        assert len(reply.split()) == 20
        wanted = 0.3 + 1.0 + 0.5 - 0.8 - 0.1 * 2
    assert replies.gold(BIKE, reply, ended) == pytest.approx(wanted)


def test_a_thing_in_the_wrong_place_is_malformed_and_not_a_wrong_thing():
    parts = replies.terms(BIKE, "hello lamp ! please bike .", ended=True)
    assert parts["malformed"] == -2.0
    assert parts["wrong item"] == 0.0


def test_terms_add_up_to_gold():
    for _, reply in replies.demonstrations(200, generator()):
        assert sum(replies.terms(BIKE, reply, ended=True).values()) == pytest.approx(replies.gold(BIKE, reply, True))


def test_there_are_24_prompts_sixteen_sentences_and_a_small_vocabulary():
    assert len(set(replies.PROMPTS)) == 24
    assert len(replies.SENTENCES) == 16
    assert 60 <= len(replies.WORDS) <= 90
    for prompt, reply in replies.demonstrations(500, generator()):
        assert {*prompt.split(), *reply.split()} <= set(replies.WORDS)


def test_a_demonstration_begins_with_hello_and_ends_with_the_farewell_where_it_has_them():
    for _, reply in replies.demonstrations(2000, generator()):
        said = replies.parse(reply)
        assert not said.malformed
        assert not said.unfinished
        assert len(set(said.sentences)) == len(said.sentences)
        assert replies.FIRST not in said.sentences[1:]
        assert replies.LAST not in said.sentences[:-1]


def test_the_exact_chances_of_all_demonstrations_sum_to_one():
    total = sum(
        replies._order_chance(texts)
        for number in replies.COUNTS
        for texts in itertools.permutations(replies.SENTENCES, number)
    )
    assert total == pytest.approx(1, abs=1e-9)


def test_demonstrations_come_as_often_as_their_exact_chance_says():
    count = 20_000
    drawn = replies.demonstrations(count, generator())
    seen = Counter(tuple(replies.parse(reply).sentences) for _, reply in drawn)
    for texts in itertools.chain.from_iterable(itertools.permutations(replies.SENTENCES, n) for n in (1, 2)):
        chance = replies._order_chance(texts)
        spread = math.sqrt(count * chance * (1 - chance))
        assert abs(seen[texts] - count * chance) <= 5 * spread + 1, texts
    named = [(replies._item(prompt) == item) for prompt, reply in drawn for item in replies.parse(reply).items]
    assert abs(sum(named) / len(named) - 0.85) < 4 * math.sqrt(0.85 * 0.15 / len(named))


def test_log_probabilities_average_to_the_entropy():
    drawn = replies.demonstrations(20_000, generator(1))
    surprises = torch.tensor([-replies.demonstration_logp(*pair) for pair in drawn], dtype=torch.float64)
    error = surprises.std() / len(drawn) ** 0.5
    assert abs(surprises.mean() - replies.demonstration_entropy()) < 4 * error
    assert error < 0.02


def test_one_reply_by_pencil():
    """Two sentences of which only moods with nice hold both: hello first, so one order."""
    pair = 0.35 * (0.35 / math.comb(11, 2) + 0.30 / math.comb(16, 2))
    reply = "hello ! i am so sorry about your bike ."
    assert replies.demonstration_logp(BIKE, reply) == pytest.approx(math.log(pair * 0.85))
    wrong = reply.replace("bike", "lamp")
    assert replies.demonstration_logp(BIKE, wrong) == pytest.approx(math.log(pair * 0.15 / 5))


@pytest.mark.parametrize(
    "reply",
    ["", "please wait . hello !", "have a nice day ! please wait .", "go away ! go away !", "go", "no refund ."],
)
def test_what_nobody_would_write_has_probability_zero(reply):
    assert replies.demonstration_logp(BIKE, reply) == -math.inf


def test_the_same_seed_writes_the_same_demonstrations():
    assert replies.demonstrations(50, generator(3)) == replies.demonstrations(50, generator(3))
    assert replies.demonstrations(50, generator(3)) != replies.demonstrations(50, generator(4))


def test_annotators_prefer_as_often_as_bradley_terry_says():
    n = 40_000
    zero, one = torch.zeros(n).double(), torch.ones(n).double()
    settings = {"words_a": 12 * one, "words_b": 10 * one, "generator": generator()}

    def share(**changed):
        given = {"temperature": 1.0, "flip_rate": 0.0, "length_bias": 0.0} | settings | changed
        return replies.annotate(one * 0.5, zero, **given).double().mean().item()

    def sigma(x):
        return 1 / (1 + math.exp(-x))

    error = 4 * 0.5 / n**0.5
    assert share() == pytest.approx(sigma(0.5), abs=error)
    assert share(temperature=0.25) == pytest.approx(sigma(2.0), abs=error)
    assert share(flip_rate=0.3) == pytest.approx(0.7 * sigma(0.5) + 0.3 * sigma(-0.5), abs=error)
    assert share(flip_rate=0.5) == pytest.approx(0.5, abs=error)
    assert share(length_bias=-0.4) == pytest.approx(sigma(0.5 - 0.8), abs=error)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: replies.gold("my bike is lost", "hello !", True), "prompt is 'my bike is lost', expected one like"),
        (lambda: replies.demonstrations(0, generator()), "count is 0, expected a whole number"),
        (
            lambda: replies.annotate(
                torch.zeros(2),
                torch.zeros(3),
                temperature=1.0,
                flip_rate=0.0,
                words_a=torch.zeros(2),
                words_b=torch.zeros(2),
                length_bias=0.0,
                generator=generator(),
            ),
            r"gold_b has shape \[3\], expected \[2\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_echoes_ask_for_three_words_and_answer_with_them():
    pairs = replies.echoes(2000, torch.Generator().manual_seed(0))
    counts = Counter()
    for prompt, reply in pairs:
        words = prompt.removeprefix("user : repeat ").removesuffix(" . agent :").split()
        assert reply == f"{' '.join(words)} ."
        counts.update(words)
    assert set(counts) == {*replies.ITEMS, *replies.TROUBLES}
    assert sum(counts.values()) == 6000
    assert max(abs(count - 600) for count in counts.values()) < 4 * (600 * 0.9) ** 0.5  # four standard deviations


def test_no_echoes_are_refused():
    with pytest.raises(ValueError, match="count is 0, expected a whole number, 1 or more"):
        replies.echoes(0, torch.Generator())
