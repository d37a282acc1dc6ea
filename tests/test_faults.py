"""A test of the tests: a fault planted in a copy of the project turns `make test` red, and without one it is green."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTER = "chapters/00_start_here.ipynb"
EXPLORER = "rlcore/view/explore/patience.py"
STAMPS = ("bin/python", "torch.done", "lab.done", "test.done")

pytestmark = [
    pytest.mark.plants,
    pytest.mark.skipif(not shutil.which("make"), reason="make is not installed: the planted faults are not tried"),
]


@pytest.fixture
def copy(tmp_path):
    """A copy of the project that imports its own rlcore."""
    away = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".pytest_cache", ".ruff_cache", "*.egg-info")
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=away)


def make(copy, *arguments):
    """Run a part of `make test` in the copy with this Python's packages, installing nothing."""
    ready = [f"--assume-old={sys.prefix}/{stamp}" for stamp in STAMPS]
    command = ["make", *ready, f"VENV={sys.prefix}", "JOBS=1", *arguments]
    ours = ("PYTEST_", "MAKE", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=600)


def plant(copy, file, pattern, replacement):
    """Replace the one place where a pattern occurs first; the fault must be there afterwards."""
    path = copy / file
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert count == 1, f"nothing to plant in {file}: {pattern}"
    path.write_text(text, encoding="utf-8")


def test_without_a_fault_the_copy_is_green_and_prints_the_budget(copy):
    run = make(copy, "notebooks", f"NOTEBOOKS={CHAPTER}")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert re.search(r"00_start_here.ipynb +\d+\.\d s of \d+ s", run.stdout)


@pytest.mark.parametrize(
    ("fault", "pattern", "replacement", "message"),
    [
        ("a wrong number in an output", r"tensor\(1\.5000\)", "tensor(1.6000)", "Cell outputs differ"),
        ("a wrong number in a caption", r"worth 0\.84 today", "worth 0.85 today", "Cell outputs differ"),
        ("an exception", r'"assert doctor.main\(\) == 0"', '"raise RuntimeError()"', "RuntimeError"),
        ("a cell that takes three times the budget", r'"run": \d+', '"run": 0', "its budget is 0 s"),
    ],
)
def test_a_fault_in_a_notebook_turns_the_run_red(copy, fault, pattern, replacement, message):
    plant(copy, CHAPTER, pattern, replacement)
    run = make(copy, "notebooks", f"NOTEBOOKS={CHAPTER}")
    assert run.returncode != 0, f"{fault} was not seen"
    assert message in run.stdout


@pytest.mark.parametrize(
    ("fault", "pattern", "replacement", "message"),
    [
        ("a slider that does nothing", r"gammas, curves = values", "gamma = 0.7; gammas, curves = values", "gamma"),
        ("a slider that fails at its end", r"= \(1 / cake\)", "= (1 / (steps - 12))", "ZeroDivision"),
    ],
)
def test_a_slider_bug_turns_the_run_red(copy, fault, pattern, replacement, message):
    plant(copy, EXPLORER, pattern, replacement)
    run = make(copy, "unit", "TESTS=tests/test_explorers.py -k patience")
    assert run.returncode != 0, f"{fault} was not seen"
    assert message in run.stdout
