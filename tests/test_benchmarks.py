"""The benchmark runner checks answers before it times them, and says what is missing or wrong."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUP = """
import numpy as np
from benchmarks.measure import Entry, Missing, compare
def gives(x): return lambda: np.array([x])
def absent(): raise Missing("nobody is not installed")
def run(ours): return compare("a problem", np.array([1.0]), 0.1, [Entry("ours", gives(ours), ours=True),
    Entry("wrong peer", gives(2.0)), Entry("nobody", absent), Entry("right peer", gives(1.05))])
"""


def python(code):
    """In a process of its own, because benchmarks set the threads of theirs."""
    return subprocess.run([sys.executable, "-c", SETUP + code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_table_shows_errors_ratios_and_who_is_missing():
    done = python("run(1.0)")
    assert done.returncode == 0, done.stderr
    assert "nobody is not installed" in done.stdout
    assert "best peer / ours:" in done.stdout
    wrong, right = (
        next(line for line in done.stdout.splitlines() if f"{name} peer" in line) for name in ("wrong", "right")
    )
    assert "outside the tolerance: not compared" in wrong
    assert "5.0e-02" in right
    assert "outside" not in right


def test_a_wrong_answer_of_ours_stops_the_benchmark_before_anything_is_timed():
    done = python("run(1.2)")
    assert done.returncode != 0
    assert "a problem: ours is off by 0.2, more than 0.1" in done.stderr
    assert "CPU ms" not in done.stdout


def test_an_unknown_name_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "x"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "no benchmark is called x, expected one of: bellman, control, gae, logprobs, sampling" in done.stderr
