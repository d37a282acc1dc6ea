"""Hand-computed cases for rlcore.grpo. Groups of two to four replies, replies of one to three tokens."""

import math

from torch import tensor

from rlcore.cases import Case

NAN, INF, log2 = float("nan"), float("inf"), math.log(2)
unequal = {
    "logps": tensor([[0.5, 0.5], [0.3, NAN]]).log(),
    "old_logps": tensor([[0.25, 0.0625], [0.6, 0.1]]).log(),  # ratios 2 and 8; ½
    "mask": tensor([[True, True], [True, False]]),
}
three = {
    "logps": tensor([[1.1, 1.1], [1.5, 1.0], [0.5, 0.5]]).log(),  # per reply 1.1, √1.5 = 1.224745, 0.5
    "old_logps": tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    "mask": tensor([[True, True], [True, True], [True, True]]),
    "eps_low": 0.2,
    "eps_high": 0.2,
}
moved = {
    "logps": tensor([-1.0, -1.0, -1.0]),
    "old_logps": tensor([-1.0 - log2, -1.0, -1.0 + 2 * log2]),  # ratios 2, 1, ¼
    "advantages": tensor([1.0, -1.0, 1.0]),
}

CASES = {
    "group_centered": [
        Case(
            name="two groups of three, one of them all equal",
            args={"rewards": tensor([[1.0, 2.0, 6.0], [0.1, 0.1, 0.1]])},
            want=tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]]),
            mistakes={
                "left its own reward out of the mean": tensor([[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]),
                "divided by the standard deviation": tensor([[-0.755929, -0.377964, 1.133893], [NAN, NAN, NAN]]),
                "centred over the whole batch": tensor([[-0.55, 0.45, 4.45], [-1.45, -1.45, -1.45]]),
                "centred over the prompts": tensor([[0.45, 0.95, 2.95], [-0.45, -0.95, -2.95]]),
                "turned the sign": tensor([[2.0, 1.0, -3.0], [0.0, 0.0, 0.0]]),
            },
        )
    ],
    "group_normalized": [
        Case(
            name="one right reply of four, and a group all equal; divided by K",
            args={"rewards": tensor([[1.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1]]), "ddof": 0},
            want=tensor([[1.732051, -0.577350, -0.577350, -0.577350], [0.0] * 4]),  # mean ¼, variance 3/16
            mistakes={
                "divided by K − 1": tensor([[1.5, -0.5, -0.5, -0.5], [0.0] * 4]),
                "divided zero by zero": tensor([[1.732051, -0.577350, -0.577350, -0.577350], [NAN] * 4]),
                "forgot the mean": tensor([[2.309401, 0.0, 0.0, 0.0], [INF] * 4]),
                "divided by the variance": tensor([[4.0, -1.333333, -1.333333, -1.333333], [0.0] * 4]),
                "only centred": tensor([[0.75, -0.25, -0.25, -0.25], [0.0] * 4]),
                "added 1e-4 to the deviation": tensor([[1.731651, -0.577217, -0.577217, -0.577217], [0.0] * 4]),
            },
        ),
        Case(
            name="nothing but noise of 0.001; divided by K − 1",
            args={"rewards": tensor([[0.001, 0.0, 0.0, 0.001]]), "ddof": 1},
            want=tensor([[0.866025, -0.866025, -0.866025, 0.866025]]),
            mistakes={
                "divided by K": tensor([[1.0, -1.0, -1.0, 1.0]]),
                "added 1e-4 to the deviation": tensor([[0.738171, -0.738171, -0.738171, 0.738171]]),
                "only centred": tensor([[0.0005, -0.0005, -0.0005, 0.0005]]),
                "took it for a tie": tensor([[0.0, 0.0, 0.0, 0.0]]),
            },
        ),
    ],
    "normalized_weight": [
        Case(
            name="three replies, each right half the time",
            args={"p": 0.5, "group_size": 3, "ddof": 0},
            want=tensor(1.414214),  # m = ⅓ or ⅔ with chance ⅜ each: ¾ · √(2/9) / ¼
            mistakes={
                "forgot to divide by p (1 − p)": tensor(0.353553),
                "divided by K − 1": tensor(1.154701),
                "took the limit of large groups": tensor(2.0),
                "forgot the deviation": tensor(0.666667),
            },
        ),
        Case(
            name="five replies, never right or always",
            args={"p": tensor([0.0, 1.0]), "group_size": 5, "ddof": 1},
            want=tensor([1.788854, 1.788854]),  # √4 · √(4/5)
            mistakes={"divided by 0": tensor([NAN, NAN]), "divided by K": tensor([2.0, 2.0])},
        ),
    ],
    "has_signal": [
        Case(
            name="one right, none right, both right",
            args={"rewards": tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])},
            want=tensor([True, False, False]),
            mistakes={
                "kept groups that are all right": tensor([True, False, True]),
                "turned it around": tensor([False, True, True]),
                "looked at the whole batch": tensor(True),
            },
        )
    ],
    "useful_share": [
        Case(
            name="four replies, a hard prompt and an even one",
            args={"p": tensor([0.02, 0.5]), "group_size": 4},
            want=tensor([0.077632, 0.875]),  # 1 − 0.98⁴ − …,  1 − 2/16
            mistakes={
                "forgot the groups that are all right": tensor([0.077632, 0.9375]),
                "counted the useless ones": tensor([0.922368, 0.125]),
                "counted groups with exactly one right": tensor([0.075295, 0.25]),
            },
        )
    ],
    "overlong_penalty": [
        Case(
            name="short, at the buffer, in its middle, at the end, beyond",
            args={"lengths": tensor([60, 80, 90, 100, 120]), "longest": 100, "buffer": 20},
            want=tensor([0.0, 0.0, -0.5, -1.0, -1.0]),
            mistakes={
                "put the buffer behind the longest length": tensor([0.0, 0.0, 0.0, 0.0, -1.0]),
                "took the buffer for the length where it begins": tensor([-0.5, -0.75, -0.875, -1.0, -1.0]),
                "paid for brevity": tensor([1.0, 0.0, -0.5, -1.0, -1.0]),
                "forgot to stop at −1": tensor([0.0, 0.0, -0.5, -1.0, -2.0]),
                "turned the sign: it is added": tensor([0.0, 0.0, 0.5, 1.0, 1.0]),
            },
        )
    ],
    "sequence_ratio": [
        Case(
            name="two tokens, and one beside a NaN",
            args=unequal,
            want=tensor([4.0, 0.5]),  # √(2 · 8)
            mistakes={
                "forgot the root: the ratio of the replies": tensor([16.0, 0.5]),
                "averaged the ratios": tensor([5.0, 0.5]),
                "divided by T instead of the length": tensor([4.0, 0.707107]),
                "let the NaN through": tensor([4.0, NAN]),
                "turned it upside down": tensor([0.25, 2.0]),
                "forgot the exp": tensor([1.386294, -0.693147]),
            },
        )
    ],
    "gspo_loss": [
        Case(
            name="in range, too far up, too far down",
            args={**three, "advantages": tensor([1.0, 1.0, -1.0])},
            want=tensor([-1.1, -1.2, 0.8]),
            mistakes={
                "clipped tokens, then averaged": tensor([-1.1, -1.1, 0.8]),
                "forgot the root": tensor([-1.2, -1.2, 0.8]),
                "never clipped": tensor([-1.1, -1.224745, 0.5]),
                "turned the sign": tensor([1.1, 1.2, -0.8]),
                "averaged over the replies": tensor(-0.5),
            },
        )
    ],
    "gspo_token_loss": [
        Case(
            name="one reply, a good token and a bad one",
            args={
                "logps": tensor([[1.5, 1.0]]).log(),
                "old_logps": tensor([[0.0, 0.0]]),
                "advantages": tensor([[1.0, -1.0]]),
                "mask": tensor([[True, True]]),
                "eps_low": 0.2,
                "eps_high": 0.2,
            },
            want=tensor([[-1.2, 1.224745]]),
            mistakes={
                "used the tokens' own ratios": tensor([[-1.2, 1.0]]),
                "forgot the root": tensor([[-1.2, 1.5]]),
                "never clipped": tensor([[-1.224745, 1.224745]]),
                "clipped on both sides": tensor([[-1.2, 1.2]]),
                "averaged over the tokens": tensor([0.012372]),
            },
        )
    ],
    "cispo_loss": [
        Case(
            name="ratios 2, 1 and ¼, no lower limit",
            args={**moved, "eps_low": 1.0, "eps_high": 0.5},
            want=tensor([1.5, -1.0, 0.25]),  # −w A log π with w = 1.5, 1, ¼
            mistakes={
                "took PPO's loss": tensor([-1.5, 1.0, -0.25]),
                "never cut the weight": tensor([2.0, -1.0, 0.25]),
                "dropped what was cut": tensor([0.0, -1.0, 0.25]),
                "took eps_high for the limit": tensor([0.5, -0.5, 0.25]),
                "forgot the weight": tensor([1.0, -1.0, 1.0]),
                "turned the ratio upside down": tensor([0.5, -1.0, 1.5]),
            },
        ),
        Case(
            name="the same with a lower limit",
            args={**moved, "eps_low": 0.2, "eps_high": 0.5},
            want=tensor([1.5, -1.0, 0.8]),
            mistakes={
                "swapped eps_low and eps_high": tensor([1.2, -1.0, 0.5]),
                "forgot the lower limit": tensor([1.5, -1.0, 0.25]),
            },
        ),
    ],
}
