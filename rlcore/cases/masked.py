"""Hand-computed cases for rlcore.masked."""

from torch import tensor

from rlcore.cases import Case

NAN = float("nan")
x = tensor([[1.0, 2.0], [6.0, 9.0]])
mask = tensor([[True, True], [True, False]])
hidden = tensor([[1.0, 2.0], [6.0, NAN]])

CASES = {
    "mean_over_tokens": [
        Case(
            name="three real tokens in two sequences",
            args={"x": x, "mask": mask},
            want=tensor(3.0),  # (1 + 2 + 6) / 3
            mistakes={
                "averaged padding as well": tensor(4.5),  # 18 / 4
                "zeroed the padding but still divided by it": tensor(2.25),  # 9 / 4
                "averaged the sequences' means": tensor(3.75),
            },
        ),
        Case(
            name="a NaN behind the mask stays there",
            args={"x": hidden, "mask": mask},
            want=tensor(3.0),
            mistakes={"multiplied by the mask: 0 · NaN is NaN": tensor(NAN)},
        ),
    ],
    "mean_over_sequences": [
        Case(
            name="three real tokens in two sequences",
            args={"x": x, "mask": mask},
            want=tensor(3.75),  # ((1 + 2) / 2 + 6) / 2
            mistakes={
                "averaged over all tokens": tensor(3.0),
                "divided every sequence by the longest length": tensor(2.25),  # (1.5 + 3) / 2
                "summed over the sequences": tensor(7.5),
            },
        ),
    ],
    "sum_over_constant": [
        Case(
            name="three real tokens in two sequences, constant 2",
            args={"x": x, "mask": mask, "constant": 2},
            want=tensor(2.25),  # 9 / (2 · 2)
            mistakes={
                "forgot to divide by the number of sequences": tensor(4.5),
                "forgot the mask": tensor(4.5),  # 18 / 4
                "divided by the number of tokens": tensor(3.0),
            },
        ),
    ],
}
