"""Hand-computed cases for rlcore.bandit."""

from math import inf, nan

from torch import tensor

from rlcore.cases import Case

means = tensor([1.0, 3.0, 2.0])
even = tensor([0.0, 0.0])

CASES = {
    "regret": [
        Case(
            name="four pulls of three arms",
            args={"means": means, "actions": tensor([0, 2, 1, 0])},
            want=tensor([2.0, 3.0, 3.0, 5.0]),  # gaps 2, 1, 0, 2
            mistakes={
                "did not add up": tensor([2.0, 1.0, 0.0, 2.0]),
                "divided by the pulls: the mean regret": tensor([2.0, 1.5, 1.0, 1.25]),
                "compared with the best arm pulled so far": tensor([0.0, 0.0, 0.0, 2.0]),
                "compared with the mean arm": tensor([1.0, 1.0, 0.0, 1.0]),
            },
        ),
        Case(
            name="two runs, each with its own bandit",
            args={"means": tensor([[1.0, 3.0], [5.0, 1.0]]), "actions": tensor([[0, 1], [1, 0]])},
            want=tensor([[2.0, 2.0], [4.0, 4.0]]),
            mistakes={"took the best arm of all bandits": tensor([[4.0, 6.0], [4.0, 4.0]])},
        ),
    ],
    "ucb": [
        Case(
            name="one arm never tried",
            args={
                "counts": tensor([1.0, 4.0, 0.0]),
                "sums": tensor([1.0, 2.0, nan]),
                "step": 2.718281828**4,  # ln step = 4
                "confidence": 0.5,
            },
            want=tensor([2.0, 1.0, inf]),  # 1 + ½ √(4 / 1),  2 / 4 + ½ √(4 / 4)
            mistakes={
                "forgot the root": tensor([3.0, 1.0, inf]),
                "forgot to divide the sum by the count": tensor([2.0, 2.5, inf]),
                "multiplied under the root by the confidence": tensor([2.414214, 1.207107, inf]),
                "gave every arm the same bonus": tensor([2.0, 1.5, inf]),
                "divided 0 by 0": tensor([2.0, 1.0, nan]),
                "never tries what it has not tried": tensor([2.0, 1.0, 0.0]),
            },
        ),
    ],
    "softmax_policy": [
        Case(
            name="two arms, ln 16 apart, temperature 2",
            args={"preferences": tensor([0.0, 2.772589]), "temperature": 2.0},
            want=tensor([0.2, 0.8]),  # 1 : √16
            mistakes={
                "forgot the temperature": tensor([1 / 17, 16 / 17]),
                "multiplied by the temperature": tensor([1 / 257, 256 / 257]),
                "did not divide by the sum": tensor([1.0, 4.0]),
            },
        ),
    ],
    "gradient_bandit": [
        Case(
            name="two even arms, the first one paid 3 where 1 is usual",
            args={"preferences": even, "action": tensor(0), "reward": tensor(3.0), "baseline": 1.0, "lr": 0.5},
            want=tensor([0.5, -0.5]),  # ½ (3 − 1) (1 − ½),  ½ (3 − 1) (0 − ½)
            mistakes={
                "forgot the baseline": tensor([0.75, -0.75]),
                "left the other arms alone": tensor([0.5, 0.0]),
                "forgot to subtract the policy": tensor([1.0, 0.0]),
                "walked downhill": tensor([-0.5, 0.5]),
                "forgot the learning rate": tensor([1.0, -1.0]),
            },
        ),
        Case(
            name="two runs, three to one for the second arm, which paid less than usual in one of them",
            args={
                "preferences": tensor([[0.0, 1.0986123], [0.0, 1.0986123]]),
                "action": tensor([1, 0]),
                "reward": tensor([0.0, 4.0]),
                "baseline": tensor([4.0, 0.0]),
                "lr": 1.0,
            },
            want=tensor([[1.0, 0.0986123], [3.0, -1.9013877]]),  # −4 (−¼, ¼),  4 (¾, −¾)
            mistakes={
                "one baseline for all runs": tensor([[0.5, 0.5986123], [1.5, -0.4013877]]),  # 2: −2 (−¼, ¼), 2 (¾, −¾)
                "multiplied by the probability once more": tensor([[0.75, 0.3486123], [0.75, 0.3486123]]),
            },
        ),
    ],
}
