"""Hand-computed cases for rlcore.policy_gradient."""

from torch import tensor

from rlcore.cases import Case

NAN = float("nan")
policy = tensor([0.5, 0.3, 0.2])
scores = tensor([[0.5, -0.3, -0.2], [-0.5, 0.7, -0.2], [-0.5, -0.3, 0.8]])  # each action's: one-hot minus policy

CASES = {
    "score_function_loss": [
        Case(
            name="one good token and one bad one",
            args={"logps": tensor([[-1.0, -2.0]]), "advantages": tensor([[3.0, -4.0]])},
            want=tensor([[3.0, -8.0]]),  # −(3 · −1),  −(−4 · −2)
            mistakes={
                "forgot the minus: descends into the worst action": tensor([[-3.0, 8.0]]),
                "used π instead of log π": tensor([[-1.103638, 0.541341]]),
                "averaged already": tensor(-2.5),
                "forgot the advantages": tensor([[1.0, 2.0]]),
                "dropped the bad token": tensor([[3.0, 0.0]]),
            },
        ),
        Case(
            name="one advantage for a whole sequence, two sequences of two tokens",
            args={"logps": tensor([[-1.0, -2.0], [-3.0, -4.0]]), "advantages": tensor([[1.0], [-1.0]])},
            want=tensor([[1.0, 2.0], [-3.0, -4.0]]),
            mistakes={
                "gave the advantages to the tokens instead of the sequences": tensor([[1.0, -2.0], [3.0, -4.0]]),
                "summed over the tokens": tensor([3.0, -7.0]),
                "used the same advantage for both": tensor([[1.0, 2.0], [3.0, 4.0]]),
            },
        ),
    ],
    "leave_one_out": [
        Case(
            name="two groups of three, one of them all equal",
            args={"rewards": tensor([[1.0, 2.0, 6.0], [0.1, 0.1, 0.1]])},
            want=tensor([[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]),  # others' means: 4, 3.5, 1.5
            mistakes={
                "left its own reward in the mean": tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]]),
                "divided the others' sum by K": tensor([[-5 / 3, -1 / 3, 5.0], [0.1 / 3, 0.1 / 3, 0.1 / 3]]),
                "returned the baseline": tensor([[4.0, 3.5, 1.5], [0.1, 0.1, 0.1]]),
                "turned the sign": tensor([[3.0, 1.5, -4.5], [0.0, 0.0, 0.0]]),
                "left out over the prompts instead of the group": tensor([[0.9, 1.9, 5.9], [-0.9, -1.9, -5.9]]),
                "divided by the standard deviation": tensor([[-0.755929, -0.377964, 1.133893], [NAN, NAN, NAN]]),
            },
        ),
        Case(
            name="two replies: each is the other's baseline",
            args={"rewards": tensor([[1.0, 0.0]])},
            want=tensor([[1.0, -1.0]]),
            mistakes={
                "left its own reward in the mean": tensor([[0.5, -0.5]]),
                "divided the others' sum by K": tensor([[1.0, -0.5]]),
            },
        ),
    ],
    "remax_advantages": [
        Case(
            name="two prompts, two replies each",
            args={"rewards": tensor([[1.0, 0.0], [3.0, 2.0]]), "greedy_rewards": tensor([1.0, 2.0])},
            want=tensor([[0.0, -1.0], [1.0, 0.0]]),
            mistakes={
                "gave the baselines to the replies instead of the prompts": tensor([[0.0, -2.0], [2.0, 0.0]]),
                "took the best of the group for the greedy one": tensor([[0.0, -1.0], [0.0, -1.0]]),
                "took the group's mean": tensor([[0.5, -0.5], [0.5, -0.5]]),
                "turned the sign": tensor([[0.0, 1.0], [-1.0, 0.0]]),
            },
        )
    ],
    "batch_normalized": [
        Case(
            name="two groups of two",
            args={"rewards": tensor([[1.0, 1.0], [0.0, 4.0]]), "ddof": 0},
            want=tensor([[-1 / 3, -1 / 3], [-1.0, 5 / 3]]),  # mean 1.5, variance 9/4
            mistakes={
                "normalised each group": tensor([[0.0, 0.0], [-1.0, 1.0]]),
                "took the groups' means and the batch's deviation": tensor([[0.0, 0.0], [-4 / 3, 4 / 3]]),
                "divided by N − 1": tensor([[-0.288675, -0.288675], [-0.866025, 1.443376]]),
                "forgot the mean": tensor([[2 / 3, 2 / 3], [0.0, 8 / 3]]),
                "divided by the variance": tensor([[-2 / 9, -2 / 9], [-2 / 3, 10 / 9]]),
            },
        ),
        Case(
            name="all equal",
            args={"rewards": tensor([[0.1, 0.1], [0.1, 0.1]]), "ddof": 1},
            want=tensor([[0.0, 0.0], [0.0, 0.0]]),
            mistakes={"divided zero by zero": tensor([[NAN, NAN], [NAN, NAN]])},
        ),
    ],
    "optimal_baseline": [
        Case(
            name="a softmax bandit with rewards 0, 1, 2",
            args={"scores": scores, "rewards": tensor([0.0, 1.0, 2.0]), "probabilities": policy},
            # squared lengths 0.38, 0.78, 0.98: (0.3 · 0.78 · 1 + 0.2 · 0.98 · 2) / (0.19 + 0.234 + 0.196)
            want=tensor(1.009677),
            mistakes={
                "took the mean reward": tensor(0.7),
                "forgot the probabilities": tensor(1.280374),  # 2.74 / 2.14
                "forgot to square the length": tensor(0.857059),
                "forgot to divide": tensor(0.626),
                "averaged the rewards without the policy": tensor(1.0),
            },
        ),
    ],
}
