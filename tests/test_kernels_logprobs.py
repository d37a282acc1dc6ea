"""rlcore.kernels.logprobs by each of its engines: the answer and the gradient of what it copies, in less memory.

The GPU's engine runs on a GPU; without one it is compiled for one, and interpreted on the CPU in a process of its own.
"""

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlcore import kernels, logprobs
from rlcore.cases import of
from rlcore.check import agrees
from rlcore.kernels import chunked_logprobs
from rlcore.kernels import logprobs as twins

ROOT = Path(__file__).parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ENGINES = ["chunked_logprobs"]
if INTERPRETED:
    ENGINES = ["triton_logprobs"]
elif torch.cuda.is_available() and find_spec("triton"):
    ENGINES += [pytest.param("triton_logprobs", marks=pytest.mark.gpu)]
NAMES = ["token_logps", "entropy", "linear_token_logps"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# one token, a few rows in one chunk, chunks of rows that are not full, rows longer than a chunk, tiles likewise
SHAPES = [(1, 1, 2), (2, 3, 5), (3, 7, 33), (2, 2, 100)]
names = pytest.mark.parametrize("name", NAMES)
# inf − inf, log 0 and rows of NaN, in Triton's interpreter
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{said}:RuntimeWarning")
    for said in ("invalid value", "divide by zero", "All-NaN")
]


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch) -> str:
    """Which module does the work, in small portions; gives the device to test it on."""
    module = import_module(f"rlcore.kernels.{request.param}")
    monkeypatch.setattr(twins, "_engine", lambda device: module)
    if request.param == "triton_logprobs":
        monkeypatch.setattr(module, "BLOCK", 16)
        monkeypatch.setattr(module, "TOKENS", 4)
        monkeypatch.setattr(module, "WORDS", 24)
        return "cpu" if INTERPRETED else "cuda"
    monkeypatch.setattr(module, "CHUNK", 70)
    monkeypatch.setattr(module, "STEPS", module.STEPS._replace(tokens=4, words=12))
    return "cpu"


def given(name: str, shape: tuple[int, int, int] = (3, 7, 33), dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Arguments with which `name` may be called: logits, or hidden states and a matrix; tokens."""
    rows, steps, words = shape
    generator = torch.Generator().manual_seed(words)
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)  # noqa: E731
    tokens = torch.randint(words, (rows, steps), generator=generator)
    if name == "linear_token_logps":
        return [draw(rows, steps, 6).to(dtype), draw(words, 6).to(dtype), tokens]
    return [(3 * draw(rows, steps, words)).to(dtype), *[tokens] * (name == "token_logps")]


def value_and_gradients(function, args: list[Tensor], device: str = "cpu") -> list[Tensor]:
    leaves = [x.to(device, copy=True).requires_grad_(x.is_floating_point()) for x in args]
    got = function(*leaves)
    weights = torch.linspace(-1, 1, got.numel(), dtype=torch.float64).reshape(got.shape).to(got)
    gradients = torch.autograd.grad(got, [x for x in leaves if x.requires_grad], weights)
    assert [x.dtype for x in gradients] == [x.dtype for x in args if x.is_floating_point()]
    return [x.detach().double().cpu() for x in (got, *gradients)]


def off(got: Tensor, want: Tensor) -> float:
    """Root of the mean squared error: the largest error of a few numbers is a matter of luck."""
    return (got - want).square().mean().sqrt().item()


def both(name: str):
    return getattr(logprobs, name), getattr(twins, name)


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in NAMES for case in of(getattr(logprobs, name))],
    ids=lambda x: str(x)[:40],
)
def test_hand_computed_cases_hold(engine, name, case):
    args = {key: arg.to(engine) if isinstance(arg, Tensor) else arg for key, arg in case.args.items()}
    assert agrees(getattr(twins, name)(**args).cpu(), case.want, case.atol)


@names
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_are_the_reference_s_in_float64(engine, name, shape):
    plain, fast = both(name)
    want = value_and_gradients(plain, given(name, shape))
    got = value_and_gradients(fast, given(name, shape), engine)
    for w, g in zip(want, got, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


@names
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 7, 33), (2, 3, 500)], ids=str)
def test_it_errs_at_most_twice_as_much_as_the_reference(engine, name, dtype, shape):
    plain, fast = both(name)
    args = given(name, shape, dtype)
    exact = value_and_gradients(plain, [x.double() if x.is_floating_point() else x for x in args])
    theirs, ours = value_and_gradients(plain, args), value_and_gradients(fast, args, engine)
    for want, reference, got in zip(exact, theirs, ours, strict=True):
        assert off(got, want) <= 2 * off(reference, want) + 1e-6


@names
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_from_half_precision_the_answer_comes_in_float32_and_is_as_exact(name, dtype):
    args = given(name, (2, 3, 500), dtype)
    exact = getattr(logprobs, name)(*[x.double() if x.is_floating_point() else x for x in args])
    got = getattr(twins, name)(*args)
    assert got.dtype is torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", ["token_logps", "entropy"])
def test_sums_over_a_large_vocabulary_keep_their_digits(name):
    """PyTorch's own softmax of as many is off by 1e-5 in the answer and by 4e-6 of the gradient."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 16, 128000, generator=generator)
    tokens = torch.randint(128000, (1, 16), generator=generator)
    plain, fast = both(name)
    args = [tokens] * (name == "token_logps")
    (value, gradient), (got, slopes) = (
        value_and_gradients(f, [x, *args]) for f, x in ((plain, logits.double()), (fast, logits))
    )
    torch.testing.assert_close(got, value, rtol=0, atol=3e-6)
    others = torch.ones_like(gradient).scatter_(-1, tokens[..., None], 0)  # what came is the largest by far
    assert ((slopes - gradient) * others).norm() < 1e-6 * (gradient * others).norm()


@names
def test_first_and_second_derivatives_are_those_of_finite_differences(engine, name):
    args = given(name, (1, 3, 5))
    leaves = [x.to(engine).requires_grad_() for x in args if x.is_floating_point()]
    rest = [x.to(engine) for x in args if not x.is_floating_point()]
    function = lambda *x: getattr(twins, name)(*x, *rest)  # noqa: E731
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)], ids=str)
def test_either_of_hidden_and_weight_may_be_frozen(engine, wanted):
    def gradients(function, device):
        *leaves, tokens = [x.to(device, copy=True) for x in given("linear_token_logps")]
        leaves = [x.requires_grad_(needed) for x, needed in zip(leaves, wanted, strict=True)]
        (function(*leaves, tokens) ** 2).sum().backward()
        return [x.grad for x in leaves]

    plain, fast = both("linear_token_logps")
    for theirs, ours in zip(gradients(plain, "cpu"), gradients(fast, engine), strict=True):
        assert (theirs is None) == (ours is None)
        assert theirs is None or torch.allclose(ours.cpu(), theirs, rtol=1e-11, atol=1e-11)


def test_a_call_without_a_gradient_sums_up_no_slopes_and_one_with_both_walks_twice(engine, monkeypatch):
    module, done = twins.engine(torch.zeros(1)), []
    for name in ("linear_token_logps", "linear_gradient"):
        call = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, name=name, call=call: done.append((name, *args[3:])) or call(*args)
        )
    hidden, weight, tokens = (x.to(engine) for x in given("linear_token_logps"))
    leaf = hidden.clone().requires_grad_()
    with torch.no_grad():
        assert twins.linear_token_logps(leaf, weight, tokens).grad_fn is None
    twins.linear_token_logps(hidden, weight.clone().requires_grad_(), tokens)
    assert done == [("linear_token_logps", False)] * 2
    done.clear()
    twins.linear_token_logps(leaf, weight, tokens).sum().backward()
    assert done == [("linear_token_logps", True)]
    done.clear()
    twins.linear_token_logps(leaf, weight.clone().requires_grad_(), tokens).sum().backward()
    assert [name for name, *_ in done] == ["linear_token_logps", "linear_gradient"]


def special_rows() -> Tensor:
    """Tokens that cannot come, at the start for longer than a block; one that is certain; rows without sense."""
    logits = given("entropy", (1, 8, 40))[0]
    logits[0, 0, :20] = logits[0, 1, 25:] = logits[0, 2, ::3] = -inf
    logits[0, 3, 1:] = -inf
    logits[0, 4, 7] = nan
    logits[0, 5, 7] = inf
    logits[0, 6] = -inf
    logits[0, 7, 9] = 1e300
    return logits


@pytest.mark.parametrize("name", ["token_logps", "entropy"])
@pytest.mark.parametrize("token", [0, 7, 39])
def test_tokens_that_cannot_come_and_rows_without_sense_are_as_in_the_reference(engine, name, token):
    plain, fast = both(name)
    args = [special_rows(), *[torch.full((1, 8), token)] * (name == "token_logps")]
    want, got = value_and_gradients(plain, args), value_and_gradients(fast, args, engine)
    for w, g in zip(want, got, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert torch.isfinite(got[1][0, :4]).all()


def test_a_whole_tile_of_words_that_cannot_come_leaves_the_others_their_numbers(engine):
    hidden, weight, tokens = given("linear_token_logps", (2, 3, 60))
    hidden[..., 0], weight[:30, 0] = 1, -inf
    plain, fast = both("linear_token_logps")
    got = fast(hidden.to(engine), weight.to(engine), tokens.to(engine)).cpu()
    torch.testing.assert_close(got, plain(hidden, weight, tokens))
    assert torch.isfinite(got).any()


def test_a_nan_among_hidden_states_stays_in_its_row(engine):
    args = given("linear_token_logps")
    args[0][1, 2] = nan
    plain, fast = both("linear_token_logps")
    want, got = value_and_gradients(plain, args)[:2], value_and_gradients(fast, args, engine)[:2]
    for w, g in zip(want, got, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-11, equal_nan=True)
    assert torch.isnan(got[0]).sum() == 1


@names
def test_slices_and_turned_tensors_give_the_same(engine, name):
    plain, fast = both(name)
    args = given(name)
    for change in (lambda x: x[:, :-1], lambda x: x[:, 1::2], lambda x: x.mT.contiguous().mT):
        shaped = [x if x.ndim == 2 and x.is_floating_point() else change(x) for x in args]
        want, got = (f(*[x.to(device) for x in shaped]).cpu() for f, device in ((plain, "cpu"), (fast, engine)))
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
        leaves = [[x.to(device, copy=True).requires_grad_() for x in args[:1]] for device in ("cpu", engine)]
        for (leaf,), function in zip(leaves, (plain, fast), strict=True):
            rest = [x.to(leaf.device) for x in shaped[1:]]
            (function(change(leaf), *rest) ** 2).sum().backward()
        torch.testing.assert_close(leaves[1][0].grad.cpu(), leaves[0][0].grad, rtol=1e-11, atol=1e-11)


def test_entropy_takes_any_leading_axes(engine):
    for shape in ((5,), (4, 5), (2, 3, 4, 5), (0, 5)):
        logits = torch.linspace(-2, 2, 5, dtype=torch.float64).expand(shape).clone()
        want, got = (
            value_and_gradients(logprobs.entropy, [logits]),
            value_and_gradients(twins.entropy, [logits], engine),
        )
        for w, g in zip(want, got, strict=True):
            torch.testing.assert_close(g, w)


@names
@pytest.mark.parametrize("shape", [(2, 0, 5), (0, 3, 5)], ids=str)
def test_without_tokens_there_is_nothing_and_no_error(engine, name, shape):
    args = given(name, shape)
    plain, fast = both(name)
    for w, g in zip(value_and_gradients(plain, args), value_and_gradients(fast, args, engine), strict=True):
        assert g.shape == w.shape
        torch.testing.assert_close(g, w)


@names
def test_arguments_are_left_as_they_were(engine, name):
    args = [x.to(engine) for x in given(name)]
    value_and_gradients(getattr(twins, name), args, engine)
    assert all(torch.equal(x.cpu(), y) for x, y in zip(args, given(name), strict=True))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("token_logps", lambda x, y: (x, y + 33), r"tokens holds \d+, expected whole numbers from 0 to 32"),
        ("token_logps", lambda x, y: (x, y - 33), r"tokens holds -\d+, expected whole numbers from 0 to 32"),
        ("token_logps", lambda x, y: (x, y.double()), "tokens has dtype torch.float64, expected torch.int64"),
        ("token_logps", lambda x, y: (x, y[:, 1:]), r"tokens has shape \[3, 6\], expected \[B, T\]"),
        ("entropy", lambda x: (x[0, 0, 0],), r"logits has shape \[\], expected \[..., V\]"),
        ("linear_token_logps", lambda h, w, y: (h, w, y + 33), r"tokens holds \d+, expected whole numbers from 0 to"),
        ("linear_token_logps", lambda h, w, y: (h, w.T, y), r"weight has shape \[6, 33\], expected \[V, H\]"),
        ("linear_token_logps", lambda h, w, y: (h, w, y[1:]), r"tokens has shape \[2, 7\], expected \[B, T\]"),
    ],
)
def test_what_does_not_fit_is_named_as_by_the_reference(engine, name, change, said):
    for function, device in zip(both(name), ("cpu", engine), strict=True):
        with pytest.raises(ValueError, match=said):
            function(*change(*(x.to(device) for x in given(name))))


class Watch(TorchDispatchMode):
    """Bytes of every storage that an operation gives, by its address."""

    def __init__(self):
        super().__init__()
        self.sizes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else [made]:
            if isinstance(x, Tensor):
                self.sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return made


@pytest.mark.parametrize("name", ["token_logps", "entropy"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_of_tensors_as_large_as_the_logits_only_their_gradient_is_made(name, dtype, monkeypatch):
    monkeypatch.setattr(chunked_logprobs, "CHUNK", 1000)
    whole, *tokens = given(name, (4, 25, 500), dtype)
    logits = whole[:, :-1].requires_grad_()
    with Watch() as forward:
        answer = getattr(twins, name)(logits, *[x[:, :-1] for x in tokens])
    with Watch() as backward:
        (gradient,) = torch.autograd.grad(answer, logits, torch.ones_like(answer))
    assert backward.sizes.pop(gradient.untyped_storage().data_ptr()) == logits.numel() * logits.itemsize
    for watch in (forward, backward):
        watch.sizes.pop(whole.untyped_storage().data_ptr(), None)
        assert max(watch.sizes.values()) < whole.nbytes / 10


def test_from_hidden_states_no_tensor_of_all_logits_is_made(monkeypatch):
    monkeypatch.setattr(chunked_logprobs, "STEPS", chunked_logprobs.STEPS._replace(tokens=16, words=40))
    hidden, weight, tokens = given("linear_token_logps", (4, 25, 400))
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    with Watch() as watch:
        logps = twins.linear_token_logps(*leaves, tokens)
        torch.autograd.grad(logps, leaves, torch.ones_like(logps))
    assert 16 * 40 * 8 <= max(watch.sizes.values()) <= weight.nbytes


@names
def test_the_twin_is_chosen_by_name(name):
    plain, fast = both(name)
    assert kernels.best(plain, like=torch.zeros(2, 3, 4)) is fast
    assert kernels.best(plain, like=torch.zeros(2, 3, 4, dtype=torch.bfloat16)) is fast
    assert kernels.best(plain, like=torch.zeros(2, 3, 4, dtype=torch.long)) is plain
    assert kernels.best(logprobs.sequence_logps, like=torch.zeros(2, 3)) is logprobs.sequence_logps


def test_who_works_depends_on_the_device_and_on_what_is_installed(monkeypatch):
    twins._engine.cache_clear()
    assert twins.engine(torch.zeros(1)) is chunked_logprobs
    monkeypatch.setattr(twins, "find_spec", lambda name: None)
    assert twins._engine("cuda") is chunked_logprobs
    twins._engine.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_triton_kernels():
    like = torch.zeros(2, 3, 4, device="cuda")
    assert kernels.best(logprobs.token_logps, like=like) is twins.token_logps
    assert twins.engine(like).__name__ == "rlcore.kernels.triton_logprobs"


@pytest.mark.skipif(not find_spec("triton"), reason="needs Triton")
@pytest.mark.skipif(INTERPRETED, reason="runs this file")
def test_the_gpu_kernels_agree_when_interpreted():
    """In a process of its own: the interpreter is chosen when a kernel is defined."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton_logprobs", __file__],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


KINDS = {  # a Python number that is not passed as a pointer is i32
    "_summary": ["*{x}", "*i64", "*{sum}", "*{sum}"],
    "_gradient": ["*{x}", "*i64", "*{sum}", "*{sum}", "*{sum}", "*{x}"],
    "_online": ["*{sum}", "*{x}", "*{sum}", "*{sum}", "*{sum}"],
}


@pytest.mark.skipif(not find_spec("triton"), reason="needs Triton")
@pytest.mark.skipif(INTERPRETED, reason="there is nothing to compile")
@pytest.mark.parametrize("dtype", ["fp32", "fp64", "bf16"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("entropy", [False, True])
def test_the_gpu_kernels_compile_where_there_is_no_gpu(name, dtype, entropy):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rlcore.kernels import triton_logprobs

    kernel, sums = getattr(triton_logprobs, name), "fp64" if dtype == "fp64" else "fp32"
    kinds = [kind.format(x=dtype, sum=sums) for kind in KINDS[name]]
    parameters = [p.name for p in kernel.params]
    fixed = {"ENTROPY": entropy, "BLOCK": 4096}
    fixed = {key: value for key, value in fixed.items() if key in parameters}
    kinds += ["i32"] * (len(parameters) - len(kinds) - len(fixed)) + ["constexpr"] * len(fixed)
    source = ASTSource(kernel, dict(zip(parameters, kinds, strict=True)), fixed)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert made.asm["cubin"]
    if dtype != "fp64":
        assert "fma.rn.f64" not in made.asm["ptx"]
