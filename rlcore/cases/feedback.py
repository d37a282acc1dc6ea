"""Hand-computed cases for rlcore.feedback."""

import math

from torch import tensor

from rlcore.cases import Case

log2 = math.log(2)
labelled = {"log_ratios": tensor([2.0, -1.0, 0.5]), "desirable": tensor([True, False, True])}
shifted = {"log_ratios": tensor([2.0, 2.0, -1.0]), "desirable": tensor([True, False, False])}

CASES = {
    "kto_loss": [
        Case(
            name="good above, bad below, good at the reference point ½",
            args=labelled | {"reference_point": 0.5, "beta": 0.5, "weight_desirable": 1.0, "weight_undesirable": 2.0},
            want=tensor([0.320821, 0.641643, 0.5]),  # σ(−¾), 2 σ(−¾), σ(0)
            mistakes={
                "gave the value instead of what is missing": tensor([0.679179, 1.358357, 0.5]),
                "forgot the reference point": tensor([0.268941, 0.755081, 0.437823]),
                "left the reference point without β": tensor([0.377541, 0.537883, 0.562177]),
                "forgot the weights": tensor([0.320821, 0.320821, 0.5]),
                "swapped good and bad": tensor([1.358357, 0.679179, 1.0]),
                "took −log σ": tensor([0.386871, 0.773742, log2]),
            },
        )
    ],
    "kto_reference_point": [
        Case(
            name="mean above 0",
            args={"mismatched_log_ratios": tensor([1.0, 2.0])},
            want=tensor(1.5),
            mistakes={"summed": tensor(3.0), "one per reply": tensor([1.0, 2.0])},
        ),
        Case(
            name="mean below 0",
            args={"mismatched_log_ratios": tensor([-3.0, 1.0])},
            want=tensor(0.0),
            mistakes={"did not cut at 0": tensor(-1.0), "cut before the mean": tensor(0.5)},
        ),
    ],
    "bco_loss": [
        Case(
            name="shift ½",
            args=shifted | {"shift": 0.5, "beta": 0.5},
            want=tensor([0.474077, 0.974077, 0.313262]),  # ℓ(½), ℓ(−½), ℓ(1)
            mistakes={
                "forgot the shift": tensor([0.313262, 1.313262, 0.474077]),
                "subtracted the shift before β": tensor([0.386871, 1.136871, 0.386871]),
                "took every reply for good": tensor([0.474077, 0.474077, 1.313262]),
                "took KTO's value": tensor([0.377541, 0.622459, 0.268941]),
            },
        )
    ],
    "bco_shift": [
        Case(
            name="one good, two bad",
            args=shifted | {"beta": 0.5},
            want=tensor(0.625),  # ½ (1 + ¼)
            mistakes={
                "averaged over all replies": tensor(0.5),
                "forgot beta": tensor(1.25),
                "took the good ones alone": tensor(1.0),
                "added the means": tensor(1.25),
            },
        )
    ],
    "dro_loss": [
        Case(
            name="half a unit of reward is missing, and nothing",
            args={
                "log_ratios": tensor([1.0, 6.0]),
                "rewards": tensor([1.0, 1.0]),
                "values": tensor([0.4, 0.4]),
                "beta": 0.1,
            },
            want=tensor([0.125, 0.0]),  # ½ · 0.5², 0.6 = 0.1 · 6
            mistakes={
                "forgot the half": tensor([0.25, 0.0]),
                "forgot the value": tensor([0.405, 0.08]),
                "forgot beta": tensor([0.08, 14.58]),
                "added the log ratio": tensor([0.245, 0.72]),
            },
        )
    ],
    "npo_loss": [
        Case(
            name="at the reference, less likely, more likely",
            args={"log_ratios": tensor([0.0, -1.0, 1.0]), "beta": 0.1},
            want=tensor([13.862944, 12.887933, 14.887933]),  # 20 log 2, 20 log(1 + e^−0.1), 20 log(1 + e^0.1)
            mistakes={
                "turned the sign: learns instead of unlearning": tensor([13.862944, 14.887933, 12.887933]),
                "forgot 2/β": tensor([log2, 0.644397, 0.744397]),
                "took 1/β": tensor([6.931472, 6.443967, 7.443967]),
                "gradient ascent": tensor([0.0, -1.0, 1.0]),
            },
        )
    ],
    "d2o_loss": [
        Case(
            name="two samples of one's own",
            args={
                "sample_log_ratios": tensor([[1.0, 3.0]]),
                "rejected_log_ratios": tensor([-1.0]),
                "beta": 0.5,
                "alpha": 1.0,
            },
            want=tensor([0.126928]),  # −log σ(½ · 2 + 1)
            mistakes={
                "summed over the samples": tensor([0.048587]),
                "added the rejected reply": tensor([log2]),
                "used beta for both": tensor([0.201413]),
                "averaged DPO over the samples": tensor([0.140152]),
            },
        )
    ],
}
