"""Hand-computed cases for rlcore.trust_region. Ratios 0.7, 1 and 1.3, as π moves from ½ to 0.35, 0.5 and 0.65."""

from torch import tensor

from rlcore.cases import Case

INF = float("inf")
moved = {"logps": tensor([0.35, 0.5, 0.65]).log(), "old_logps": tensor([0.5, 0.5, 0.5]).log()}
six = {"logps": tensor([[0.35, 0.5, 0.65]] * 2).log(), "old_logps": tensor([[0.5, 0.5, 0.5]] * 2).log()}
good_and_bad = tensor([[1.0], [-1.0]])
critic = {"values": tensor([3.0, 3.0, 2.2]), "old_values": tensor([2.0, 2.0, 2.0]), "returns": tensor([4.0, 2.0, 4.0])}
fisher = tensor([[0.25, -0.15, -0.1], [-0.15, 0.21, -0.06], [-0.1, -0.06, 0.16]])  # diag(π) − π πᵀ, π = (½, 0.3, 0.2)
bowl = {"objective": lambda x: -x @ x, "kl": lambda x: (x - 1) @ (x - 1), "start": tensor([1.0]), "shrink": 0.5}

CASES = {
    "ratio": [
        Case(
            name="less likely, as likely, likelier",
            args=moved,
            want=tensor([0.7, 1.0, 1.3]),
            mistakes={
                "turned it upside down": tensor([1.428571, 1.0, 0.769231]),
                "forgot the exp": tensor([-0.356675, 0.0, 0.262364]),
                "divided the log-probabilities": tensor([1.514573, 1.0, 0.621488]),
                "subtracted the probabilities": tensor([-0.15, 0.0, 0.15]),
            },
        ),
    ],
    "truncated_ratio": [
        Case(
            name="limit 1.2",
            args={**moved, "limit": 1.2},
            want=tensor([0.7, 1.0, 1.2]),
            mistakes={
                "cut off below": tensor([1.2, 1.2, 1.3]),
                "cut off on both sides": tensor([0.833333, 1.0, 1.2]),
                "cut the log of the ratio": tensor([0.7, 1.0, 1.3]),
                "threw away what is above the limit": tensor([0.7, 1.0, 0.0]),
            },
        ),
        Case(
            name="a ratio too large for a float",
            args={"logps": tensor([0.0]), "old_logps": tensor([-1000.0]), "limit": 2.0},
            want=tensor([2.0]),
            mistakes={"forgot to cut it off": tensor([INF])},
        ),
    ],
    "surrogate": [
        Case(
            name="three ratios, a good action and a bad one",
            args={**six, "advantages": good_and_bad},
            want=tensor([[0.7, 1.0, 1.3], [-0.7, -1.0, -1.3]]),
            mistakes={
                "turned the sign: this one is maximised": tensor([[-0.7, -1.0, -1.3], [0.7, 1.0, 1.3]]),
                "forgot the exp": tensor([[-0.356675, 0.0, 0.262364], [0.356675, 0.0, -0.262364]]),
                "clipped it": tensor([[0.7, 1.0, 1.2], [-0.8, -1.0, -1.3]]),
                "forgot the advantages": tensor([[0.7, 1.0, 1.3], [0.7, 1.0, 1.3]]),
            },
        ),
    ],
    "clipped_loss": [
        Case(
            name="the six cases, ε = 0.2 on both sides",
            args={**six, "advantages": good_and_bad, "eps_low": 0.2, "eps_high": 0.2},
            want=tensor([[-0.7, -1.0, -1.2], [0.8, 1.0, 1.3]]),
            mistakes={
                "turned the sign": tensor([[0.7, 1.0, 1.2], [-0.8, -1.0, -1.3]]),
                "took the max instead of the min": tensor([[-0.8, -1.0, -1.3], [0.7, 1.0, 1.2]]),
                "clipped without taking the min": tensor([[-0.8, -1.0, -1.2], [0.8, 1.0, 1.2]]),
                "clipped ratio times advantage instead of the ratio": tensor([[-0.7, -1.0, -1.2], [0.7, 1.0, 1.3]]),
                "never clipped": tensor([[-0.7, -1.0, -1.3], [0.7, 1.0, 1.3]]),
                "clipped above even where A is negative": tensor([[-0.7, -1.0, -1.2], [0.7, 1.0, 1.2]]),
                "turned the ratio upside down": tensor([[-1.2, -1.0, -0.769231], [1.428571, 1.0, 0.8]]),
                "averaged already": tensor(0.033333),
            },
        ),
        Case(
            name="wider above (0.5) than below (0.2)",
            args={
                "logps": tensor([[0.7, 1.3, 1.7]] * 2).log(),
                "old_logps": tensor([[0.0, 0.0, 0.0]] * 2),
                "advantages": good_and_bad,
                "eps_low": 0.2,
                "eps_high": 0.5,
            },
            want=tensor([[-0.7, -1.3, -1.5], [0.8, 1.3, 1.7]]),
            mistakes={
                "swapped eps_low and eps_high": tensor([[-0.7, -1.2, -1.2], [0.7, 1.3, 1.7]]),
                "used eps_low on both sides": tensor([[-0.7, -1.2, -1.2], [0.8, 1.3, 1.7]]),
                "used eps_high on both sides": tensor([[-0.7, -1.3, -1.5], [0.7, 1.3, 1.7]]),
                "took the max instead of the min": tensor([[-0.8, -1.3, -1.7], [0.7, 1.3, 1.5]]),
            },
        ),
    ],
    "clipped_value_loss": [
        Case(
            name="moving to the target, past it, and hardly",
            args={**critic, "eps_clip": 0.5},
            # old value 2, so the clipped values are 2.5, 2.5, 2.2: ½ (1.5², 1², 1.8²)
            want=tensor([1.125, 0.5, 1.62]),
            mistakes={
                "took the min instead of the max": tensor([0.5, 0.125, 1.62]),
                "clipped without taking the max": tensor([1.125, 0.125, 1.62]),
                "never clipped": tensor([0.5, 0.5, 1.62]),
                "forgot the ½": tensor([2.25, 1.0, 3.24]),
                "clipped the value between 1 − ε and 1 + ε": tensor([3.125, 0.5, 3.125]),
                "averaged already": tensor(1.081667),
            },
        ),
    ],
    "next_beta": [
        Case(
            name="the KL far too small",
            args={"beta": 0.1, "kl": 0.004, "target": 0.01},
            want=0.05,
            mistakes={"turned the rule around": 0.2, "divided by 1.5": 0.066667, "scaled by KL / target": 0.04},
        ),
        Case(
            name="the KL on target, or a little above",
            args={"beta": 0.1, "kl": 0.012, "target": 0.01},
            want=0.1,
            mistakes={"compared with the target itself": 0.2, "scaled by KL / target": 0.12},
        ),
        Case(
            name="the KL too large",
            args={"beta": 0.1, "kl": 0.016, "target": 0.01},
            want=0.2,
            mistakes={"turned the rule around": 0.05, "waited for twice the target": 0.1, "multiplied by 1.5": 0.15},
        ),
    ],
    "conjugate_gradient": [
        Case(
            name="two unknowns, two steps",
            args={
                "product": lambda v: tensor([[2.0, 1.0], [1.0, 3.0]]) @ v,
                "b": tensor([3.0, 4.0]),
                "steps": 2,
                "tol": 1e-6,
            },
            want=tensor([1.0, 1.0]),
            mistakes={
                "stopped after one step": tensor([0.833333, 1.111111]),  # 25/90 · b
                "divided by the diagonal": tensor([1.5, 1.333333]),
                "multiplied instead of solving": tensor([10.0, 15.0]),
                "kept the first direction: steepest descent": tensor([0.992063, 0.992063]),
            },
        ),
        Case(
            name="the singular Fisher matrix of a softmax bandit",
            args={"product": lambda v: fisher @ v, "b": tensor([-0.35, 0.09, 0.26]), "steps": 2, "tol": 1e-4},
            want=tensor([-1.0, 0.0, 1.0]),
            mistakes={
                "another solution, with a part in the null space": tensor([-0.7, 0.3, 1.3]),
                "divided by the diagonal": tensor([-1.4, 0.428571, 1.625]),
            },
        ),
    ],
    "natural_step": [
        Case(
            name="steep in one direction, flat in the other",
            args={"gradient": tensor([4.0, 1.0]), "fisher_product": lambda v: tensor([4.0, 1.0]) * v, "max_kl": 0.1},
            want=tensor([0.2, 0.2]),  # x = (1, 1), xᵀ F x = 5, √(0.2 / 5) = 0.2
            mistakes={
                "forgot the 2": tensor([0.141421, 0.141421]),
                "forgot the root": tensor([0.04, 0.04]),
                "followed the plain gradient to the same KL": tensor([0.221880, 0.055470]),  # √(0.2 / 65) · g
                "measured the length without F": tensor([0.316228, 0.316228]),
                "scaled the gradient instead of x": tensor([0.8, 0.2]),
                "turned the sign: this one climbs": tensor([-0.2, -0.2]),
            },
        ),
    ],
    "line_search": [
        Case(
            name="the KL decides",
            args={**bowl, "step": tensor([-1.5]), "max_kl": 0.3, "tries": 5},
            want=(tensor([0.625]), 0.25, 2),  # KL 2.25, 0.5625, 0.140625
            mistakes={
                "did not check the KL": (tensor([-0.5]), 1.0, 0),
                "allowed twice the KL": (tensor([0.25]), 0.5, 1),
            },
        ),
        Case(
            name="the objective decides",
            args={**bowl, "step": tensor([-4.0]), "max_kl": 100.0, "tries": 5},
            want=(tensor([0.0]), 0.25, 2),  # objective −9, −1, 0, against −1 at the start
            mistakes={
                "did not check the objective": (tensor([-3.0]), 1.0, 0),
                "accepted a step that gains nothing": (tensor([-1.0]), 0.5, 1),
            },
        ),
        Case(
            name="nothing fits",
            args={**bowl, "step": tensor([1.0]), "max_kl": 100.0, "tries": 3},
            want=(tensor([1.0]), 0.0, 3),
            mistakes={"took the smallest step anyway": (tensor([1.25]), 0.25, 3)},
        ),
    ],
}
