"""Hand-computed cases for rlcore.rlhf. Two replies, of three tokens and of two; log-ratios 1, 0, −½ and 1, −2."""

import math

from torch import tensor

from rlcore.cases import Case

NAN = math.nan
mask = tensor([[True, True, True], [True, True, False]])
drawn = {
    "scores": tensor([2.0, -0.8]),
    "logps": tensor([[-1.0, -2.0, -1.0], [-1.0, -3.0, 0.0]]),
    "ref_logps": tensor([[-2.0, -2.0, -0.5], [-2.0, -1.0, 0.0]]),
    "mask": mask,
    "beta": 0.5,
}
padded = {"x": tensor([[1.0, 2.0, 0.0], [6.0, 0.0, 0.0]]), "mask": tensor([[True, True, False], [True, False, False]])}

CASES = {
    "token_rewards": [
        Case(
            name="three tokens, and two with padding behind them",
            args=drawn,
            want=tensor([[-0.5, 0.0, 2.25], [-0.5, 0.2, 0.0]]),  # −½ · 1, 0, ½ · ½ + 2;  −½ · 1, ½ · 2 − 0.8
            mistakes={
                "turned the ratio round": tensor([[0.5, 0.0, 1.75], [0.5, -1.8, 0.0]]),
                "paid the score at every token": tensor([[1.5, 2.0, 2.25], [-1.3, 0.2, 0.0]]),
                "paid the score in the last column although the reply is shorter": tensor(
                    [[-0.5, 0.0, 2.25], [-0.5, 1.0, -0.8]]
                ),
                "paid all KL at the last token": tensor([[0.0, 0.0, 1.75], [0.0, -0.3, 0.0]]),
                "forgot β": tensor([[-1.0, 0.0, 2.5], [-1.0, 1.2, 0.0]]),
                "multiplied the score by β as well": tensor([[-0.5, 0.0, 1.25], [-0.5, 0.6, 0.0]]),
                "forgot the score": tensor([[-0.5, 0.0, 0.25], [-0.5, 1.0, 0.0]]),
                "forgot the KL": tensor([[0.0, 0.0, 2.0], [0.0, -0.8, 0.0]]),
            },
        ),
        Case(
            name="a NaN behind the mask stays there",
            args={
                "scores": tensor([1.0]),
                "logps": tensor([[-1.0, NAN]]),
                "ref_logps": tensor([[-3.0, NAN]]),
                "mask": tensor([[True, False]]),
                "beta": 0.1,
            },
            want=tensor([[0.8, 0.0]]),  # −0.1 · 2 + 1
            mistakes={
                "multiplied by the mask: 0 · NaN is NaN": tensor([[0.8, NAN]]),
                "turned the ratio round": tensor([[1.2, 0.0]]),
            },
        ),
    ],
    "discounts": [
        Case(
            name="three tokens, and two with padding behind them",
            args={"mask": mask},
            want=tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
            mistakes={
                "1 at EOS: the value behind it counts": tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
                "took the last column for the end of every reply": tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]),
                "1 behind EOS": tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]),
                "0 already before the last token": tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
                "discounted by 0.99": tensor([[0.99, 0.99, 0.0], [0.99, 0.0, 0.0]]),
            },
        )
    ],
    "whitened": [
        Case(
            name="1, 2 and 6 among padding",
            args=padded,
            want=tensor([[-0.755929, -0.377964, 0.0], [1.133893, 0.0, 0.0]]),  # (−2, −1, 3) / √((4 + 1 + 9) / 2)
            mistakes={
                "counted the padding": tensor([[-0.213201, 0.213201, 0.0], [1.918806, 0.0, 0.0]]),
                "divided by n: the biased standard deviation": tensor(
                    [[-0.925820, -0.462910, 0.0], [1.388730, 0.0, 0.0]]
                ),
                "forgot the standard deviation": tensor([[-2.0, -1.0, 0.0], [3.0, 0.0, 0.0]]),
                "forgot the mean": tensor([[0.377964, 0.755929, 0.0], [2.267787, 0.0, 0.0]]),
                "divided by the variance": tensor([[-0.285714, -0.142857, 0.0], [0.428571, 0.0, 0.0]]),
                "row by row": tensor([[-0.707107, 0.707107, 0.0], [NAN, 0.0, 0.0]]),
                "shifted the padding too": tensor(
                    [[-0.755929, -0.377964, -1.133893], [1.133893, -1.133893, -1.133893]]
                ),
            },
        ),
        Case(
            name="a NaN behind the mask stays there",
            args={"x": tensor([[1.0, 3.0, NAN]]), "mask": tensor([[True, True, False]])},
            want=tensor([[-0.707107, 0.707107, 0.0]]),
            mistakes={"multiplied by the mask: 0 · NaN is NaN": tensor([[NAN, NAN, NAN]])},
        ),
        Case(
            name="nothing to tell apart",
            args={"x": tensor([[0.7, 0.7]]), "mask": tensor([[True, True]])},
            want=tensor([[0.0, 0.0]]),
            mistakes={"divided by 0": tensor([[NAN, NAN]])},
        ),
    ],
    "proportional_beta": [
        Case(
            name="half as far again as the target: the error is cut to 0.2",
            args={"beta": 0.1, "kl": 9.0, "target": 6.0, "gain": 0.1},
            want=0.102,
            mistakes={
                "did not cut the error": 0.105,
                "turned the sign": 0.098,
                "forgot the gain": 0.12,
                "doubled it, as PPO's own rule does": 0.2,
            },
        ),
        Case(
            name="a little below the target",
            args={"beta": 0.1, "kl": 5.7, "target": 6.0, "gain": 0.1},
            want=0.0995,  # 0.1 (1 − 0.1 · 0.05)
            mistakes={
                "took the difference, not the share": 0.098,
                "turned the sign": 0.1005,
                "forgot the gain": 0.095,
            },
        ),
    ],
    "best_of_n_kl": [
        Case(
            name="the best of four",
            args={"n": 4},
            want=0.636294,
            mistakes={
                "took log n alone": 1.386294,
                "forgot to divide by n": -1.613706,
                "turned the fraction round": 0.052961,
                "took the logarithm to base 2": 1.25,
            },
        ),
        Case(name="one draw is no choice", args={"n": 1}, want=0.0),
    ],
}
