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
    "narrowed": [
        Case(
            name="a temperature of ½ doubles the logits",
            args={"logits": tensor([[1.0, 3.0, 2.0]]), "temperature": 0.5},
            want=tensor([[2.0, 6.0, 4.0]]),
            mistakes={
                "multiplied by the temperature": tensor([[0.5, 1.5, 1.0]]),
                "forgot the temperature": tensor([[1.0, 3.0, 2.0]]),
            },
        ),
        Case(
            name="top-k 2, with a tie at its edge: the first one stays",
            args={"logits": tensor([2.0, 1.0, 3.0, 2.0]), "temperature": 1.0, "top_k": 2},
            want=tensor([2.0, -math.inf, 3.0, -math.inf]),
            mistakes={
                "kept both tokens of the tie": tensor([2.0, -math.inf, 3.0, 2.0]),
                "kept the last one of the tie": tensor([-math.inf, -math.inf, 3.0, 2.0]),
                "returned them sorted": tensor([3.0, 2.0, -math.inf, -math.inf]),
                "kept the least likely": tensor([2.0, 1.0, -math.inf, -math.inf]),
                "put 0 in place of −∞: a token of logit 0 can come": tensor([2.0, 0.0, 3.0, 0.0]),
            },
        ),
        Case(
            name="top-p 0.6 of 0.5, 0.3, 0.2: one alone does not reach it",
            args={"logits": tensor([0.2, 0.5, 0.3]).log(), "temperature": 1.0, "top_p": 0.6},
            want=tensor([-math.inf, half, math.log(0.3)]),
            mistakes={
                "left out the token that crosses p": tensor([-math.inf, half, -math.inf]),
                "kept one token too many": tensor([math.log(0.2), half, math.log(0.3)]),
                "kept tokens of at least p": tensor([-math.inf, -math.inf, -math.inf]),
                "normalised what is left: these are logits": tensor([-math.inf, math.log(0.625), math.log(0.375)]),
                "took p for a number of tokens": tensor([-math.inf, -math.inf, math.log(0.3)]),
            },
        ),
        Case(
            name="temperature ½ (16, 9, 4, 1 of 30), then top-k 3 (of 29), then top-p 0.54",
            args={"logits": tensor([4.0, 3.0, 2.0, 1.0]).log(), "temperature": 0.5, "top_k": 3, "top_p": 0.54},
            want=tensor([math.log(16), -math.inf, -math.inf, -math.inf]),
            mistakes={
                "top-p before top-k": tensor([math.log(16), math.log(9), -math.inf, -math.inf]),
                "forgot the temperature": tensor([math.log(4), math.log(3), -math.inf, -math.inf]),
                "forgot top-p": tensor([math.log(16), math.log(9), math.log(4), -math.inf]),
            },
        ),
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
