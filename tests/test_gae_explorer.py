"""The explorer's bias and variance against moments carried down the tree of prefixes in plain Python."""

import re

import numpy as np
import pytest

from rlcore.view.explore import gae
from rlcore.worlds.phrases import EOS, LONGEST, WORDS, Phrases

WORLD = Phrases()
POLICY = WORLD.reference_logits().softmax(-1).tolist()
REWARD = [dict(zip(WORLD.responses, row, strict=True)) for row in WORLD.reward.tolist()]
SIGNS = gae.world().signs.tolist()


def said(words):
    return " ".join(words) or WORLD.responses[0]


class Moments:
    """Exact values, and mean and mean square of the estimate after each token, one prefix at a time."""

    def __init__(self, gamma, lam, error):
        self.gamma, self.lam, self.error = gamma, lam, error
        self.weights = self.bias = self.variance = 0.0
        self.per_token = {}
        for prompt in range(len(WORLD.prompts)):
            self.visit(prompt, (), 1.0)

    def visit(self, prompt, words, chance):
        """Value, critic's value, mean and mean square of the estimate in a state where a token is to be chosen."""
        state = WORLD.index(" ".join(words))
        policy, rows, tokens = POLICY[prompt][state], [], {}
        for token, name in enumerate([*WORDS, "EOS"]):
            longer = (*words, name) if token != EOS else words
            reward = REWARD[prompt][said(longer)] - REWARD[prompt][said(words)]
            over = token == EOS or len(longer) == LONGEST
            after = (0.0,) * 4 if over else self.visit(prompt, longer, chance * policy[token])
            tokens[name] = (reward, *after)
            rows.append(reward + self.gamma * after[0])
        value = sum(p * q for p, q in zip(policy, rows, strict=True))
        critic = value + self.error * SIGNS[prompt][state]
        means, squares = [], []
        for reward, _, critic_after, mean, square in tokens.values():
            delta, keep = reward + self.gamma * critic_after - critic, self.gamma * self.lam
            means.append(delta + keep * mean)
            squares.append(delta**2 + 2 * delta * keep * mean + keep**2 * square)
        common = sum(p * m for p, m in zip(policy, means, strict=True))
        for p, q, mean, square in zip(policy, rows, means, squares, strict=True):
            self.weights += chance * p
            self.bias += chance * p * (mean - common - (q - value)) ** 2
            self.variance += chance * p * (square - mean**2)
        self.per_token[prompt, state] = [q - value for q in rows]
        return value, critic, common, sum(p * s for p, s in zip(policy, squares, strict=True))


@pytest.mark.parametrize(("gamma", "lam", "error"), [(1.0, 0.95, 0.5), (0.8, 0.35, 1.0), (0.5, 0.0, 0.25)])
def test_bias_and_variance_are_those_of_moments_carried_down_the_tree(gamma, lam, error):
    want, found, at = Moments(gamma, lam, error), gae.errors(gamma, error), round(lam * gae.LAMS)
    assert found.bias[at] == pytest.approx(want.bias / want.weights, abs=1e-12)
    assert found.variance[at] == pytest.approx(want.variance / want.weights, abs=1e-12)


def test_the_exact_advantages_are_those_of_the_tree():
    want, prompt = Moments(0.8, 0.5, 0.0).per_token, WORLD.prompts.index(gae.PROMPT)
    names, words = [*WORDS, "EOS"], [*gae.REPLY.split(), "EOS"]
    for step, word in enumerate(words):
        state = WORLD.index(" ".join(words[:step]))
        assert gae.errors(0.8, 0.3).exact[step] == pytest.approx(want[prompt, state][names.index(word)], abs=1e-12)


def test_with_the_exact_critic_nothing_is_biased_and_one_step_is_the_advantage():
    found = gae.errors(0.9, 0.0)
    assert found.bias.max() < 1e-24
    assert found.variance[0] < 1e-12
    assert (np.diff(found.variance) > 0).all()
    assert found.trace[0] == pytest.approx(found.exact, abs=1e-12)


def test_with_lam_1_no_critic_biases_and_the_trace_is_the_return_less_the_value():
    found = gae.errors(1.0, 1.0)
    assert found.bias[-1] < 1e-24
    prompt, words = WORLD.prompts.index(gae.PROMPT), gae.REPLY.split()
    for step in range(len(words) + 1):
        state = WORLD.index(" ".join(words[:step]))
        rest = REWARD[prompt][gae.REPLY] - REWARD[prompt][said(words[:step])]
        critic = gae.exact(1.0)[0][prompt, state].item() + SIGNS[prompt][state]
        assert found.trace[-1, step] == pytest.approx(rest - critic, abs=1e-12)


def test_the_caption_says_the_numbers():
    found = gae.errors(0.9, 0.4)
    total = found.bias + found.variance / 3
    said = gae.draw(lam=0.7, gamma=0.9, error=0.4, replies=3).get_label().replace("−", "-")
    numbers = [float(x) for x in re.findall(r"-?\d+\.?\d*", said)]
    want = [0.7, 0.9, 0.4, 3, total[14], found.bias[14], found.variance[14] / 3, total.argmin() / 20, total.min()]
    assert numbers[: len(want)] == pytest.approx(want, abs=6e-5)
    assert numbers[len(want) :] == pytest.approx([*found.trace[14], *found.exact], abs=6e-3)


def test_at_rest_the_critic_is_wrong_and_the_best_lam_lies_inside():
    rest = {name: control.value for name, control in gae.controls().items()}
    assert rest["error"] > 0
    found = gae.errors(rest["gamma"], rest["error"])
    total = found.bias + found.variance / rest["replies"]
    assert 0.2 < total.argmin() / gae.LAMS < 0.8
    assert total.min() < 0.6 * min(total[0], total[-1])
    assert f"The best λ is {total.argmin() / gae.LAMS:.2f}" in gae.draw(**rest).axes[1].get_title(loc="left")
