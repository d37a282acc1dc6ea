"""The explorer of β, margin and coverage against plain gradient descent on the loss of every pair."""

import math
import re

import pytest

from rlcore.view.explore import corners
from rlcore.view.explore import dpo as explorer

START = [math.log(chance) for chance in explorer.REFERENCE]


def rest():
    return {name: control.value for name, control in explorer.controls().items()}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(logits):
    weights = [math.exp(x - max(logits)) for x in logits]
    return [weight / sum(weights) for weight in weights]


def descended(beta, flip_rate, coverage, steps=20_000):
    """Gradient descent from the reference, a logit for each reply; each pair in both orders, with its chance."""
    seen, logits = explorer.SEEN[coverage], list(START)
    rate = 1 / (beta**2 * len(seen))
    for _ in range(steps):
        slope = [0.0] * 5
        for w in seen:
            for loser in seen:
                if w != loser:
                    clean = sigmoid(explorer.REWARDS[w] - explorer.REWARDS[loser])
                    chance = (1 - flip_rate) * clean + flip_rate * (1 - clean)
                    margin = (logits[w] - START[w]) - (logits[loser] - START[loser])
                    push = chance * beta * sigmoid(-beta * margin)
                    slope[w] -= push
                    slope[loser] += push
        logits = [x - rate * g for x, g in zip(logits, slope, strict=True)]
        if max(map(abs, slope)) < 1e-11:
            break
    return softmax(logits)


def tilted(beta):
    return softmax([start + reward / beta for start, reward in zip(START, explorer.REWARDS, strict=True)])


@pytest.mark.parametrize("coverage", explorer.SEEN)
@pytest.mark.parametrize(("beta", "flip_rate"), [(0.2, 0.0), (0.5, 0.2), (2.0, 0.4)])
def test_the_policy_is_where_gradient_descent_ends(beta, flip_rate, coverage):
    found = explorer.outcome(beta, flip_rate, coverage)
    assert found.dpo.tolist() == pytest.approx(descended(beta, flip_rate, coverage), abs=1e-6)
    assert found.star.tolist() == pytest.approx(tilted(beta), abs=1e-12)


@pytest.mark.parametrize("values", [rest(), *corners(explorer.controls())])
def test_the_caption_says_the_numbers_of_the_loss_written_out(values):
    said = explorer.draw(**values).get_label().replace("−", "-")
    beta, margin, flips = values["beta"], values["margin"], values["flip_rate"]
    share = flips + (1 - 2 * flips) * sigmoid(explorer.LEAD)
    wanted = [
        math.log1p(math.exp(-beta * margin)),
        sigmoid(-beta * margin),
        share,
        math.log(share / (1 - share)) / beta,
    ]
    shape = r"loss (-?\d+\.\d+), weight (\d\.\d+); labels .* chance (\d\.\d+), best margin (\d+\.\d+)\."
    assert [float(x) for x in re.search(shape, said).groups()] == pytest.approx(wanted, abs=6e-3)
    found = explorer.outcome(beta, flips, values["coverage"])
    chances = [float(x) for x in re.findall(r"[A-E] (\d\.\d{3})", said)]
    assert chances == pytest.approx(found.dpo.tolist(), abs=6e-4)
    off = sum(abs(a - b) for a, b in zip(found.dpo.tolist(), tilted(beta), strict=True)) / 2
    assert float(re.search(r"best policy (\d\.\d{3})\.$", said)[1]) == pytest.approx(off, abs=6e-4)


def test_with_every_reply_in_pairs_and_clean_labels_the_least_loss_is_the_best_policy():
    for beta in explorer.BETAS:
        assert explorer.outcome(beta, 0.0, explorer.ALL).off < 1e-6


def test_turned_labels_hold_the_policy_nearer_to_the_reference():
    clean, noisy = (explorer.outcome(0.5, flips, explorer.ALL).dpo.tolist() for flips in (0.0, 0.3))

    def spent(policy):
        return sum(chance * (math.log(chance) - start) for chance, start in zip(policy, START, strict=True))

    assert 0.1 < spent(noisy) < spent(clean) - 0.3


def test_at_rest_the_best_reply_is_in_no_pair_and_stays_rare():
    values = rest()
    found = explorer.outcome(values["beta"], values["flip_rate"], values["coverage"])
    assert not found.seen[3]
    assert found.dpo[3] < 0.05 < 0.5 < found.star[3]
    assert values["margin"] * values["beta"] == pytest.approx(explorer.LEAD)  # the pair's loss is at its least


def test_replies_that_occur_in_no_pair_may_gain():
    assert explorer.outcome(1.0, 0.0, explorer.TWO).dpo[2] > explorer.REFERENCE[2] + 0.01
