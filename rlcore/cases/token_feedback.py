"""Hand-computed cases for rlcore.token_feedback. Chances in tenths and halves."""

import math

from torch import tensor

from rlcore.cases import Case

log2 = math.log(2)
nan = math.nan
mask = tensor([[True, True], [True, False]])

CASES = {
    "unlikelihood_loss": [
        Case(
            name="two tokens, and one with a NaN behind the mask",
            args={"logps": tensor([[math.log(0.5), math.log(0.75)], [math.log(0.5), nan]]), "mask": mask},
            want=tensor([3 * log2, log2]),  # −log ½ − log ¼
            mistakes={
                "took the likelihood": tensor([0.980829, log2]),
                "turned its sign: gradient ascent": tensor([-0.980829, -log2]),
                "averaged over tokens": tensor([1.5 * log2, log2]),
                "multiplied by the mask: 0 · NaN": tensor([3 * log2, nan]),
                "of the whole reply: 1 − π(y)": tensor([0.470004, log2]),
            },
        )
    ],
    "cringe_loss": [
        Case(
            name="the same token in a good and in a bad reply",
            args={
                "logps": tensor([[0.2, 0.2], [0.2, 0.2]]).log(),
                "rival_logps": tensor([[0.6, 0.6], [0.6, 0.6]]).log(),
                "desirable": tensor([True, False]),
                "mask": tensor([[True, False], [True, False]]),
                "weight": 2.0,
            },
            want=tensor([1.609438, 0.575364]),  # log 5, 2 log 4/3
            mistakes={
                "forgot the weight": tensor([1.609438, 0.287682]),
                "weighted the good one as well": tensor([3.218876, 0.575364]),
                "turned the contrast: pushes to the bad token": tensor([1.609438, 2.772589]),
                "gradient ascent on the bad one": tensor([1.609438, -3.218876]),
                "unlikelihood of the bad one": tensor([1.609438, 0.446287]),
                "counted what the mask hides": tensor([3.218876, 1.150728]),
            },
        )
    ],
    "rival_probs": [
        Case(
            name="two best of three others",
            args={"logits": tensor([[4.0, 3.0, 1.0, 2.0]]).log(), "tokens": tensor([0]), "k": 2},
            want=tensor([[0.0, 0.6, 0.0, 0.4]]),
            mistakes={
                "left the token itself in": tensor([[4 / 7, 3 / 7, 0.0, 0.0]]),
                "took all others": tensor([[0.0, 0.5, 1 / 6, 1 / 3]]),
                "took the best alone": tensor([[0.0, 1.0, 0.0, 0.0]]),
                "did not renormalise": tensor([[0.0, 0.3, 0.0, 0.2]]),
            },
        ),
        Case(
            name="the token is not among the best",
            args={"logits": tensor([[4.0, 3.0, 1.0, 2.0]]).log(), "tokens": tensor([2]), "k": 2},
            want=tensor([[4 / 7, 3 / 7, 0.0, 0.0]]),
            mistakes={"took one more, since the token was not there to drop": tensor([[4 / 9, 3 / 9, 0.0, 2 / 9]])},
        ),
    ],
    "pairwise_cringe_gate": [
        Case(
            name="no margin, and one of 20 nats, where 10 are asked for",
            args={
                "chosen_logps": tensor([-10.0, -10.0]),
                "rejected_logps": tensor([-10.0, -30.0]),
                "target": 10.0,
                "temperature": 10.0,
            },
            want=tensor([0.731059, 0.268941]),  # σ(1), σ(−1)
            mistakes={
                "opened it for what is right already": tensor([0.268941, 0.731059]),
                "forgot the target": tensor([0.5, 0.119203]),
                "multiplied by the temperature": tensor([1.0, 0.0]),
                "a hard gate": tensor([1.0, 0.0]),
            },
        )
    ],
}
