"""Hand-computed cases for rlcore.policies.

Softmax: π = (½, 3/10, 1/5), from logits log 5, log 3, log 2. Gaussian: μ = 1, σ = 2.
"""

import math

from torch import diag, tensor

from rlcore.cases import Case

log2 = math.log(2)
logits = tensor([5.0, 3.0, 2.0]).log()
two = tensor([[5.0, 3.0, 2.0], [1.0, 1.0, 2.0]]).log()  # the second row is (¼, ¼, ½)
normal = {"mean": tensor([1.0]), "log_std": tensor([log2]), "action": tensor([4.0])}  # z = 3/2
plane = {"mean": tensor([1.0, 0.0]), "log_std": tensor([log2, 0.0]), "action": tensor([4.0, -1.0])}

CASES = {
    "softmax_logp": [
        Case(
            name="the third of three actions",
            args={"logits": logits, "action": tensor(2)},
            want=tensor(-1.609438),  # log 1/5
            mistakes={
                "returned the logit without normalising": tensor(log2),
                "returned the probability": tensor(0.2),
                "returned the loss: minus the log-probability": tensor(1.609438),
                "returned every action's log-probability": tensor([-0.693147, -1.203973, -1.609438]),
            },
        ),
        Case(
            name="two states",
            args={"logits": two, "action": tensor([0, 2])},
            want=tensor([-log2, -log2]),
            mistakes={
                "normalised over the states": tensor([-0.182322, -log2]),  # log 5/6, log ½
                "took both actions from both rows": tensor([[-log2, -1.609438], [-2 * log2, -log2]]),
            },
        ),
    ],
    "softmax_score": [
        Case(
            name="the third of three actions",
            args={"logits": logits, "action": tensor(2)},
            want=tensor([-0.5, -0.3, 0.8]),  # (0, 0, 1) − π
            mistakes={
                "forgot to subtract the policy": tensor([0.0, 0.0, 1.0]),
                "turned the sign": tensor([0.5, 0.3, -0.8]),
                "differentiated π instead of log π": tensor([-0.1, -0.06, 0.16]),
                "moved the chosen logit alone": tensor([0.0, 0.0, 0.8]),
            },
        ),
        Case(
            name="two states",
            args={"logits": two, "action": tensor([0, 2])},
            want=tensor([[0.5, -0.3, -0.2], [-0.25, -0.25, 0.5]]),
            mistakes={
                "summed over the states": tensor([0.25, -0.55, 0.3]),
                "used the first action for both": tensor([[0.5, -0.3, -0.2], [0.75, -0.25, -0.5]]),
            },
        ),
    ],
    "softmax_entropy": [
        Case(
            name="three actions",
            args={"logits": logits},
            want=tensor(1.029653),  # ½ · 0.693147 + 0.3 · 1.203973 + 0.2 · 1.609438
            mistakes={
                "counted in bits": tensor(1.485475),
                "turned the sign": tensor(-1.029653),
                "averaged instead of weighting by π": tensor(1.168853),  # 3.506558 / 3
                "divided by the number of actions on top": tensor(0.343218),
            },
        ),
        Case(
            name="one action for certain, and all alike",
            args={"logits": tensor([[1000.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])},
            want=tensor([0.0, 1.386294]),
            mistakes={"took the log of a probability of 0": tensor([float("nan"), 1.386294])},
        ),
    ],
    "softmax_fisher": [
        Case(
            name="three actions",
            args={"logits": logits},
            want=tensor([[0.25, -0.15, -0.1], [-0.15, 0.21, -0.06], [-0.1, -0.06, 0.16]]),
            mistakes={
                "forgot π πᵀ": diag(tensor([0.5, 0.3, 0.2])),
                "kept the diagonal alone": diag(tensor([0.25, 0.21, 0.16])),
                "added π πᵀ": tensor([[0.75, 0.15, 0.1], [0.15, 0.39, 0.06], [0.1, 0.06, 0.24]]),
                "weighted every score alike instead of by π": tensor(
                    [[0.25, -0.116667, -0.133333], [-0.116667, 0.223333, -0.106667], [-0.133333, -0.106667, 0.24]]
                ),
            },
        ),
    ],
    "gaussian_logp": [
        Case(
            name="one coordinate, 3/2 standard deviations away",
            args=normal,
            want=tensor(-2.737086),  # −½ · 2.25 − log 2 − ½ log 2π
            mistakes={
                "forgot log σ": tensor(-2.043939),
                "forgot ½ log 2π": tensor(-1.818147),
                "forgot the ½ before z²": tensor(-3.862086),
                "read σ as the variance": tensor(-3.515512),  # −9/4 − ½ log 2 − ½ log 2π
                "used log_std as σ": tensor(-9.918586),  # −½ (3 / 0.693147)² + 0.366513 − ½ log 2π
            },
        ),
        Case(
            name="two coordinates",
            args=plane,
            want=tensor(-4.156024),  # the one above, and −½ − ½ log 2π
            mistakes={
                "averaged over the coordinates": tensor(-2.078012),
                "did not sum over the coordinates": tensor([-2.737086, -1.418939]),
                "took ½ log 2π once for both": tensor(-3.237086),
            },
        ),
    ],
    "gaussian_score": [
        Case(
            name="one coordinate, 3/2 standard deviations away",
            args=normal,
            want=tensor([0.75, 1.25]),  # 3 / 4,  (3/2)² − 1
            mistakes={
                "divided by σ instead of σ²": tensor([1.5, 1.25]),
                "differentiated with respect to σ": tensor([0.75, 0.625]),
                "forgot that the normaliser depends on σ": tensor([0.75, 2.25]),
                "turned the sign": tensor([-0.75, -1.25]),
                "pushed the mean away from the action": tensor([-0.75, 1.25]),
            },
        ),
        Case(
            name="two coordinates: first both means, then both log_std",
            args=plane,
            want=tensor([0.75, -1.0, 1.25, 0.0]),
            mistakes={
                "went coordinate by coordinate": tensor([0.75, 1.25, -1.0, 0.0]),
                "summed over the coordinates": tensor([-0.25, 1.25]),
            },
        ),
    ],
    "gaussian_entropy": [
        Case(
            name="one coordinate",
            args={"log_std": tensor([log2])},
            want=tensor(2.112086),  # log 2 + ½ + ½ log 2π
            mistakes={
                "forgot log σ": tensor(1.418939),
                "forgot the ½ that E[z²]/2 gives": tensor(1.612086),
                "read σ as the variance": tensor(1.765512),
                "turned the sign": tensor(-2.112086),
            },
        ),
        Case(
            name="two coordinates",
            args={"log_std": tensor([log2, 0.0])},
            want=tensor(3.531024),
            mistakes={"averaged over the coordinates": tensor(1.765512), "counted the constant once": tensor(2.112086)},
        ),
    ],
    "gaussian_fisher": [
        Case(
            name="two coordinates, σ = 2 and 1",
            args={"log_std": tensor([log2, 0.0])},
            want=diag(tensor([0.25, 1.0, 2.0, 2.0])),
            mistakes={
                "took σ as the parameter": diag(tensor([0.25, 1.0, 0.5, 2.0])),
                "took σ² as the parameter": diag(tensor([0.25, 1.0, 0.03125, 0.5])),
                "multiplied by σ² instead of dividing": diag(tensor([4.0, 1.0, 2.0, 2.0])),
                "divided by σ instead of σ²": diag(tensor([0.5, 1.0, 2.0, 2.0])),
                "went coordinate by coordinate": diag(tensor([0.25, 2.0, 1.0, 2.0])),
                "gave 1 for log_std": diag(tensor([0.25, 1.0, 1.0, 1.0])),
            },
        ),
    ],
}
