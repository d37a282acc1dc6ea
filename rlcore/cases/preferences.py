"""Hand-computed cases for rlcore.preferences. Odds in whole numbers: e^score is 1, 2, 3 …"""

import math

from torch import tensor

from rlcore.cases import Case

log2, log3, log7 = (math.log(n) for n in (2, 3, 7))
pair = {"chosen_scores": tensor([log3, 0.0, 5.0]), "rejected_scores": tensor([0.0, log3, 5.0])}
three = {"scores": tensor([[2.0, 1.0, 5.0]]).log(), "ranking": tensor([[2, 0, 1]])}  # ⅝ · ⅔

CASES = {
    "bradley_terry": [
        Case(
            name="odds of 7 to 3",
            args={"score_a": tensor([log7, log3]), "score_b": tensor([log3, log7])},
            want=tensor([0.7, 0.3]),
            mistakes={
                "turned the difference": tensor([0.3, 0.7]),
                "divided the scores instead of their exponentials": tensor([0.639151, 0.360849]),
                "took σ of each score": tensor([0.875, 0.75]),
            },
        ),
        Case(
            name="the same constant added to both changes nothing",
            args={"score_a": tensor([100 + log3]), "score_b": tensor([100.0])},
            want=tensor([0.75]),
            mistakes={"overflowed: e¹⁰⁰ / (e¹⁰⁰ + e¹⁰⁰)": tensor([math.nan])},
        ),
    ],
    "bradley_terry_loss": [
        Case(
            name="clearly right, clearly wrong, undecided",
            args=pair,
            want=tensor([0.287682, 1.386294, log2]),  # −log ¾, −log ¼, −log ½
            mistakes={
                "turned the difference": tensor([1.386294, 0.287682, log2]),
                "log σ(r_w) − log σ(r_l): the difference moved outside": tensor([-0.405465, 0.405465, 0.0]),
                "forgot the logarithm": tensor([-0.75, -0.25, -0.5]),
                "averaged over the pairs": tensor(0.789041),
            },
        )
    ],
    "margin_loss": [
        Case(
            name="the difference meets its margin, and misses it",
            args={
                "chosen_scores": tensor([2.0, log3]),
                "rejected_scores": tensor([1.0, 0.0]),
                "margin": tensor([1.0, 2 * log3]),
            },
            want=tensor([log2, 1.386294]),
            mistakes={
                "added the margin": tensor([0.126928, 0.036368]),
                "forgot the margin": tensor([0.313262, 0.287682]),
            },
        )
    ],
    "plackett_luce_logps": [
        Case(
            name="three answers of weight 2, 1, 5: best is the last, then the first",
            args=three,
            want=tensor([math.log(5 / 12)]),
            mistakes={
                "read the ranking as places instead of answers": tensor([math.log(1 / 8 * 5 / 7)]),
                "kept everybody in every draw": tensor([math.log(5 / 8 * 2 / 8 * 1 / 8)]),
                "did not index the answer: every factor is 1 / (K − k + 1)": tensor([math.log(1 / 6)]),
                "ranked from worst to best": tensor([math.log(1 / 8 * 2 / 7)]),
            },
        )
    ],
    "listwise_loss": [
        Case(
            name="minus the log-probability",
            args=three,
            want=tensor([math.log(12 / 5)]),
            mistakes={"forgot the sign": tensor([math.log(5 / 12)])},
        ),
    ],
    "pairwise_loss": [
        Case(
            name="three answers, three pairs",
            args=three,
            want=tensor([(math.log(7 / 5) + math.log(6 / 5) + math.log(3 / 2)) / 3]),
            mistakes={
                "summed over the pairs": tensor([math.log(7 / 5) + math.log(6 / 5) + math.log(3 / 2)]),
                "took neighbours only": tensor([(math.log(7 / 5) + math.log(3 / 2)) / 2]),
                "counted each pair both ways": tensor([0.844566]),
            },
        )
    ],
    "pointwise_loss": [
        Case(
            name="good, not good, half of the annotators",
            args={"scores": tensor([log3, log3, log3]), "labels": tensor([1.0, 0.0, 0.5])},
            want=tensor([0.287682, 1.386294, 0.836988]),
            mistakes={"regressed the score on the label": tensor([0.009725, 1.206949, 0.358337])},
        )
    ],
}
