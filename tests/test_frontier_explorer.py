"""The explorer of β against policies tilted reply by reply in plain Python."""

import math
import re

import pytest

from rlcore.view.explore import corners, frontier
from rlcore.worlds.phrases import WORDS, Phrases

WORLD = Phrases()


def rest():
    return {name: control.value for name, control in frontier.controls().items()}


def reference(prompt):
    """Probability of every reply, a product of softmaxes over the tokens."""
    logits, chances = WORLD.reference_logits()[WORLD.prompts.index(prompt)].tolist(), {}
    for number, reply in enumerate(WORLD.responses):
        words, chance = [] if number == 0 else reply.split(), 1.0
        for step in range(min(len(words) + 1, 4)):
            row = logits[WORLD.index(" ".join(words[:step]))]
            token = WORDS.index(words[step]) if step < len(words) else len(WORDS)
            chance *= math.exp(row[token]) / sum(map(math.exp, row))
        chances[reply] = chance
    return chances


def tilted(beta, target, prompt):
    """Chances of every reply under the best policy, KL, proxy and gold; sums in plain Python."""
    place = WORLD.prompts.index(prompt)
    rewards = {
        frontier.GOLD: dict(zip(WORLD.responses, WORLD.reward[place].tolist(), strict=True)),
        frontier.PROXY: dict(zip(WORLD.responses, WORLD.proxy[place].tolist(), strict=True)),
    }
    before = reference(prompt)
    weights = {reply: chance * math.exp(rewards[target][reply] / beta) for reply, chance in before.items()}
    total = sum(weights.values())
    after = {reply: weight / total for reply, weight in weights.items()}
    kl = sum(chance * math.log(chance / before[reply]) for reply, chance in after.items())
    proxy, gold = (sum(after[y] * rewards[name][y] for y in after) for name in (frontier.PROXY, frontier.GOLD))
    start = sum(before[y] * rewards[frontier.GOLD][y] for y in before)
    return after, kl, proxy, gold, start


@pytest.mark.parametrize("values", [rest(), *corners(frontier.controls())])
def test_the_caption_says_the_numbers_of_a_policy_tilted_reply_by_reply(values):
    after, kl, proxy, gold, start = tilted(**values)
    said = frontier.draw(**values).get_label()
    best = max(after, key=after.get)
    numbers = [float(x) for x in re.findall(r"-?\d+\.?\d*", said.replace("−", "-"))]
    assert numbers[0] == values["beta"]
    assert numbers[1] == pytest.approx(kl, abs=6e-4)
    assert numbers[2:5] == pytest.approx([proxy, gold, start], abs=6e-3)
    assert numbers[-1] == pytest.approx(after[best], abs=6e-4)
    named = re.search(r"Likeliest reply “(.+)”,", said)[1]
    assert after[named] == pytest.approx(after[best], abs=1e-12)  # two may be as likely
    assert values["prompt"] in said
    assert f"maximising {values['target']}" in said


def test_the_peak_of_gold_is_that_of_a_grid_of_prices():
    prompt = WORLD.prompts[1]
    grid = [tilted(beta, frontier.PROXY, prompt) for beta in frontier.GRID]
    top = max(grid, key=lambda found: found[3])
    said = frontier.draw(0.2, frontier.PROXY, prompt).get_label().replace("−", "-")
    found = re.search(r"gold is at most (-?\d\.\d\d), at KL (\d\.\d\d)", said)
    assert [float(x) for x in found.groups()] == pytest.approx([top[3], top[1]], abs=6e-3)


@pytest.mark.parametrize("prompt", WORLD.prompts)
def test_no_best_policy_for_the_proxy_lies_above_the_frontier_of_gold(prompt):
    proxies, best = (frontier.family(frontier.GRID, name, prompt) for name in (frontier.PROXY, frontier.GOLD))
    for kl, gold in zip(proxies.kl.tolist(), proxies.gold.tolist(), strict=True):
        tangents = [g + beta * (kl - k) for beta, k, g in zip(frontier.GRID, best.kl, best.gold, strict=True)]
        assert gold <= min(tangents) + 1e-9


def test_at_rest_the_proxy_has_risen_and_gold_has_fallen_below_the_start():
    values = rest()
    assert values["target"] == frontier.PROXY
    after, _, proxy, gold, start = tilted(**values)
    assert proxy > start + 1
    assert gold < start - 0.4
    assert "friend friend friend" in max(after, key=after.get)


def test_every_price_fits_into_the_axes():
    for prompt in WORLD.prompts:
        for target in (frontier.PROXY, frontier.GOLD):
            found = frontier.family(frontier.BETAS, target, prompt)
            assert found.kl.max() < 6.5
            assert found.gold.min() > -1.0
            assert found.proxy.max() < 2.6
