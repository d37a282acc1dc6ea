"""Hand-computed cases for rlcore.returns."""

from torch import tensor

from rlcore.cases import Case

NAN = float("nan")
# Two rows alike, but the first ended at its last step and the second was cut off there.
twins = {
    "rewards": tensor([[1.0, 2.0], [1.0, 2.0]]),
    "discounts": tensor([[0.5, 0.0], [0.5, 0.5]]),
    "values": tensor([[1.0, 4.0, 8.0], [1.0, 4.0, 8.0]]),
}
# A reward at the end only, as when a reply is graded.
graded = {"rewards": tensor([[0.0, 0.0, 1.0]]), "values": tensor([[0.5, 0.6, 0.8, 0.9]])}
# The second step ends; then padding.
padded = {
    "rewards": tensor([[1.0, 2.0, NAN]]),
    "discounts": tensor([[0.5, 0.0, 0.0]]),
    "values": tensor([[1.0, 4.0, NAN, NAN]]),
}

CASES = {
    "discounted_returns": [
        Case(
            name="an episode ends at the second step, the next one is cut off",
            args={
                "rewards": tensor([[1.0, 2.0, 3.0, 4.0]]),
                "discounts": tensor([[0.5, 0.0, 0.5, 0.5]]),
                "bootstrap": tensor([8.0]),
            },
            want=tensor([[2.0, 2.0, 7.0, 8.0]]),  # 1 + ½ · 2,  2,  3 + ½ · 8,  4 + ½ · 8
            mistakes={
                "ran on through the end of the episode": tensor([[3.75, 5.5, 7.0, 8.0]]),
                "forgot the bootstrap": tensor([[2.0, 2.0, 5.0, 4.0]]),
                "forgot gamma": tensor([[3.0, 2.0, 15.0, 12.0]]),
                "discounted the reward too": tensor([[0.5, 0.0, 4.5, 6.0]]),
                "took the discount of the step after": tensor([[1.0, 5.5, 7.0, 8.0]]),
                "added up from the first step on": tensor([[1.0, 2.5, 3.0, 5.5]]),
            },
        ),
        Case(
            name="one row ended, one was cut off",
            args={
                "rewards": twins["rewards"],
                "discounts": twins["discounts"],
                "bootstrap": tensor([8.0, 8.0]),
            },
            want=tensor([[2.0, 2.0], [4.0, 6.0]]),
            mistakes={
                "bootstrapped the row that ended": tensor([[4.0, 6.0], [4.0, 6.0]]),
                "took the time limit for an end": tensor([[2.0, 2.0], [2.0, 2.0]]),
            },
        ),
        Case(
            name="a NaN behind the end stays there",
            args={"rewards": padded["rewards"], "discounts": padded["discounts"], "bootstrap": tensor([NAN])},
            want=tensor([[2.0, 2.0, NAN]]),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[NAN, NAN, NAN]])},
        ),
    ],
    "td_errors": [
        Case(
            name="one row ended, one was cut off",
            args={
                "rewards": tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]),
                "discounts": tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]),
                "values": tensor([[1.0, 4.0, 6.0, 8.0], [1.0, 4.0, 6.0, 8.0]]),
            },
            want=tensor([[2.0, 1.0, -3.0], [2.0, 1.0, 1.0]]),  # 1 + ½ · 4 − 1,  2 + ½ · 6 − 4,  3 − 6 or 3 + ½ · 8 − 6
            mistakes={
                "bootstrapped through the end of the episode": tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]),
                "took the time limit for an end": tensor([[2.0, 1.0, -3.0], [2.0, 1.0, -3.0]]),
                "forgot gamma": tensor([[4.0, 4.0, -3.0], [4.0, 4.0, 5.0]]),
                "turned the sign round": tensor([[-2.0, -1.0, 3.0], [-2.0, -1.0, -1.0]]),
                "forgot the next value: reward minus value": tensor([[0.0, -2.0, -3.0], [0.0, -2.0, -3.0]]),
                "discounted the reward too": tensor([[1.5, 0.0, -6.0], [1.5, 0.0, -0.5]]),
            },
        ),
        Case(
            name="a NaN behind the end stays there",
            args=padded,
            want=tensor([[2.0, -2.0, NAN]]),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[2.0, NAN, NAN]])},
        ),
    ],
    "k_step_advantages": [
        Case(
            name="four steps that are cut off, k = 2",
            args={
                "rewards": tensor([[1.0, 2.0, 3.0, 4.0]]),
                "discounts": tensor([[0.5, 0.5, 0.5, 0.5]]),
                "values": tensor([[2.0, 4.0, 8.0, 16.0, 32.0]]),
                "k": 2,
            },
            # 1 + ½ · 2 + ¼ · 8 − 2,  2 + ½ · 3 + ¼ · 16 − 4,  3 + ½ · 4 + ¼ · 32 − 8;  one is left: 4 + ½ · 32 − 16
            want=tensor([[2.0, 3.5, 5.0, 4.0]]),
            mistakes={
                "took k + 1 rewards": tensor([[2.75, 4.5, 5.0, 4.0]]),
                "took one reward": tensor([[1.0, 2.0, 3.0, 4.0]]),
                "discounted the bootstrap once, not k times": tensor([[4.0, 7.5, 13.0, 4.0]]),
                "forgot the bootstrap": tensor([[0.0, -0.5, -3.0, -12.0]]),
                "forgot to subtract the value": tensor([[4.0, 7.5, 13.0, 20.0]]),
                "bootstrapped k steps and more with the last value": tensor([[8.0, 7.5, 5.0, 4.0]]),
                "divided by k": tensor([[1.0, 1.75, 2.5, 2.0]]),
            },
        ),
        Case(
            name="the episode ends inside the window",
            args={
                "rewards": tensor([[1.0, 2.0, 3.0]]),
                "discounts": tensor([[0.5, 0.0, 0.5]]),
                "values": tensor([[2.0, 4.0, 8.0, 16.0]]),
                "k": 2,
            },
            want=tensor([[0.0, -2.0, 3.0]]),  # 1 + ½ · 2 − 2,  2 − 4,  3 + ½ · 16 − 8
            mistakes={
                "looked past the end of the episode": tensor([[2.0, 3.5, 3.0]]),
                "took the cut for an end": tensor([[0.0, -2.0, -5.0]]),
            },
        ),
        Case(
            name="a NaN behind the end stays there",
            args={**padded, "k": 2},
            want=tensor([[1.0, -2.0, NAN]]),  # δ = (2, −2, NaN);  2 − ½ · 2
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[1.0, NAN, NAN]])},
        ),
    ],
    "gae": [
        Case(
            name="two steps, the episode ends at the second",
            args={
                "rewards": tensor([[0.0, 1.0]]),
                "discounts": tensor([[0.5, 0.0]]),
                "values": tensor([[0.0, 0.0, 9.0]]),
                "lam": 1.0,
            },
            want=tensor([[0.5, 1.0]]),  # δ = (0, 1);  A₀ = 0 + ½ · 1
            mistakes={"bootstrapped through the end of the episode": tensor([[2.75, 5.5]])},
        ),
        Case(
            name="a reward at the end only, γ = 0.9, λ = 0.5",
            args={**graded, "discounts": tensor([[0.9, 0.9, 0.0]]), "lam": 0.5},
            want=tensor([[0.1345, 0.21, 0.2]]),  # δ = (0.04, 0.12, 0.2);  γλ = 0.45
            mistakes={
                "decayed by λ, not by γλ": tensor([[0.15, 0.22, 0.2]]),
                "decayed by γ, not by γλ": tensor([[0.31, 0.3, 0.2]]),
                "returned the TD errors": tensor([[0.04, 0.12, 0.2]]),
                "returned the targets: forgot to subtract the value": tensor([[0.6345, 0.81, 1.0]]),
                "went from the first step to the last": tensor([[0.04, 0.138, 0.2621]]),
                "multiplied by 1 − λ": tensor([[0.06725, 0.105, 0.1]]),
                "turned the sign round": tensor([[-0.1345, -0.21, -0.2]]),
            },
        ),
        Case(
            name="a reward at the end only, γ = 1, λ = 0.95",
            args={**graded, "discounts": tensor([[1.0, 1.0, 0.0]]), "lam": 0.95},
            want=tensor([[0.4705, 0.39, 0.2]]),
            mistakes={"bootstrapped through the end of the episode": tensor([[1.28275, 1.245, 1.1]])},
        ),
        Case(
            name="one row ended, one was cut off",
            args={**twins, "lam": 0.5},
            want=tensor([[1.5, -2.0], [2.5, 2.0]]),  # δ = (2, −2) and (2, 2);  γλ = ¼
            mistakes={
                "bootstrapped the row that ended": tensor([[2.5, 2.0], [2.5, 2.0]]),
                "took the time limit for an end": tensor([[1.5, -2.0], [1.5, -2.0]]),
            },
        ),
        Case(
            name="the next episode begins in the same row",
            args={
                "rewards": tensor([[1.0, 2.0, 6.0]]),
                "discounts": tensor([[0.5, 0.0, 0.5]]),
                "values": tensor([[1.0, 4.0, 8.0, 8.0]]),
                "lam": 0.5,
            },
            want=tensor([[1.5, -2.0, 2.0]]),  # δ = (2, −2, 2)
            mistakes={
                "carried the next episode's advantage over the end": tensor([[1.625, -1.5, 2.0]]),
                "bootstrapped from the next episode's first value": tensor([[2.5, 2.0, 2.0]]),
                "ran on through the end of the episode": tensor([[2.625, 2.5, 2.0]]),
                "took the discount of the step after": tensor([[0.0, 2.5, 2.0]]),
            },
        ),
        Case(
            name="cut off: the bootstrap counts once",
            args={
                "rewards": tensor([[1.0, 2.0, 3.0]]),
                "discounts": tensor([[1.0, 1.0, 1.0]]),
                "values": tensor([[0.0, 0.0, 0.0, 2.0]]),
                "lam": 1.0,
            },
            want=tensor([[8.0, 7.0, 5.0]]),
            mistakes={
                "counted the bootstrap twice": tensor([[10.0, 9.0, 7.0]]),
                "forgot the bootstrap": tensor([[6.0, 5.0, 3.0]]),
            },
        ),
        Case(
            name="a NaN behind the end stays there",
            args={**padded, "lam": 0.5},
            want=tensor([[1.5, -2.0, NAN]]),
            mistakes={"multiplied by the discount: 0 · NaN is NaN": tensor([[NAN, NAN, NAN]])},
        ),
    ],
    "lambda_returns": [
        Case(
            name="one row ended, one was cut off",
            args={**twins, "lam": 0.5},
            want=tensor([[2.5, 2.0], [3.5, 6.0]]),  # advantages (1.5, −2) and (2.5, 2), values (1, 4)
            mistakes={
                "returned the advantages": tensor([[1.5, -2.0], [2.5, 2.0]]),
                "added the next value": tensor([[5.5, 6.0], [6.5, 10.0]]),
                "bootstrapped the row that ended": tensor([[3.5, 6.0], [3.5, 6.0]]),
                "returned the discounted return: λ = 1": tensor([[2.0, 2.0], [4.0, 6.0]]),
                "returned reward and next value: λ = 0": tensor([[3.0, 2.0], [3.0, 6.0]]),
            },
        ),
    ],
}
