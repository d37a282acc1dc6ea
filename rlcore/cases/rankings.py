"""Hand-computed cases for rlcore.rankings. Odds in whole numbers; mean log-probabilities −1, −2, −3 …"""

import math

from torch import tensor

from rlcore.cases import Case

log2, log3 = math.log(2), math.log(3)
three = {"log_ratios": tensor([[2.0, 1.0, 5.0]]).log(), "ranking": tensor([[2, 0, 1]])}
pair = {"chosen_logps": tensor([-12.0]), "rejected_logps": tensor([-15.0])}
lengths = {"chosen_lengths": tensor([6]), "rejected_lengths": tensor([5])}
listed = {"logps": tensor([[-2.0, -4.0, -9.0]]), "lengths": tensor([[1, 2, 3]])}  # −2, −2, −3 per token

CASES = {
    "plackett_luce_dpo_loss": [
        Case(
            name="three replies of odds 2, 1, 5: best is the last, then the first",
            args=three | {"beta": 1.0},
            want=tensor([0.875469]),  # −log(5/8 · 2/3)
            mistakes={
                "read the ranking as places instead of replies": tensor([2.415914]),
                "ranked from worst to best": tensor([3.332205]),
                "summed DPO over all pairs": tensor([0.924259]),
                "counted the best reply alone": tensor([0.470004]),
                "turned the sign": tensor([-0.875469]),
            },
        ),
        Case(
            name="beta 2 squares the odds: 4, 1, 25",
            args=three | {"beta": 2.0},
            want=tensor([0.405465]),  # −log(25/30 · 4/5)
            mistakes={"put beta in front": tensor([1.750937]), "forgot beta": tensor([0.875469])},
        ),
    ],
    "lipo_loss": [
        Case(
            name="labels 1, ½, 0; the second is ranked first",
            args={"log_ratios": tensor([[0.2, 0.5, -0.1]]), "labels": tensor([[1.0, 0.5, 0.0]]), "beta": 1.0},
            want=tensor([0.501909]),
            mistakes={
                "ranked by the labels instead of the scores": tensor([0.700591]),
                "took logarithms of base 2": tensor([0.347897]),
                "took the label for the gain, not 2 to its power": tensor([0.489957]),
                "discounted by log(2 + rank)": tensor([0.202330]),
                "forgot the weights": tensor([1.846198]),
                "counted pairs both ways": tensor([1.146189]),
                "turned the sign, as printed": tensor([-0.501909]),
            },
        )
    ],
    "slic_loss": [
        Case(
            name="ahead by 3 nats where 5 are asked for, and where 1 is enough",
            args=pair | {"text_logps": tensor([-10.0]), "target": 5.0, "weight": 0.1},
            want=tensor([3.0]),  # 2 + 0.1 · 10
            mistakes={
                "turned the difference": tensor([9.0]),
                "forgot the text": tensor([2.0]),
                "turned the sign of the text": tensor([1.0]),
                "took the chosen reply for the text": tensor([3.2]),
            },
        ),
        Case(
            name="ahead by more than the target",
            args=pair | {"text_logps": tensor([-10.0]), "target": 1.0, "weight": 0.0},
            want=tensor([0.0]),
            mistakes={"forgot the maximum with 0": tensor([-2.0])},
        ),
    ],
    "cpo_loss": [
        Case(
            name="weight 1",
            args=pair | {"beta": 0.1, "weight": 1.0},
            want=tensor([12.554355]),  # −log σ(0.3) + 12
            mistakes={
                "forgot the likelihood of the chosen reply": tensor([0.554355]),
                "took the rejected reply's likelihood": tensor([15.554355]),
                "turned its sign": tensor([-11.445645]),
                "took the mean per token in it": tensor([2.554355]),
            },
        )
    ],
    "simpo_loss": [
        Case(
            name="six tokens against five",
            args=pair | lengths | {"beta": 2.5, "target": 1.375},
            want=tensor([0.281150]),  # −log σ(2.5 · (−2 + 3) − 1.375)
            mistakes={
                "forgot the lengths": tensor([0.002185]),
                "added the target": tensor([0.020542]),
                "multiplied the target by beta": tensor([1.267958]),
                "forgot the target": tensor([0.078890]),
            },
        )
    ],
    "orpo_loss": [
        Case(
            name="odds 1 against odds ¼",
            args={
                "chosen_logps": tensor([0.25]).log(),  # two tokens of ½: P = ½
                "rejected_logps": tensor([0.2]).log(),  # one token of ⅕
                "chosen_lengths": tensor([2]),
                "rejected_lengths": tensor([1]),
                "weight": 1.0,
            },
            want=tensor([0.916291]),  # log 2 + log(1 + ¼)
            mistakes={
                "took the probability of the whole reply": tensor([1.252763]),
                "summed the first term over tokens": tensor([1.609438]),
                "compared probabilities instead of odds": tensor([1.029619]),
                "forgot the first term": tensor([0.223144]),
                "turned the sign of the odds term": tensor([0.470004]),
            },
        )
    ],
    "rrhf_loss": [
        Case(
            name="best reply is the least likely per token",
            args={
                "logps": tensor([[-6.0, -4.0, -2.0]]),
                "lengths": tensor([[2, 2, 1]]),
                "rewards": tensor([[3.0, 1.0, 2.0]]),
            },
            want=tensor([8.0]),  # (−2 + 3) + (−2 + 3) + 0, and 6
            mistakes={
                "forgot the lengths": tensor([12.0]),
                "turned the hinge": tensor([6.0]),
                "took the mean per token of the best": tensor([5.0]),
                "took the likeliest for the best": tensor([4.0]),
            },
        )
    ],
    "pro_loss": [
        Case(
            name="the least likely per token is the best",
            args=listed | {"ranking": tensor([[2, 0, 1]]), "weight": 0.5},
            want=tensor([7.055142]),  # log(1 + 2e) + log 2 + ½ · 9
            mistakes={
                "forgot the lengths": tensor([11.754659]),
                "took the mean per token of the best": tensor([4.055142]),
                "forgot the likelihood of the best": tensor([2.555142]),
                "multiplied its weight by (K − 1)²": tensor([20.555142]),
            },
        )
    ],
    "pro_reward_loss": [
        Case(
            name="rewards 3, 1, 0",
            args=listed | {"rewards": tensor([[1.0, 0.0, 3.0]]), "weight": 0.5},
            want=tensor([10.325992]),  # log(1 + e³ + e⁵) + log 2 + ½ · 9
            mistakes={
                "ignored the rewards' sizes": tensor([7.055142]),
                "took the smallest gap for the best": tensor([7.432692]),
                "divided by the gaps": tensor([6.415631]),
            },
        )
    ],
    "log1mexp": [
        Case(
            name="chances ¾, ½, ¼",
            args={"x": tensor([0.75, 0.5, 0.25]).log()},
            want=tensor([-2 * log2, -log2, log3 - 2 * log2]),
            mistakes={
                "forgot the exponential": tensor([0.252844, 0.526589, 0.869742]),
                "gave the logarithm back": tensor([0.75, 0.5, 0.25]).log(),
            },
        ),
        Case(
            name="a hundred millionth from certain, in float32",
            args={"x": tensor([-1e-8])},
            want=tensor([-18.420681]),  # log 10⁻⁸
            mistakes={"log1p(−eˣ): eˣ is 1 in float32": tensor([-math.inf])},
        ),
    ],
}
