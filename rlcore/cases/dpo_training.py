"""Hand-computed cases for rlcore.dpo_training."""

from torch import tensor

from rlcore.cases import Case

rewards = tensor([[0.0, 1.0, 2.0]])
unusual = {"margin": tensor([0.0, 2.0, -4.0]), "mean_margin": 1.0, "std_margin": 2.0}
one = {"start": tensor([1.0]), "tuned": tensor([3.0]), "preferred": tensor([5.0])}

CASES = {
    "acceptance_probabilities": [
        Case(
            name="beta ½",
            args={"rewards": rewards, "beta": 0.5},
            want=tensor([[0.018316, 0.135335, 1.0]]),  # e⁻⁴, e⁻², 1
            mistakes={
                "multiplied by beta": tensor([[0.367879, 0.606531, 1.0]]),
                "normalised to sum to 1": tensor([[0.015876, 0.117310, 0.866813]]),
                "forgot the largest reward: chances above 1": tensor([[1.0, 7.389056, 54.598150]]),
                "forgot beta": tensor([[0.135335, 0.367879, 1.0]]),
            },
        )
    ],
    "dynamic_beta": [
        Case(
            name="larger margins than usual",
            args={"margin": tensor([1.0, 3.0]), "beta": 0.1, "alpha": 0.5, "mean_margin": 1.0, "least": 0.001},
            want=tensor(0.15),  # 0.1 · (1 + ½ · (2 − 1))
            mistakes={
                "turned the direction: smaller for large margins": tensor(0.05),
                "one beta per pair": tensor([0.1, 0.2]),
                "forgot what is usual": tensor(0.2),
                "added instead of scaling": tensor(0.6),
            },
        ),
        Case(
            name="so small that it stops at the least",
            args={"margin": tensor([-9.0]), "beta": 0.1, "alpha": 0.5, "mean_margin": 1.0, "least": 0.001},
            want=tensor(0.001),
            mistakes={"went below 0": tensor(-0.4)},
        ),
    ],
    "keep_weights": [
        Case(
            name="as far above as below, and very far",
            args=unusual,
            want=tensor([0.487856, 0.487856, 0.024289]),  # 1 : 1 : e⁻³
            mistakes={
                "forgot to normalise": tensor([0.882497, 0.882497, 0.043937]),
                "divided by σ without the square, or forgot the half": tensor([0.499381, 0.499381, 0.001238]),
                "forgot the mean": tensor([0.574097, 0.348207, 0.077696]),
                "filtered large margins only": tensor([0.346921, 0.306157, 0.346921]),
            },
        )
    ],
    "reference_gap": [
        Case(
            name="the reference prefers the chosen reply, and the rejected one",
            args={"ref_chosen_logps": tensor([-13.0, -14.0]), "ref_rejected_logps": tensor([-14.0, -12.0])},
            want=tensor([1.0, -2.0]),
            mistakes={"turned it": tensor([-1.0, 2.0]), "averaged": tensor(-0.5)},
        )
    ],
    "parallel_merge": [
        Case(
            name="all of one change, half of the other",
            args=one | {"share": 1.0, "weight": 0.5},
            want=tensor([5.0]),  # 1 + 2 + ½ · 4
            mistakes={
                "averaged the two models": tensor([4.0]),
                "added the models instead of their changes": tensor([6.5]),
                "trained one after the other: kept the last": tensor([3.0]),
            },
        )
    ],
    "shrink": [
        Case(
            name="large, small, negative",
            args={"change": tensor([3.0, 0.5, -2.0]), "threshold": 1.0},
            want=tensor([2.0, 0.0, -1.0]),
            mistakes={
                "kept large ones whole: hard threshold": tensor([3.0, 0.0, -2.0]),
                "forgot the sign": tensor([2.0, 0.0, 1.0]),
                "let small ones change sign": tensor([2.0, -0.5, -1.0]),
            },
        )
    ],
}
