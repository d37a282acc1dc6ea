"""Hand-computed cases for rlcore.kl. π = (½, ½), π_ref = (⁹⁄₁₀, ¹⁄₁₀); and the sampled log-ratios log 2, −log 2."""

import math

from torch import tensor

from rlcore.cases import Case

log2 = math.log(2)
half, nine = tensor([0.5, 0.5]).log(), tensor([0.9, 0.1]).log()
sampled = {"logps": tensor([-1.0, -2.0]), "ref_logps": tensor([-1.0 - log2, -2.0 + log2])}  # π/π_ref = 2, ½

CASES = {
    "exact": [
        Case(
            name="a fair coin against a loaded one",
            args={"logits": half, "ref_logits": nine},
            want=tensor(0.510826),  # ½ log(5/9) + ½ log 5
            mistakes={
                "took the other direction": tensor(0.368064),
                "turned the sign": tensor(-0.510826),
                "averaged over the actions instead of summing": tensor(0.255413),
                "returned the cross-entropy": tensor(1.203973),
            },
        ),
        Case(
            name="logits need no normalising",
            args={"logits": tensor([[7.0, 7.0]]), "ref_logits": nine[None] - 3},
            want=tensor([0.510826]),
            mistakes={"took logits for log-probabilities": tensor([22028.4])},
        ),
    ],
    "k1": [
        Case(
            name="twice as likely, half as likely",
            args=sampled,
            want=tensor([log2, -log2]),
            mistakes={"turned the ratio": tensor([-log2, log2]), "returned the ratio": tensor([2.0, 0.5])},
        )
    ],
    "k2": [
        Case(
            name="twice as likely, half as likely",
            args=sampled,
            want=tensor([log2**2 / 2, log2**2 / 2]),
            mistakes={"forgot the half": tensor([log2**2, log2**2])},
        )
    ],
    "k3": [
        Case(
            name="twice as likely, half as likely",
            args=sampled,
            want=tensor([log2 - 0.5, 1 - log2]),  # x = ½: ½ − 1 + log 2;  x = 2: 2 − 1 − log 2
            mistakes={
                "turned the ratio": tensor([1 - log2, log2 - 0.5]),
                "forgot the 1": tensor([log2 + 0.5, 2 - log2]),
                "turned the sign of the log": tensor([-log2 - 0.5, 1 + log2]),
            },
        )
    ],
    "k3_loss": [
        Case(
            name="four times as likely as it was, and a quarter as likely",
            args={**sampled, "old_logps": tensor([-1.0 - 2 * log2, -2.0 + 2 * log2])},
            want=tensor([4 * log2 - 2, (1 - log2) / 4]),
            mistakes={
                "forgot the ratio": tensor([log2 - 0.5, 1 - log2]),
                "turned the ratio to the old policy": tensor([(log2 - 0.5) / 4, 4 - 4 * log2]),
                "took the ratio to the reference": tensor([2 * log2 - 1, (1 - log2) / 2]),
                "weighted k1": tensor([4 * log2, -log2 / 4]),
                "weighted k2": tensor([2 * log2**2, log2**2 / 8]),
            },
        )
    ],
    "f_divergence": [
        Case(
            name="total variation, f(u) = |u − 1| / 2",
            args={"logits": half, "ref_logits": nine, "f": lambda u: (u - 1).abs() / 2},
            want=tensor(0.4),  # ½ (|½ − 9/10| + |½ − 1/10|)
            mistakes={
                "averaged under the policy": tensor(1.111111),  # ½ (½ · 4/9 + ½ · 4)
                "forgot the weights": tensor(2.222222),
            },
        )
    ],
}
