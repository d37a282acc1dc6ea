"""Token log-probabilities against torch.distributions, enumeration and finite differences."""

import itertools
import math

import pytest
import torch
from torch.distributions import Categorical

from rlcore import logprobs


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(seed: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def test_token_logps_are_those_of_torch_distributions():
    logits, tokens = numbers(0, 3, 4, 5), drawn(1, 5, 3, 4)
    torch.testing.assert_close(logprobs.token_logps(logits, tokens), Categorical(logits=logits).log_prob(tokens))


def test_the_gradient_of_token_logps_is_one_hot_minus_policy():
    logits, tokens = numbers(0, 2, 3, 4).requires_grad_(), drawn(1, 4, 2, 3)
    (gradient,) = torch.autograd.grad(logprobs.token_logps(logits, tokens).sum(), logits)
    wanted = torch.nn.functional.one_hot(tokens, 4) - logits.detach().softmax(-1)
    torch.testing.assert_close(gradient, wanted)
    assert torch.autograd.gradcheck(lambda x: logprobs.token_logps(x, tokens), logits)


def test_probabilities_of_all_sequences_sum_to_one():
    """Of two tokens of a vocabulary of three: nine sequences, each scored by its own prefix's logits."""
    first, second = numbers(0, 3), numbers(1, 3, 3)
    tokens = torch.tensor(list(itertools.product(range(3), repeat=2)))
    logits = torch.stack([first.expand(9, 3), second[tokens[:, 0]]], dim=1)
    logps = logprobs.sequence_logps(logprobs.token_logps(logits, tokens), torch.ones(9, 2, dtype=torch.bool))
    assert logps.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_what_is_behind_the_mask_reaches_neither_value_nor_gradient():
    logps = torch.tensor([[-1.0, math.nan], [-2.0, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    summed = logprobs.sequence_logps(logps, mask)
    assert summed.tolist() == [-1.0, -5.0]
    summed.sum().backward()
    assert logps.grad.tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_entropy_is_that_of_torch_distributions_and_its_gradient_that_of_finite_differences():
    logits = numbers(0, 3, 5).requires_grad_()
    torch.testing.assert_close(logprobs.entropy(logits), Categorical(logits=logits).entropy())
    assert torch.autograd.gradcheck(logprobs.entropy, logits)


def test_a_token_that_cannot_come_adds_nothing_to_entropy_and_no_nan_to_its_gradient():
    logits = torch.tensor([0.0, math.log(3), -math.inf], requires_grad=True)
    assert logprobs.entropy(logits).item() == pytest.approx(0.562335, abs=1e-6)
    logprobs.entropy(logits).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 6, 20])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_narrowed_logits_are_those_of_the_definition(temperature, top_k, top_p):
    """One row at a time in plain Python: rank, keep k, keep until the kept share has reached p."""
    logits = numbers(4, 5, 6)
    for row, got in zip(logits.tolist(), logprobs.narrowed(logits, temperature, top_k, top_p).tolist(), strict=True):
        ranked = sorted(range(6), key=lambda token: -row[token])[:top_k]
        weights = [math.exp(row[token] / temperature) for token in ranked]
        kept, reached = [], 0.0
        for token, weight in zip(ranked, weights, strict=True):
            if reached < top_p:
                kept.append(token)
            reached += weight / sum(weights)
        wanted = [row[token] / temperature if token in kept else -math.inf for token in range(6)]
        assert got == pytest.approx(wanted, abs=1e-12)


def test_of_equal_tokens_the_first_are_kept_and_the_input_stays():
    logits = torch.zeros(2, 5)
    kept = logprobs.narrowed(logits, 1.0, top_k=2).isfinite()
    assert kept.tolist() == [[True, True, False, False, False]] * 2
    assert logprobs.narrowed(logits, 1.0, top_p=0.5).isfinite().sum(-1).tolist() == [3, 3]
    assert (logits == 0).all()


@pytest.mark.parametrize("way", [{}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.8}], ids=str)
def test_the_gradient_of_narrowed_logits_is_that_of_finite_differences(way):
    logits, temperature = numbers(5, 3, 6).requires_grad_(), 0.7
    kept = logprobs.narrowed(logits, temperature, **way).isfinite()
    assert torch.autograd.gradcheck(lambda x: logprobs.narrowed(x, temperature, **way)[kept], logits)
    (gradient,) = torch.autograd.grad(logprobs.narrowed(logits, temperature, **way)[kept].sum(), logits)
    torch.testing.assert_close(gradient, kept.double() / temperature)
    tokens = kept.double().argmax(-1)
    logps = logprobs.token_logps(logprobs.narrowed(logits, temperature, **way)[None], tokens[None])
    assert torch.isfinite(torch.autograd.grad(logps.sum(), logits)[0]).all()


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_from_hidden_states_the_same_numbers_come_in_portions_of_any_size(rows, monkeypatch):
    monkeypatch.setattr(logprobs, "ROWS", rows)
    hidden, weight, tokens = numbers(0, 3, 5, 4), numbers(1, 7, 4), drawn(2, 7, 3, 5)
    leaves = [x.requires_grad_() for x in (hidden, weight)]
    upstream = numbers(3, 3, 5)
    ours = logprobs.linear_token_logps(*leaves, tokens)
    plain = Categorical(logits=leaves[0] @ leaves[1].T).log_prob(tokens)
    torch.testing.assert_close(ours, plain)
    for got, wanted in zip(
        torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(plain, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_from_hidden_states_no_tensor_of_all_logits_is_ever_made(monkeypatch):
    monkeypatch.setattr(logprobs, "ROWS", 8)
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            seen.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    with Watch():
        logprobs.linear_token_logps(numbers(0, 4, 16, 2).requires_grad_(), numbers(1, 100, 2), drawn(2, 100, 4, 16))
    assert 8 * 100 <= max(seen) < 4 * 16 * 100


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: logprobs.token_logps(torch.zeros(1, 2, 3), torch.tensor([[0, 3]])), "tokens holds 3, expected whole"),
        (lambda: logprobs.token_logps(torch.zeros(1, 2, 3), torch.tensor([[0, -1]])), "tokens holds -1, expected"),
        (lambda: logprobs.token_logps(torch.zeros(1, 2, 3), torch.zeros(1, 2)), "tokens has dtype torch.float32"),
        (lambda: logprobs.token_logps(torch.zeros(1, 2, 3), torch.zeros(1, 3)), r"tokens has shape \[1, 3\]"),
        (lambda: logprobs.sequence_logps(torch.zeros(1, 2), torch.ones(1, 2)), "mask has dtype torch.float32"),
        (lambda: logprobs.narrowed(torch.zeros(3), temperature=0), "temperature is 0, expected"),
        (lambda: logprobs.narrowed(torch.zeros(3), temperature=1, top_k=0), "top_k is 0"),
        (lambda: logprobs.narrowed(torch.zeros(3), temperature=1, top_k=1.5), "top_k is 1.5"),
        (lambda: logprobs.narrowed(torch.zeros(3), temperature=1, top_p=0), "top_p is 0, expected"),
        (lambda: logprobs.narrowed(torch.zeros(3), temperature=1, top_p=1.1), "top_p is 1.1"),
        (
            lambda: logprobs.linear_token_logps(torch.zeros(1, 2, 3), torch.zeros(5, 4), torch.zeros(1, 2).long()),
            r"weight has shape \[5, 4\], expected \[V, H\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
