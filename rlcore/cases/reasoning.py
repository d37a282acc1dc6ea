"""Hand-computed cases for rlcore.reasoning. Groups of five replies, rows of two or three steps."""

import math

from torch import tensor

from rlcore.cases import Case

NAN, log2 = float("nan"), math.log(2)
judged = {
    "step_probs": tensor([[0.5, 0.9, 0.2], [0.8, 0.4, 0.5]]),
    "mask": tensor([[True, True, False], [True, True, True]]),
}
text = {"continuation": b"red roses are", "boundaries": [3, 9, 13]}

CASES = {
    "pass_at_k": [
        Case(
            name="two of five replies",
            args={"samples": 5, "correct": tensor([0, 2, 4, 5]), "k": 2},
            want=tensor([0.0, 0.7, 1.0, 1.0]),  # of 10 pairs 3 hold no right one where 2 are right, none where 4 are
            mistakes={
                "put c/n in for p, which is biased": tensor([0.0, 0.64, 0.96, 1.0]),
                "took the share of right replies": tensor([0.0, 0.4, 0.8, 1.0]),
                "asked for all k to be right": tensor([0.0, 0.1, 0.6, 1.0]),
                "multiplied it by k": tensor([0.0, 0.8, 1.6, 2.0]),
                "gave the chance of none": tensor([1.0, 0.3, 0.0, 0.0]),
            },
        )
    ],
    "majority_vote": [
        Case(
            name="7 and 3 twice each, 7 first; 3 twice",
            args={"answers": tensor([[7, 3, 3, 7, 5], [1, 2, 3, 3, 4]])},
            want=tensor([7, 3]),
            mistakes={
                "took the smallest of equals": tensor([3, 3]),
                "took the median": tensor([5, 3]),
                "took the first answer": tensor([7, 1]),
                "gave its place": tensor([0, 2]),
                "gave its votes": tensor([2, 2]),
            },
        )
    ],
    "majority_at_k": [
        Case(
            name="the likeliest of three answers is right, the second one is",
            args={
                "answer_probs": tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]),
                "right": tensor([0, 1]),
                "k": 3,
            },
            want=tensor([0.56, 0.276]),  # p³ + 3 p² (1 − p) + ⅓ · 6 · 0.5 · 0.3 · 0.2
            mistakes={
                "asked for more than half of the votes": tensor([0.5, 0.216]),
                "gave the right answer every tie": tensor([0.68, 0.396]),
                "tossed a coin, though three are tied": tensor([0.59, 0.306]),
                "took pass@k": tensor([0.875, 0.657]),
                "took one draw": tensor([0.5, 0.3]),
            },
        )
    ],
    "step_product": [
        Case(
            name="two steps, three steps",
            args=judged,
            want=tensor([0.45, 0.16]),
            mistakes={
                "ignored the mask": tensor([0.09, 0.16]),
                "put 0 behind the mask": tensor([0.0, 0.16]),
                "took the minimum": tensor([0.5, 0.4]),
                "took the mean": tensor([0.7, 0.566667]),
                "took the geometric mean": tensor([0.670820, 0.542884]),
                "took the last step": tensor([0.9, 0.5]),
            },
        )
    ],
    "step_minimum": [
        Case(
            name="two steps, three steps",
            args=judged,
            want=tensor([0.5, 0.4]),
            mistakes={
                "ignored the mask": tensor([0.2, 0.4]),
                "put 0 behind the mask": tensor([0.0, 0.4]),
                "took the product": tensor([0.45, 0.16]),
                "took the last step": tensor([0.9, 0.5]),
                "gave its place": tensor([0.0, 1.0]),
            },
        )
    ],
    "process_advantages": [
        Case(
            name="two right steps beside a single wrong one",
            args={
                "step_rewards": tensor([[[1.0, 1.0], [0.0, NAN]]]),
                "mask": tensor([[[True, True], [True, False]]]),
                "ddof": 0,
            },
            want=tensor([[[1.414214, 0.707107], [-1.414214, 0.0]]]),  # mean ⅔, std √2 / 3: 1/√2, 1/√2; −√2
            mistakes={
                "divided by one step less": tensor([[[1.154701, 0.577350], [-1.154701, 0.0]]]),
                "did not sum to the end": tensor([[[0.707107, 0.707107], [-1.414214, 0.0]]]),
                "summed from the start": tensor([[[0.707107, 1.414214], [-1.414214, 0.0]]]),
                "took padding for a wrong step": tensor([[[2.0, 1.0], [-1.0, 0.0]]]),
                "summed before it normalised": tensor([[[1.0, 1.0], [-1.0, 0.0]]]),
                "forgot to normalise": tensor([[[2.0, 1.0], [0.0, 0.0]]]),
                "let NaN through": tensor([[[NAN, NAN], [NAN, NAN]]]),
            },
        ),
        Case(
            name="all steps equal",
            args={
                "step_rewards": tensor([[[0.1, 0.1], [0.1, 0.1]]]),
                "mask": tensor([[[True, True], [True, False]]]),
                "ddof": 1,
            },
            want=tensor([[[0.0, 0.0], [0.0, 0.0]]]),
            mistakes={"divided zero by zero": tensor([[[NAN, NAN], [NAN, 0.0]]])},
        ),
    ],
    "to_tokens": [
        Case(
            name="a step of two tokens, a step of one, a token of none",
            args={"per_step": tensor([[0.5, -2.0]]), "steps": tensor([[0, 0, 1, -1]])},
            want=tensor([[0.5, 0.5, -2.0, 0.0]]),
            mistakes={
                "took −1 for the last step": tensor([[0.5, 0.5, -2.0, -2.0]]),
                "paid only the last token of a step": tensor([[0.0, 0.5, -2.0, 0.0]]),
                "shared it among the tokens of a step": tensor([[0.25, 0.25, -2.0, 0.0]]),
            },
        )
    ],
    "shaped_rewards": [
        Case(
            name="one row ended, one was cut off",
            args={
                "rewards": tensor([[0.0, 1.0], [0.0, 1.0]]),
                "discounts": tensor([[0.5, 0.0], [0.5, 0.5]]),
                "potentials": tensor([[1.0, 4.0, 8.0], [1.0, 4.0, 8.0]]),
            },
            want=tensor([[1.0, -3.0], [1.0, 1.0]]),  # ½ · 4 − 1;  1 − 4,  1 + ½ · 8 − 4
            mistakes={
                "paid the potential behind the end": tensor([[1.0, 1.0], [1.0, 1.0]]),
                "forgot the discount": tensor([[3.0, -3.0], [3.0, 5.0]]),
                "paid the new potential alone": tensor([[2.0, 1.0], [2.0, 5.0]]),
                "turned the sign": tensor([[-1.0, 5.0], [-1.0, 1.0]]),
                "forgot the reward": tensor([[1.0, -4.0], [1.0, 0.0]]),
            },
        ),
        Case(
            name="a NaN behind the end stays there",
            args={
                "rewards": tensor([[2.0]]),
                "discounts": tensor([[0.0]]),
                "potentials": tensor([[1.0, NAN]]),
            },
            want=tensor([[1.0]]),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[NAN]])},
        ),
    ],
    "prefix_match": [
        Case(
            name="two whole tokens",
            args=text | {"predicted": b"red roses"},
            want=1.0,
            mistakes={"looked at the first token alone": 0.0},
        ),
        Case(
            name="a token and a half",
            args=text | {"predicted": b"red ros"},
            want=0.0,
            mistakes={"forgot the boundaries": 1.0, "paid for the part that fits": 0.428571},
        ),
        Case(
            name="as long as the first token, from the middle of the text",
            args=text | {"predicted": b"ros"},
            want=0.0,
            mistakes={"looked for it anywhere": 1.0, "looked at the length alone": 1.0},
        ),
        Case(
            name="the text, and more",
            args=text | {"predicted": b"red roses are blue"},
            want=0.0,
            mistakes={"compared only as far as the text goes": 1.0},
        ),
    ],
    "top_entropy": [
        Case(
            name="the two likeliest of four, unequal and equal",
            args={"logits": tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]]).log(), "k": 2},
            want=tensor([0.682908, log2]),  # of (4/7, 3/7)
            mistakes={
                "took all four": tensor([1.279854, 2 * log2]),
                "did not normalise again": tensor([0.727708, log2]),
                "took the two least likely": tensor([0.636514, log2]),
                "took bits": tensor([0.985228, 1.0]),
                "turned the sign": tensor([-0.682908, -log2]),
            },
        )
    ],
    "information_gain": [
        Case(
            name="a thought that helps, one that misleads",
            args={"logps": tensor([0.5, 0.1]).log(), "ref_logps": tensor([0.25, 0.2]).log()},
            want=tensor([log2, -log2]),
            mistakes={
                "gave the ratio": tensor([2.0, 0.5]),
                "subtracted probabilities": tensor([0.25, -0.1]),
                "turned the sign": tensor([-log2, log2]),
                "cut it at 0": tensor([log2, 0.0]),
            },
        )
    ],
}
