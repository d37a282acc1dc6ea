"""Hand-computed cases for rlcore.mpo. Four samples, advantages 2, 1, 0, −1, temperature 1 unless another is named."""

from torch import tensor

from rlcore.cases import Case

four = tensor([2.0, 1.0, 0.0, -1.0])

CASES = {
    "top_half": [
        Case(
            name="four samples, out of order",
            args={"advantages": tensor([1.0, 3.0, -1.0, 2.0])},
            want=tensor([False, True, False, True]),
            mistakes={
                "took the worse half": tensor([True, False, True, False]),
                "took those above 0": tensor([True, True, False, True]),
                "took the first half": tensor([True, True, False, False]),
            },
        ),
        Case(
            name="three samples, all below 0",
            args={"advantages": tensor([-3.0, -1.0, -2.0])},
            want=tensor([False, True, False]),
            mistakes={
                "took those above 0": tensor([False, False, False]),
                "took the larger half of three": tensor([False, True, True]),
            },
        ),
        Case(
            name="equals: the earlier ones",
            args={"advantages": tensor([1.0, 1.0, 1.0, 1.0])},
            want=tensor([True, True, False, False]),
            mistakes={"compared with the median": tensor([True, True, True, True])},
        ),
    ],
    "e_step": [
        Case(
            name="temperature 1",
            args={"advantages": four, "temperature": 1.0},
            want=tensor([0.731059, 0.268941, 0.0, 0.0]),  # e / (e + 1)
            mistakes={
                "kept the worse half": tensor([0.643914, 0.236883, 0.087144, 0.032059]),
                "did not normalise over the better half": tensor([0.643914, 0.236883, 0.0, 0.0]),
                "weighted by the advantage instead of its exponential": tensor([0.666667, 0.333333, 0.0, 0.0]),
                "took the best alone": tensor([1.0, 0.0, 0.0, 0.0]),
                "multiplied by the number of samples": tensor([1.462117, 0.537883, 0.0, 0.0]),
            },
        ),
        Case(
            name="temperature 2, softer",
            args={"advantages": four, "temperature": 2.0},
            want=tensor([0.622459, 0.377541, 0.0, 0.0]),  # √e / (√e + 1)
            mistakes={
                "multiplied by the temperature instead of dividing": tensor([0.880797, 0.119203, 0.0, 0.0]),
                "forgot the temperature": tensor([0.731059, 0.268941, 0.0, 0.0]),
            },
        ),
    ],
    "temperature_loss": [
        Case(
            name="temperature 2",
            args={"temperature": tensor(2.0), "advantages": four, "eps_eta": 0.1},
            want=tensor(1.761860),  # 2 · (0.1 + log ½(e + √e)) = 2 · (0.1 + 0.780930)
            mistakes={
                "forgot the temperature in front of the logarithm": tensor(0.980930),
                "summed instead of averaging": tensor(3.148154),
                "averaged over the whole batch": tensor(1.002089),
                "turned the sign of the limit": tensor(1.361860),
            },
        ),
    ],
    "m_step_loss": [
        Case(
            name="four samples, two of them with a weight",
            args={"logps": tensor([-1.0, -2.0, -3.0, -4.0]), "weights": tensor([0.75, 0.25, 0.0, 0.0])},
            want=tensor([0.75, 0.5, 0.0, 0.0]),
            mistakes={
                "turned the sign": tensor([-0.75, -0.5, 0.0, 0.0]),
                "summed already": tensor(1.25),
                "averaged already": tensor(0.3125),
                "used the probability instead of its logarithm": tensor([-0.275910, -0.033834, 0.0, 0.0]),
            },
        ),
    ],
    "trust_region_loss": [
        Case(
            name="two states, one below the limit and one above",
            args={"kl": tensor([0.0, 0.03]), "multiplier": tensor(2.0), "max_kl": 0.01},
            want=tensor([0.02, 0.02]),
            mistakes={
                "left out the policy's part": tensor([0.02, -0.04]),
                "left out the multiplier's part": tensor([0.0, 0.06]),
                "counted the limit alone": tensor([0.01, 0.01]),
            },
        ),
    ],
}
