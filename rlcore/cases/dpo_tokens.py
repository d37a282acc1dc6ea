"""Hand-computed cases for rlcore.dpo_tokens. Odds in whole numbers."""

import math

from torch import tensor

from rlcore.cases import Case

log2, log3, log5 = (math.log(n) for n in (2, 3, 5))
two = {"q": tensor([[log3, log5]]), "beta": 1.0}
nan = math.nan

CASES = {
    "soft_q": [
        Case(
            name="a token that ends with reward 1, and one that goes on to a value of 4",
            args={
                "rewards": tensor([[1.0, 0.0]]),
                "next_values": tensor([[0.0, 4.0]]),
                "ref_logps": tensor([[0.5, 0.5]]).log(),
                "beta": 2.0,
            },
            want=tensor([[1 - 2 * log2, 4 - 2 * log2]]),
            mistakes={
                "left the reference out: TDPO's Q": tensor([[1.0, 4.0]]),
                "forgot beta": tensor([[1 - log2, 4 - log2]]),
                "subtracted the reference": tensor([[1 + 2 * log2, 4 + 2 * log2]]),
                "forgot what comes next": tensor([[1 - 2 * log2, -2 * log2]]),
            },
        )
    ],
    "soft_value": [
        Case(
            name="weights 3 and 5",
            args=two,
            want=tensor([3 * log2]),  # log 8
            mistakes={
                "took the largest: Bellman's optimum": tensor([log5]),
                "averaged before the logarithm": tensor([2 * log2]),
                "averaged over the policy": tensor([1.417878]),
            },
        ),
        Case(
            name="beta 2",
            args={"q": tensor([[2 * log3, 2 * log5]]), "beta": 2.0},
            want=tensor([6 * log2]),
            mistakes={"forgot beta inside": tensor([3.526361]), "forgot beta in front": tensor([3 * log2])},
        ),
    ],
    "soft_logps": [
        Case(
            name="beta 2: odds 3 to 5",
            args={"q": tensor([[2 * log3, 2 * log5]]), "beta": 2.0},
            want=tensor([[math.log(3 / 8), math.log(5 / 8)]]),
            mistakes={
                "forgot beta": tensor([[math.log(9 / 34), math.log(25 / 34)]]),
                "did not subtract the value": tensor([[log3, log5]]),
            },
        )
    ],
    "token_credits": [
        Case(
            name="two tokens and padding that holds a NaN",
            args={
                "logps": tensor([[-1.0, -2.0, nan]]),
                "ref_logps": tensor([[-2.0, -1.0, -1.0]]),
                "mask": tensor([[True, True, False]]),
                "beta": 0.5,
            },
            want=tensor([[0.5, -0.5, 0.0]]),
            mistakes={
                "inverted the ratio": tensor([[-0.5, 0.5, 0.0]]),
                "forgot beta": tensor([[1.0, -1.0, 0.0]]),
                "multiplied by the mask: 0 · NaN": tensor([[0.5, -0.5, nan]]),
            },
        )
    ],
    "sequential_kl": [
        Case(
            name="one token that counts, one that does not",
            args={
                "logits": tensor([[[0.9, 0.1], [0.9, 0.1]]]).log(),
                "ref_logits": tensor([[[0.5, 0.5], [0.5, 0.5]]]).log(),
                "mask": tensor([[True, False]]),
            },
            want=tensor([0.510826]),  # ½ log(5/9) + ½ log 5
            mistakes={
                "took KL(policy‖ref)": tensor([0.368064]),
                "counted the padding": tensor([1.021651]),
                "averaged over all positions": tensor([0.255413]),
            },
        )
    ],
}
