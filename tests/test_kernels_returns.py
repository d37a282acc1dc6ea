"""rlcore.kernels.returns by each of its engines: the answer and the gradient of what it copies, and nothing done twice.

The GPU's engine runs on a GPU; without one it is compiled for one, and interpreted on the CPU in a process of its own.
"""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlcore import kernels, returns
from rlcore.cases import of
from rlcore.check import agrees
from rlcore.kernels import returns as twins

ROOT = Path(__file__).parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ENGINES = ["blocked", *["numba_scan"] * bool(find_spec("numba"))]
if INTERPRETED:
    ENGINES = ["triton_scan"]
elif torch.cuda.is_available():
    ENGINES += [pytest.param("triton_scan", marks=pytest.mark.gpu)]
PAIRS = [(getattr(returns, name), getattr(twins, name)) for name in ("discounted_returns", "gae", "lambda_returns")]
# one step, one row, around one block of 32 steps, two, blocks of blocks, chunks and row blocks that are not full
SHAPES = [(1, 1), (1, 65), (3, 33), (70, 3)]
SHAPES += [] if INTERPRETED else [(3, 1), (1, 2), (1, 31), (3, 32), (3, 64), (2, 1024), (3, 2500)]
pairs = pytest.mark.parametrize(("plain", "fast"), PAIRS, ids=lambda f: f.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf − inf, in Triton's interpreter


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch) -> str:
    """Which module walks the rows, whatever `best` would choose; gives the device to test it on."""
    module = import_module(f"rlcore.kernels.{request.param}")
    monkeypatch.setattr(twins, "_engine", lambda device, dtype: module)
    if request.param != "triton_scan":
        return "cpu"
    monkeypatch.setattr(module, "TILE", 32)  # several chunks in few steps
    return "cpu" if INTERPRETED else "cuda"


def steps(length: int, dtype=torch.float64, rows: int = 3, ends: float = 0.05) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    chance, gammas = (torch.rand(rows, length, generator=generator, dtype=torch.float64) for _ in range(2))
    discounts = torch.where(chance < ends, 0, 0.9 + gammas / 10)
    made = {"rewards": draw(rows, length), "discounts": discounts, "values": draw(rows, length + 1)}
    return {name: row.to(dtype) for name, row in made.items()}


def call(function, rows: dict[str, Tensor]) -> Tensor:
    known = {**rows, "bootstrap": rows["values"][:, -1], "lam": 0.95}
    return function(**{name: known[name] for name in inspect.signature(function).parameters})


def value_and_gradients(function, rows: dict[str, Tensor], dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    leaves = {name: row.to(device, dtype, copy=True).requires_grad_() for name, row in rows.items()}
    got = call(function, leaves)
    weights = torch.linspace(-1, 1, got.numel(), dtype=torch.float64).reshape(got.shape).to(got)
    gradients = torch.autograd.grad(got, list(leaves.values()), weights)
    return [x.detach().double().cpu() for x in (got, *gradients)]


def off(got: Tensor, want: Tensor) -> float:
    """Root of the mean squared error: the largest error of a few numbers is a matter of luck."""
    return (got - want).square().mean().sqrt().item()


def errs_at_most_twice_as_much(plain, fast, dtype: torch.dtype, shape: tuple[int, int], device: str) -> None:
    given = {name: row.to(dtype).double() for name, row in steps(shape[1], rows=shape[0]).items()}
    exact = value_and_gradients(plain, given, torch.float64)
    theirs, ours = value_and_gradients(plain, given, dtype), value_and_gradients(fast, given, dtype, device)
    for name, want, reference, got in zip(("value", *given), exact, theirs, ours, strict=True):
        assert off(got, want) <= 2 * off(reference, want) + 1e-6, name


@pytest.mark.parametrize(("plain", "fast", "case"), [(p, f, case) for p, f in PAIRS for case in of(p)])
def test_hand_computed_cases_hold(engine, plain, fast, case):
    args = {name: arg.to(engine) if isinstance(arg, Tensor) else arg for name, arg in case.args.items()}
    assert agrees(fast(**args).cpu(), case.want, case.atol)


@pairs
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_are_the_reference_s_in_float64(engine, plain, fast, shape):
    rows, length = shape
    given = steps(length, rows=rows)
    want = value_and_gradients(plain, given, torch.float64)
    got = value_and_gradients(fast, given, torch.float64, engine)
    for w, g in zip(want, got, strict=True):
        assert torch.allclose(g, w, rtol=1e-12, atol=1e-12)


@pairs
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_errs_at_most_twice_as_much_as_the_reference(engine, plain, fast, shape):
    errs_at_most_twice_as_much(plain, fast, torch.float32, shape, engine)


@pairs
@pytest.mark.parametrize("length", [100, 2500])
def test_so_it_does_in_bfloat16(plain, fast, length):
    assert twins.engine(torch.zeros(1, dtype=torch.bfloat16)).__name__ == "rlcore.kernels.blocked"
    errs_at_most_twice_as_much(plain, fast, torch.bfloat16, (8, length), "cpu")


@pytest.mark.parametrize("length", [3, 40])
def test_gradients_are_those_of_finite_differences_and_so_are_theirs(engine, length):
    rows = [row.to(engine).requires_grad_() for row in steps(length, rows=1, ends=0).values()]
    for function in (lambda r, d, v: twins.gae(r, d, v, 0.9), lambda r, d, v: twins.recurrence(r, d, v[:, -1])):
        assert torch.autograd.gradcheck(function, rows, fast_mode=length > 3)
        assert torch.autograd.gradgradcheck(function, rows, fast_mode=length > 3)


@pairs
@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3)), ids=str)
def test_any_of_the_arguments_may_need_a_gradient(engine, plain, fast, wanted):
    def gradients(function, device):
        leaves = {
            name: row.to(device, copy=True).requires_grad_(want)
            for (name, row), want in zip(steps(40).items(), wanted, strict=True)
        }
        got = call(function, leaves)
        assert got.requires_grad == any(wanted[:2] + wanted[2:])
        if got.requires_grad:
            (got**2).sum().backward()
        return [leaf.grad for leaf in leaves.values()]

    for theirs, ours in zip(gradients(plain, "cpu"), gradients(fast, engine), strict=True):
        assert (theirs is None) == (ours is None)
        assert theirs is None or torch.allclose(ours.cpu(), theirs, rtol=1e-11, atol=1e-11)


@pairs
def test_nothing_is_walked_twice(engine, plain, fast, monkeypatch):
    walked = []
    module = twins.engine(torch.zeros(1))
    scan = module.scan
    monkeypatch.setattr(module, "scan", lambda *args: walked.append(1) or scan(*args))
    rows = {name: row.to(engine) for name, row in steps(40).items()}
    call(fast, rows)
    assert len(walked) == 1
    with torch.no_grad():
        assert call(fast, {name: row.clone().requires_grad_() for name, row in rows.items()}).grad_fn is None
    assert len(walked) == 2
    call(fast, {**rows, "rewards": rows["rewards"].clone().requires_grad_()}).sum().backward()
    assert len(walked) == 4


@pairs
@pytest.mark.parametrize("poison", [nan, inf, 1e300])
@pytest.mark.parametrize("end", [0, 40, 58])
def test_nothing_behind_an_end_reaches_back_over_it(engine, plain, fast, poison, end):
    rows = steps(60)
    rows["discounts"][:, end] = 0
    clean = call(plain, rows)[:, : end + 1]
    leaves = {name: row.clone() for name, row in rows.items()}
    leaves["rewards"][:, end + 1 :] = leaves["values"][:, end + 1 :] = poison
    leaves = {name: row.to(engine).requires_grad_() for name, row in leaves.items()}
    got = call(fast, leaves)[:, : end + 1]
    assert torch.allclose(got.cpu(), clean, rtol=0, atol=1e-12)
    got.sum().backward()
    for name in ("rewards", "values"):
        assert torch.isfinite(leaves[name].grad).all(), name
        assert (leaves[name].grad[:, end + 1 :] == 0).all(), name
    assert torch.isfinite(leaves["discounts"].grad[:, : end + 1]).all()


def test_a_gradient_that_is_not_finite_does_not_cross_an_end_either(engine):
    x = torch.zeros(1, 100, requires_grad=True, device=engine)
    keep = torch.full((1, 100), 0.5, device=engine)
    keep[0, 49] = 0
    grad = torch.zeros(1, 100, device=engine)
    grad[0, 10] = nan
    (got,) = torch.autograd.grad(twins.recurrence(x, keep, torch.zeros(1, device=engine)), x, grad)
    assert torch.isnan(got[0, 10:50]).all()
    assert (got[0, 50:] == 0).all()
    assert (got[0, :10] == 0).all()


def test_nor_does_one_that_comes_in_at_the_end_itself(engine):
    values = torch.zeros(1, 41, requires_grad=True, device=engine)
    discounts = torch.full((1, 40), 0.5, device=engine)
    discounts[0, 20] = 0
    grad = torch.zeros(1, 40, device=engine)
    grad[0, 20] = nan
    (got,) = torch.autograd.grad(twins.gae(torch.zeros(1, 40, device=engine), discounts, values, 0.9), values, grad)
    assert torch.isnan(got[0, 20])
    assert (got[0, 21:] == 0).all()


def test_a_product_too_small_for_its_dtype_is_no_end(engine):
    keep = torch.full((2, 60), 1e-6, device=engine)
    got = twins.recurrence(torch.ones(2, 60, device=engine), keep, torch.tensor([nan, 0.0], device=engine))
    assert torch.isnan(got[0]).all()
    assert torch.allclose(got[1].cpu(), torch.tensor(1 + 1e-6))


@pairs
def test_rows_that_are_not_contiguous_and_mixed_dtypes_give_the_same(engine, plain, fast):
    rows = steps(60)
    turned = {name: row.to(engine).t().contiguous().t() for name, row in rows.items()}
    assert torch.allclose(call(fast, turned).cpu(), call(plain, rows), atol=1e-12)
    mixed = {**rows, "rewards": rows["rewards"].float(), "discounts": rows["discounts"] > 0}
    got, want = call(fast, {name: row.to(engine) for name, row in mixed.items()}), call(plain, mixed)
    assert torch.allclose(got.cpu(), want, atol=1e-12)
    assert got.dtype is want.dtype


@pairs
def test_arguments_are_left_as_they_were(engine, plain, fast):
    for length in (5, 60):
        rows = {name: row.to(engine) for name, row in steps(length).items()}
        call(fast, rows)
        assert all(torch.equal(row.cpu(), steps(length)[name]) for name, row in rows.items())


@pairs
@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("discounts", (0, 0), 1.5, r"discounts is 1.5, expected a number in \[0, 1\]"),
        ("discounts", (0, 59), -0.5, r"discounts is -0.5, expected a number in \[0, 1\]"),
        ("discounts", (2, 30), nan, r"discounts is nan, expected a number in \[0, 1\]"),
        ("rewards", (0, 0), nan, r"rewards holds nan at index \[0, 0\], expected finite numbers"),
        ("rewards", (2, 59), -inf, r"rewards holds -inf at index \[2, 59\], expected finite numbers"),
        ("values", (1, 60), inf, r"(values|bootstrap) holds inf at index \[1, \d+\], expected finite numbers"),
    ],
)
def test_bad_numbers_are_named_as_by_the_reference(engine, plain, fast, name, place, value, message):
    rows = steps(60, ends=0)
    rows[name][place] = value
    for function, device in ((plain, "cpu"), (fast, engine)):
        with pytest.raises(ValueError, match=message):
            call(function, {name: row.to(device) for name, row in rows.items()})


@pairs
def test_wrong_shapes_are_named_as_by_the_reference(engine, plain, fast):
    rows = {name: row.to(engine) for name, row in steps(5).items()}
    empty = {"rewards": rows["rewards"][:, :0], "discounts": rows["discounts"][:, :0], "values": rows["values"][:, :1]}
    rows["discounts"] = rows["discounts"][:, :4]
    for function in (plain, fast):
        with pytest.raises(ValueError, match=r"discounts has shape \[3, 4\], expected \[B, T\] with B=3, T=5"):
            call(function, rows)
        with pytest.raises(ValueError, match=r"rewards has shape \[3, 0\], expected at least one row and one step"):
            call(function, empty)


@pytest.mark.parametrize("lam", [0, 1, 0.3])
def test_lam_is_as_exact_as_the_numbers(engine, lam):
    rows = steps(40)
    got = twins.gae(*(row.to(engine) for row in rows.values()), lam)
    assert torch.allclose(got.cpu(), returns.gae(**rows, lam=lam), rtol=1e-13, atol=1e-13)


@pytest.mark.skipif(not find_spec("numba"), reason="needs numba")
def test_a_cpu_gets_the_compiled_loop_whatever_triton_s_interpreter_could_do(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    twins._engine.cache_clear()
    for dtype in (torch.float32, torch.float64):
        assert twins.engine(torch.zeros(1, dtype=dtype)).__name__ == "rlcore.kernels.numba_scan"


def test_without_numba_and_triton_there_are_blocks(monkeypatch):
    monkeypatch.setattr(twins, "find_spec", lambda name: None)
    twins._engine.cache_clear()
    assert {twins._engine(device, torch.float32).__name__ for device in ("cpu", "cuda")} == {"rlcore.kernels.blocked"}
    twins._engine.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_triton_kernel():
    like = torch.zeros(2, 3, device="cuda")
    assert kernels.best(returns.gae, like=like) is twins.gae
    assert twins.engine(like).__name__ == "rlcore.kernels.triton_scan"


def test_choosing_a_twin_imports_no_compiler_and_calling_it_leaves_torch_its_threads():
    code = """
import sys, torch
from rlcore import kernels, returns
torch.set_num_threads(2)
gae = kernels.best(returns.gae, like=torch.zeros(2, 3))
assert not {"numba", "triton"} & set(sys.modules), "imported at once"
gae(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 4), 0.9)
assert torch.get_num_threads() == 2
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.skipif(not find_spec("triton"), reason="needs Triton")
@pytest.mark.skipif(INTERPRETED, reason="runs this file")
def test_the_gpu_kernel_agrees_when_interpreted():
    """In a process of its own: the interpreter is chosen when a kernel is defined."""
    some = "triton_scan and not discounted_returns and not lambda_returns and not finite_differences"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", some, __file__],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.skipif(not find_spec("triton"), reason="needs Triton")
@pytest.mark.skipif(INTERPRETED, reason="there is nothing to compile")
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_the_gpu_kernel_compiles_where_there_is_no_gpu(dtype):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rlcore.kernels import triton_scan

    kinds = [*[f"*{dtype}"] * 4, "*i32", "i32", "i32", "fp32", "constexpr", "constexpr"]  # a Python number is fp32
    kernel = triton_scan._walk
    signature = {p.name: p.annotation_type or kind for p, kind in zip(kernel.params, kinds, strict=True)}
    assert signature["lam"] == "fp64"
    source = ASTSource(kernel, signature, {"BLOCK": 2, "CHUNK": 512})
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert made.asm["cubin"]
    if dtype == "fp32":
        assert "fma.rn.f64" not in made.asm["ptx"]  # lam comes as float64, the work does not
