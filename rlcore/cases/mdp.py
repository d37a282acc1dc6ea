"""Hand-computed cases for rlcore.mdp.

Three states, two actions, γ = ½; the last state is terminal. In state 0, action 0 pays 1 and leads to state 1 (¾) or to
the end (¼), action 1 pays 1.5 and stays. In state 1, action 0 pays nothing and leads back, action 1 pays 4 and ends.
"""

from torch import tensor

from rlcore.cases import Case
from rlcore.mdp import MDP

transitions = tensor(
    [
        [[0.0, 0.75, 0.25], [1.0, 0.0, 0.0]],
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]],
    ]
)
mdp = MDP(transitions, tensor([[1.0, 1.5], [0.0, 4.0], [0.0, 0.0]]), gamma=0.5)
v = tensor([4.0, 8.0, 0.0])
mixed = tensor([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]])
onward = tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

CASES = {
    "q_from_v": [
        Case(
            name="three states, the last one terminal",
            args={"mdp": mdp, "v": v},
            # 1 + ½ (¾ · 8 + ¼ · 0),  1.5 + ½ · 4;   0 + ½ · 4,  4 + ½ · 0
            want=tensor([[4.0, 3.5], [2.0, 4.0], [0.0, 0.0]]),
            mistakes={
                "forgot gamma": tensor([[7.0, 5.5], [4.0, 4.0], [0.0, 0.0]]),
                "averaged over next states instead of weighting by P": tensor([[3.0, 3.5], [2.0, 6.0], [2.0, 2.0]]),
                "forgot the reward": tensor([[3.0, 2.0], [2.0, 0.0], [0.0, 0.0]]),
                "discounted the reward too": tensor([[3.5, 2.75], [2.0, 2.0], [0.0, 0.0]]),
                "read P backwards: from s' to s": tensor([[5.0, 3.5], [1.5, 4.0], [0.5, 4.0]]),
                "used the value of the state itself": tensor([[3.0, 3.5], [4.0, 8.0], [0.0, 0.0]]),
            },
        ),
        Case(
            name="two next states that both matter",
            args={
                "mdp": MDP(tensor([[[0.25, 0.75]], [[1.0, 0.0]]]), tensor([[1.0], [0.0]]), 0.5),
                "v": tensor([4.0, 8.0]),
            },
            want=tensor([[4.5], [2.0]]),  # 1 + ½ (¼ · 4 + ¾ · 8),  ½ · 4
            mistakes={
                "took the best next state": tensor([[5.0], [2.0]]),
                "averaged over next states instead of weighting by P": tensor([[4.0], [3.0]]),
                "forgot gamma": tensor([[8.0], [4.0]]),
            },
        ),
    ],
    "bellman_expectation": [
        Case(
            name="a policy that mixes",
            args={"mdp": mdp, "policy": mixed, "v": v},
            want=tensor([3.625, 3.0, 0.0]),  # ¼ · 4 + ¾ · 3.5,  ½ · 2 + ½ · 4
            mistakes={
                "took the max instead of the policy's mean": tensor([4.0, 4.0, 0.0]),
                "divided by the number of actions on top": tensor([1.8125, 1.5, 0.0]),
                "weighted all actions equally": tensor([3.75, 3.0, 0.0]),
                "summed over actions without the policy": tensor([7.5, 6.0, 0.0]),
                "forgot gamma": tensor([5.875, 4.0, 0.0]),
                "forgot the reward": tensor([2.25, 1.0, 0.0]),
            },
        ),
        Case(
            name="a policy that always acts the same",
            args={"mdp": mdp, "policy": onward, "v": v},
            want=tensor([4.0, 4.0, 0.0]),
            mistakes={
                "weighted all actions equally": tensor([3.75, 3.0, 0.0]),
                "forgot gamma": tensor([7.0, 4.0, 0.0]),
                "averaged over next states instead of weighting by P": tensor([3.0, 6.0, 2.0]),
            },
        ),
    ],
    "bellman_optimality": [
        Case(
            name="three states, the last one terminal",
            args={"mdp": mdp, "v": v},
            want=tensor([4.0, 4.0, 0.0]),
            mistakes={
                "averaged over actions": tensor([3.75, 3.0, 0.0]),
                "took the action with the best reward, not the best value": tensor([3.5, 4.0, 0.0]),
                "took the best next state instead of the best action": tensor([5.5, 8.0, 4.0]),
                "forgot gamma": tensor([7.0, 4.0, 0.0]),
                "returned the best action, not its value": tensor([0.0, 1.0, 0.0]),
                "kept the old value where it was larger": tensor([4.0, 8.0, 0.0]),
            },
        ),
    ],
    "greedy": [
        Case(
            name="two equal actions",
            args={"q": tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 4.0]])},
            want=tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
            mistakes={
                "took the last of equal actions": tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
                "marked all equal actions": tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]),
                "split equal actions": tensor([[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]),
                "took the worst action": tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
                "took the best state of each action": tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]),
                "returned the index of the best action": tensor([1.0, 2.0]),
            },
        ),
    ],
    "solve": [
        Case(
            name="on to state 1, then out",
            args={"mdp": mdp, "policy": onward},
            want=tensor([2.5, 4.0, 0.0]),  # 1 + ½ · ¾ · 4
            mistakes={
                "forgot gamma": tensor([4.0, 4.0, 0.0]),
                "stopped after one sweep": tensor([1.0, 4.0, 0.0]),
                "returned the optimal value": tensor([3.0, 4.0, 0.0]),  # staying is worth 1.5 / (1 − ½)
                "read P backwards: from s' to s": tensor([1.0, 4.375, 4.625]),
            },
        ),
        Case(
            name="gamma 1, a fair coin ends it: the terminal state is pinned at 0",
            args={
                "mdp": MDP(tensor([[[0.5, 0.5]], [[0.0, 1.0]]]), tensor([[1.0], [0.0]]), gamma=1.0),
                "policy": tensor([[1.0], [1.0]]),
            },
            want=tensor([2.0, 0.0]),  # 1 + ½ + ¼ + …
            mistakes={
                "stopped after two sweeps": tensor([1.5, 0.0]),
                "counted only the first step": tensor([1.0, 0.0]),
            },
        ),
    ],
    "occupancy": [
        Case(
            name="on to state 1, then out",
            args={"mdp": mdp, "policy": onward, "start": tensor([1.0, 0.0, 0.0])},
            want=tensor([0.5, 0.1875, 0.3125]),  # ½ (1, ½ · ¾, ½ · ¼ + ¼ + ⅛ + …)
            mistakes={
                "forgot to normalise by 1 − gamma": tensor([1.0, 0.375, 0.625]),
                "lost the time spent in the terminal state": tensor([0.5, 0.1875, 0.0]),
                "forgot where one starts": tensor([1 / 6, 11 / 48, 29 / 48]),
            },
        ),
    ],
}
