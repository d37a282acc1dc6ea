"""Hand-computed cases for rlcore.logprobs. Next-token probabilities (½, ½), then (¼, ¾)."""

import math

from torch import tensor

from rlcore.cases import Case

half, quarter = math.log(0.5), math.log(0.25)
logits = tensor([[[5.0, 5.0], [0.0, math.log(3)]]])

CASES = {
    "token_logps": [
        Case(
            name="two tokens of a vocabulary of two",
            args={"logits": logits, "tokens": tensor([[1, 0]])},
            want=tensor([[half, quarter]]),
            mistakes={
                "returned the logits without normalising": tensor([[5.0, 0.0]]),
                "took the logits for log-probabilities of the next position": tensor([[quarter, half]]),
                "turned the sign: that is the loss": tensor([[-half, -quarter]]),
                "normalised over the positions": tensor([[math.log(3 / (3 + math.exp(5))), -5.006715]]),
            },
        )
    ],
    "sequence_logps": [
        Case(
            name="a short reply beside a long one, padding is NaN",
            args={
                "logps": tensor([[-1.0, -2.0, -3.0], [-4.0, math.nan, math.nan]]),
                "mask": tensor([[True, True, True], [True, False, False]]),
            },
            want=tensor([-6.0, -4.0]),
            mistakes={
                "took the mean: the length no longer counts": tensor([-2.0, -4.0]),
                "multiplied by the mask: 0 · NaN is NaN": tensor([-6.0, math.nan]),
            },
        )
    ],
    "entropy": [
        Case(
            name="a fair coin and a loaded one",
            args={"logits": logits},
            want=tensor([[0.693147, 0.562335]]),
            mistakes={
                "turned the sign": tensor([[-0.693147, -0.562335]]),
                "measured in bits": tensor([[1.0, 0.811278]]),
                "averaged over the vocabulary": tensor([[0.346574, 0.281168]]),
            },
        )
    ],
    "linear_token_logps": [
        Case(
            name="hidden states times the output matrix",
            args={
                "hidden": tensor([[[1.0, 0.0], [0.0, 1.0]]]),
                "weight": tensor([[5.0, 0.0], [5.0, math.log(3)]]),
                "tokens": tensor([[1, 0]]),
            },
            want=tensor([[half, quarter]]),
            mistakes={"transposed the output matrix": tensor([[math.log(1 / (1 + math.exp(5))), -0.020223]])},
        )
    ],
}
