"""Hand-computed cases for rlcore.generalized_dpo. Margins 2 and −2 at β ½; log ratios 1 and −1 at β 0.1."""

import math

from torch import tensor

from rlcore.cases import Case
from rlcore.generalized_dpo import alpha_score, forward_kl_score, jensen_shannon_score, logistic, squared

both = {"chosen_log_ratios": tensor([1.0]), "rejected_log_ratios": tensor([-1.0]), "beta": 0.1}
log2 = math.log(2)

CASES = {
    "gpo_loss": [
        Case(
            name="logistic: DPO",
            args={"margin": tensor([2.0, -2.0]), "beta": 0.5, "f": logistic},
            want=tensor([0.313262, 1.313262]),
            mistakes={
                "forgot beta": tensor([0.126928, 2.126928]),
                "put beta in front": tensor([0.063464, 1.063464]),
                "turned the margin": tensor([1.313262, 0.313262]),
            },
        ),
        Case(
            name="squared: β² IPO",
            args={"margin": tensor([2.0, -2.0]), "beta": 0.5, "f": squared},
            want=tensor([0.0, 4.0]),
            mistakes={"regressed on 1/(2β)": tensor([1.0, 9.0]), "stopped at the target": tensor([0.0, 2.0])},
        ),
    ],
    "gpo_taylor": [
        Case(
            name="logistic: slope −½, curvature ¼",
            args={"margin": tensor([2.0, -4.0]), "beta": 0.5, "f": logistic},
            want=tensor([0.318147, 2.193147]),  # log 2 − ½ x + x²/8 at x = 1, −2
            mistakes={
                "forgot the half": tensor([log2 - 0.5 + 0.25, log2 + 1 + 1]),
                "stopped at first order": tensor([log2 - 0.5, log2 + 1]),
                "gave the function itself": tensor([0.313262, 2.126928]),
                "did not square beta": tensor([log2 - 0.5 + 0.25, log2 + 1 + 1]),
            },
        )
    ],
    "f_dpo_loss": [
        Case(
            name="forward KL",
            args=both | {"score": forward_kl_score},
            want=tensor([0.582517]),  # −log σ(0.1 · (−e⁻¹ + e))
            mistakes={
                "turned the sign of the score": tensor([0.817557]),
                "put f instead of its derivative: −log u": tensor([0.798139]),
                "took the reverse KL": tensor([0.598139]),
            },
        ),
        Case(
            name="Jensen–Shannon",
            args=both | {"score": jensen_shannon_score},
            want=tensor([0.644397]),  # log σ(1) − log σ(−1) = 1
            mistakes={"took the reverse KL": tensor([0.598139]), "doubled it": tensor([0.598139])},
        ),
        Case(
            name="alpha ¼",
            args=both | {"score": alpha_score(0.25)},
            want=tensor([0.597199]),  # 4 (e^¼ − e^−¼) = 2.020898
            mistakes={"took 1 − α for α, as TRL names it": tensor([0.589504])},
        ),
    ],
}
