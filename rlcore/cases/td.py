"""Hand-computed cases for rlcore.td. α is ½ throughout, γ is ½ where an episode goes on."""

from torch import tensor

from rlcore.cases import Case

NAN = float("nan")

# From state 0 by action 1 to state 1, reward 1; there action 0 follows.
q = tensor([[1.0, 2.0], [4.0, 10.0]])
step = {"states": tensor(0), "rewards": tensor(1.0), "next_states": tensor(1)}
taken = {**step, "actions": tensor(1)}

# Two learners: the first one's episode goes on, the second one's ends, and NaN stands behind the end.
pair = tensor([[[1.0, 2.0], [4.0, 10.0]], [[1.0, 2.0], [NAN, NAN]]])
both = {
    "states": tensor([0, 0]),
    "actions": tensor([1, 0]),
    "rewards": tensor([1.0, 5.0]),
    "discounts": tensor([0.5, 0.0]),
    "next_states": tensor([1, 1]),
}


def after(value: float) -> object:
    """The table once Q(0, 1) is this."""
    return tensor([[1.0, value], [4.0, 10.0]])


def after_both(first: float, second: float) -> object:
    """The tables once Q(0, 1) of the first and Q(0, 0) of the second are these."""
    return tensor([[[1.0, first], [4.0, 10.0]], [[second, 2.0], [NAN, NAN]]])


CASES = {
    "monte_carlo": [
        Case(
            name="a state visited twice",
            args={
                "v": tensor([0.0, 4.0]),
                "states": tensor([0, 1, 0]),
                "returns": tensor([1.0, 2.0, 3.0]),
                "mask": tensor([True, True, True]),
                "lr": 0.5,
            },
            want=tensor([2.0, 3.0]),  # 0 + ½ (1 + 3),  4 + ½ (2 − 4)
            mistakes={
                "counted the first visit only": tensor([0.5, 3.0]),
                "let the last visit overwrite the others": tensor([1.5, 3.0]),
                "updated visit by visit": tensor([1.75, 3.0]),  # 0 → ½ → ½ + ½ (3 − ½)
                "averaged over the visits": tensor([1.0, 3.0]),
                "forgot to subtract the value": tensor([2.0, 5.0]),
                "forgot the learning rate": tensor([4.0, 2.0]),
            },
        ),
        Case(
            name="two learners, one episode shorter",
            args={
                "v": tensor([[0.0, 4.0], [2.0, 6.0]]),
                "states": tensor([[0, 1], [1, 0]]),
                "returns": tensor([[1.0, 2.0], [4.0, NAN]]),
                "mask": tensor([[True, True], [True, False]]),
                "lr": 0.5,
            },
            want=tensor([[0.5, 3.0], [2.0, 5.0]]),
            mistakes={
                "multiplied by the mask: 0 · NaN is NaN": tensor([[0.5, 3.0], [NAN, 5.0]]),
                "took a return of 0 behind the mask": tensor([[0.5, 3.0], [1.0, 5.0]]),
            },
        ),
    ],
    "td_zero": [
        Case(
            name="one transition",
            args={"v": tensor([2.0, 8.0]), **step, "discounts": tensor(0.5), "lr": 0.5},
            want=tensor([3.5, 8.0]),  # 2 + ½ (1 + ½ · 8 − 2)
            mistakes={
                "forgot to bootstrap": tensor([1.5, 8.0]),
                "forgot the discount": tensor([5.5, 8.0]),
                "forgot to subtract the value": tensor([4.5, 8.0]),
                "discounted the reward too": tensor([3.25, 8.0]),
                "forgot the learning rate": tensor([5.0, 8.0]),
                "changed the next state": tensor([2.0, 9.5]),
            },
        ),
        Case(
            name="two learners, one episode ended, NaN behind the end",
            args={
                "v": tensor([[2.0, 8.0], [2.0, NAN]]),
                "states": tensor([0, 0]),
                "rewards": tensor([1.0, 1.0]),
                "discounts": tensor([0.5, 0.0]),
                "next_states": tensor([1, 1]),
                "lr": 0.5,
            },
            want=tensor([[3.5, 8.0], [1.5, NAN]]),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[3.5, 8.0], [NAN, NAN]])},
        ),
        Case(
            name="the episode ended",
            args={"v": tensor([2.0, 8.0]), **step, "discounts": tensor(0.0), "lr": 0.5},
            want=tensor([1.5, 8.0]),
            mistakes={"bootstrapped through the end of the episode": tensor([5.5, 8.0])},
        ),
    ],
    "n_step_targets": [
        Case(
            name="two steps of three, cut off",
            args={
                "rewards": tensor([1.0, 2.0, 4.0]),
                "discounts": tensor([0.5, 0.5, 0.5]),
                "values": tensor([2.0, 4.0, 6.0, 16.0]),
                "n": 2,
            },
            want=tensor([3.5, 8.0, 12.0]),  # 1 + ½ · 2 + ¼ · 6,  2 + ½ · 4 + ¼ · 16,  4 + ½ · 16
            mistakes={
                "took one step": tensor([3.0, 5.0, 12.0]),
                "went on to the end": tensor([5.0, 8.0, 12.0]),
                "forgot to discount the value": tensor([8.0, 20.0, 20.0]),
                "discounted the value only once": tensor([5.0, 12.0, 12.0]),
                "forgot to bootstrap": tensor([2.0, 4.0, 4.0]),
                "took the cut for an end": tensor([3.5, 4.0, 4.0]),
            },
        ),
        Case(
            name="an end in the middle",
            args={
                "rewards": tensor([[1.0, 2.0, 4.0]]),
                "discounts": tensor([[0.5, 0.0, 0.5]]),
                "values": tensor([[2.0, 4.0, NAN, 16.0]]),
                "n": 2,
            },
            want=tensor([[2.0, 2.0, 12.0]]),  # 1 + ½ · 2,  2,  4 + ½ · 16
            mistakes={
                "multiplied by the discount: 0 · NaN is NaN": tensor([[NAN, NAN, 12.0]]),
                "ran on into the next episode": tensor([[NAN, 8.0, 12.0]]),
            },
        ),
    ],
    "td_lambda": [
        Case(
            name="two steps, the episode ends",
            args={
                "v": tensor([2.0, 4.0]),
                "states": tensor([0, 1, 0]),
                "rewards": tensor([1.0, 8.0]),
                "discounts": tensor([0.5, 0.0]),
                "mask": tensor([True, True]),
                "lam": 0.25,
                "lr": 0.5,
            },
            want=tensor([2.75, 6.0]),  # δ = (1, 4);  2 + ½ (1 + ½ · ¼ · 4),  4 + ½ · 4
            mistakes={
                "forgot gamma in the trace": tensor([3.0, 6.0]),
                "forgot lambda in the trace": tensor([3.5, 6.0]),
                "kept no trace": tensor([2.5, 6.0]),
                "bootstrapped through the end of the episode": tensor([2.875, 7.0]),  # δ₁ = 8 + 2 − 4
            },
        ),
        Case(
            name="a state visited twice in a row",
            args={
                "v": tensor([0.0, 0.0]),
                "states": tensor([0, 0, 1]),
                "rewards": tensor([0.0, 8.0]),
                "discounts": tensor([0.5, 0.0]),
                "mask": tensor([True, True]),
                "lam": 0.5,
                "lr": 0.5,
            },
            want=tensor([5.0, 0.0]),  # ½ · 8 (1 + ½ · ½)
            mistakes={"replaced the trace instead of adding to it": tensor([4.0, 0.0])},
        ),
        Case(
            name="two episodes in a row, then padding",
            args={
                "v": tensor([[0.0, 0.0]]),
                "states": tensor([[0, 1, 0, 0]]),
                "rewards": tensor([[1.0, 8.0, NAN]]),
                "discounts": tensor([[0.0, 0.0, 0.5]]),
                "mask": tensor([[True, True, False]]),
                "lam": 1.0,
                "lr": 0.5,
            },
            want=tensor([[0.5, 4.0]]),
            mistakes={
                "carried the trace across the end": tensor([[4.5, 4.0]]),
                "multiplied by the mask: 0 · NaN is NaN": tensor([[NAN, NAN]]),
            },
        ),
    ],
    "sarsa": [
        Case(
            name="one transition",
            args={"q": q, **taken, "discounts": tensor(0.5), "next_actions": tensor(0), "lr": 0.5},
            want=after(2.5),  # 2 + ½ (1 + ½ · 4 − 2)
            mistakes={
                "took the best next action: Q-learning": after(4.0),
                "averaged over the next actions": after(3.25),
                "forgot the discount": after(3.5),
                "read the next action in the old state": after(1.75),
                "forgot to bootstrap": after(1.5),
            },
        ),
        Case(
            name="two learners, one episode ended, NaN behind the end",
            args={"q": pair, **both, "next_actions": tensor([0, 0]), "lr": 0.5},
            want=after_both(2.5, 3.0),  # and 1 + ½ (5 − 1)
            mistakes={"multiplied by the discount: 0 · NaN is NaN": after_both(2.5, NAN)},
        ),
    ],
    "expected_sarsa": [
        Case(
            name="one transition",
            args={"q": q, **taken, "discounts": tensor(0.5), "next_policy": tensor([0.75, 0.25]), "lr": 0.5},
            want=after(2.875),  # 2 + ½ (1 + ½ (¾ · 4 + ¼ · 10) − 2)
            mistakes={
                "took the best next action: Q-learning": after(4.0),
                "weighted all next actions equally": after(3.25),
                "took the likeliest next action": after(2.5),
                "forgot the discount": after(4.25),
                "averaged in the old state": after(1.8125),
            },
        ),
        Case(
            name="two learners, one episode ended, NaN behind the end",
            args={"q": pair, **both, "next_policy": tensor([[0.75, 0.25], [NAN, NAN]]), "lr": 0.5},
            want=after_both(2.875, 3.0),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": after_both(2.875, NAN)},
        ),
    ],
    "q_learning": [
        Case(
            name="one transition",
            args={"q": q, **taken, "discounts": tensor(0.5), "lr": 0.5},
            want=after(4.0),  # 2 + ½ (1 + ½ · 10 − 2)
            mistakes={
                "averaged over the next actions": after(3.25),
                "took the best action of the old state": after(2.0),
                "forgot the discount": after(6.5),
                "took the worst next action": after(2.5),
                "forgot to subtract the old value": after(5.0),
            },
        ),
        Case(
            name="two learners, one episode ended, NaN behind the end",
            args={"q": pair, **both, "lr": 0.5},
            want=after_both(4.0, 3.0),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": after_both(4.0, NAN)},
        ),
    ],
    "epsilon_greedy": [
        Case(
            name="one best action of four",
            args={"q": tensor([0.0, 1.0, 0.0, 0.0]), "eps_explore": 0.1},
            want=tensor([0.025, 0.925, 0.025, 0.025]),  # 0.1 / 4, and 0.9 on top
            mistakes={
                "explored among the other actions only": tensor([0.1 / 3, 0.9, 0.1 / 3, 0.1 / 3]),
                "forgot that exploring may hit the best action": tensor([0.025, 0.9, 0.025, 0.025]),
                "never explored": tensor([0.0, 1.0, 0.0, 0.0]),
            },
        ),
        Case(
            name="two best actions share",
            args={"q": tensor([1.0, 1.0, 0.0, 0.0]), "eps_explore": 0.2},
            want=tensor([0.45, 0.45, 0.05, 0.05]),  # 0.2 / 4, and 0.8 / 2 on top
            mistakes={
                "gave all to the first of them": tensor([0.85, 0.05, 0.05, 0.05]),
                "gave all to each of them": tensor([0.85, 0.85, 0.05, 0.05]),
            },
        ),
    ],
    "linear_decay": [
        Case(
            name="half way",
            args={"step": 5, "start": 1.0, "end": 0.1, "steps": 10},
            want=0.55,  # (1 + 0.1) / 2
            mistakes={"fell towards 0": 0.5, "added the end on top": 0.6},
        ),
        Case(
            name="long after the end",
            args={"step": 20, "start": 1.0, "end": 0.1, "steps": 10},
            want=0.1,
            mistakes={"went on falling": -0.8},
        ),
    ],
    "exponential_decay": [
        Case(
            name="after two half-lives",
            args={"step": 20, "start": 0.9, "end": 0.1, "half_life": 10.0},
            want=0.3,  # 0.1 + 0.8 / 4
            mistakes={"fell towards 0": 0.225, "fell by e": 0.208268, "halved once": 0.5},
        ),
    ],
}
