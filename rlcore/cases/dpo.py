"""Hand-computed cases for rlcore.dpo. One pair mostly: log π −12 and −15, reference −13 and −14, so a margin of 2."""

import math

from torch import tensor

from rlcore.cases import Case

log2 = math.log(2)
four = {
    "chosen_logps": tensor([-12.0, -14.0]),
    "rejected_logps": tensor([-15.0, -15.0]),
    "ref_chosen_logps": tensor([-13.0, -13.0]),
    "ref_rejected_logps": tensor([-14.0, -14.0]),
}
kls = {"chosen_seq_kl": tensor([0.3]), "rejected_seq_kl": tensor([0.5])}

CASES = {
    "margin": [
        Case(
            name="the policy prefers the chosen reply more than the reference does, and no more",
            args=four,
            want=tensor([2.0, 0.0]),  # (−12 + 13) − (−15 + 14), (−14 + 13) − (−15 + 14)
            mistakes={
                "inverted the ratios: the reference in the numerator": tensor([-2.0, 0.0]),
                "forgot the reference": tensor([3.0, 1.0]),
                "added the rejected log ratio": tensor([0.0, -2.0]),
                "subtracted what the reference prefers twice": tensor([1.0, -1.0]),
                "summed over the batch": tensor(2.0),
            },
        )
    ],
    "dpo_loss": [
        Case(
            name="right, wrong, at the reference",
            args={"margin": tensor([2.0, -2.0, 0.0]), "beta": 0.5},
            want=tensor([0.313262, 1.313262, log2]),  # log(1 + e⁻¹), log(1 + e), log 2
            mistakes={
                "inverted the ratio: trains the rejected reply": tensor([1.313262, 0.313262, log2]),
                "forgot beta": tensor([0.126928, 2.126928, log2]),
                "put beta in front of the loss": tensor([0.063464, 1.063464, log2 / 2]),
                "forgot the logarithm": tensor([-0.731059, -0.268941, -0.5]),
                "averaged over the pairs": tensor(0.773224),
            },
        )
    ],
    "cdpo_loss": [
        Case(
            name="one label in ten is wrong",
            args={"margin": tensor([2.0]), "beta": 0.1, "flip_rate": 0.1},
            want=tensor([0.618139]),  # 0.9 · 0.598139 + 0.1 · 0.798139
            mistakes={
                "swapped the two weights": tensor([0.778139]),
                "smoothed like a classifier of two, with half of it each way": tensor([0.608139]),
                "made it unbiased: robust DPO": tensor([0.573139]),
                "scaled the margin instead": tensor([0.616344]),
            },
        )
    ],
    "robust_dpo_loss": [
        Case(
            name="one label in ten is wrong",
            args={"margin": tensor([2.0]), "beta": 0.1, "flip_rate": 0.1},
            want=tensor([0.573139]),  # (0.9 · 0.598139 − 0.1 · 0.798139) / 0.8
            mistakes={
                "added the flipped loss": tensor([0.772674]),
                "forgot to divide by 1 − 2ε": tensor([0.458511]),
                "smoothed instead: conservative DPO": tensor([0.618139]),
            },
        )
    ],
    "ipo_loss": [
        Case(
            name="short of the target, and on it",
            args={"margin": tensor([2.0, 5.0]), "beta": 0.1},
            want=tensor([9.0, 0.0]),  # target 1 / 0.2 = 5
            mistakes={
                "took 1/β for the target": tensor([64.0, 25.0]),
                "scaled the margin by β": tensor([23.04, 20.25]),
                "took ½ for the target of β h": tensor([0.09, 0.0]),
                "took the hinge's side only, unsquared": tensor([3.0, 0.0]),
            },
        ),
        Case(
            name="beyond the target it is pulled back",
            args={"margin": tensor([8.0]), "beta": 0.1},
            want=tensor([9.0]),
            mistakes={"stopped at the target, like a hinge": tensor([0.0])},
        ),
    ],
    "hinge_loss": [
        Case(
            name="short of 1/β, beyond it, and the wrong way",
            args={"margin": tensor([2.0, 20.0, -2.0]), "beta": 0.1},
            want=tensor([0.8, 0.0, 1.2]),
            mistakes={
                "forgot the maximum with 0": tensor([0.8, -1.0, 1.2]),
                "forgot beta": tensor([0.0, 0.0, 3.0]),
                "turned the margin": tensor([1.2, 3.0, 0.8]),
                "squared it": tensor([0.64, 0.0, 1.44]),
            },
        )
    ],
    "dpop_loss": [
        Case(
            name="chosen above its reference, and a nat below",
            args=four | {"beta": 0.1, "penalty": 50.0},
            want=tensor([0.598139, 5.006715]),  # −log σ(0.2); −log σ(0.1 · (0 − 50 · 1))
            mistakes={
                "forgot the maximum with 0: pays for rising": tensor([0.005501, 5.006715]),
                "put the penalty outside σ": tensor([0.598139, 50.693147]),
                "left the penalty without β": tensor([0.598139, 50.0]),
                "rewarded the fall": tensor([0.598139, 0.006715]),
                "penalised the rejected reply's fall": tensor([4.808196, 5.006715]),
            },
        )
    ],
    "rdpo_loss": [
        Case(
            name="chosen longer by 1, and shorter by 3",
            args={
                "margin": tensor([2.0, 2.0]),
                "chosen_lengths": tensor([6, 5]),
                "rejected_lengths": tensor([5, 8]),
                "beta": 0.1,
                "alpha": 0.1,
            },
            want=tensor([0.554355, 0.744397]),  # −log σ(0.2 + 0.1), −log σ(0.2 − 0.3)
            mistakes={
                "took minus: rewards length": tensor([0.644397, 0.474077]),
                "multiplied alpha by beta": tensor([0.593650, 0.611755]),
                "ignored the lengths": tensor([0.598139, 0.598139]),
            },
        )
    ],
    "tdpo_loss": [
        Case(
            name="alpha ½",
            args={"margin": tensor([2.0]), **kls, "beta": 0.1, "alpha": 0.5},
            want=tensor([0.602653]),  # 2 − ½ (0.5 − 0.3) = 1.9
            mistakes={
                "turned the difference of KLs": tensor([0.593650]),
                "forgot alpha: TDPO-1": tensor([0.607192]),
                "left the KLs without β": tensor([0.644397]),
                "ignored the KLs: DPO": tensor([0.598139]),
            },
        )
    ],
    "tdpo1_loss": [
        Case(
            name="the rejected reply has drifted farther",
            args={"margin": tensor([2.0]), **kls, "beta": 0.1},
            want=tensor([0.607192]),  # 2 − (0.5 − 0.3) = 1.8
            mistakes={"turned the difference of KLs": tensor([0.589185]), "ignored the KLs": tensor([0.598139])},
        )
    ],
}
