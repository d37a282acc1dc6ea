"""How long, how wrong, how much memory? One row per solver, timed in turns: a busy machine is then unfair to nobody.

Time is CPU time of the process, the minimum over several runs. Memory is the highest resident size during a run above
the size before it, where Linux tells. Answers are checked first: rlcore's must be within tolerance or the benchmark
stops; a peer's that is not keeps its row, with its error, and takes no part in the comparison.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks import THREADS

BUDGET = 1.5  # seconds of repetitions for each solver
_memory = {"start": 0, "peak": 0}


class Missing(Exception):
    """A peer is not installed, or takes minutes here."""


@dataclass
class Entry:
    """A solver in the table.

    Args:
        name: as printed.
        run:  gives the answer, an array; raises Missing where it cannot.
        ours: whether it is rlcore's.
        note: printed after the name.
    """

    name: str
    run: Callable[[], np.ndarray]
    ours: bool = False
    note: str = ""
    times: list[float] = field(default_factory=list)
    error: float = float("nan")
    memory: int | None = None
    missing: str = ""

    def once(self) -> np.ndarray:
        """One timed run."""
        torch.set_num_threads(THREADS)  # QuantEcon's import and Numba's first call change it
        started = time.process_time()
        answer = self.run()
        self.times.append(time.process_time() - started)
        return np.asarray(answer)


def start() -> None:
    """Call after the imports: memory is counted from here."""
    _memory.update(start=_resident("VmRSS"), peak=0)


def compare(problem: str, reference: np.ndarray, tol: float, entries: list[Entry], budget: float = BUDGET) -> float:
    """Print the table of one problem.

    Args:
        problem:   its name.
        reference: the answer in float64.
        tol:       how far an answer may be from it, in the largest entry.
        entries:   the first of ours is the one the ratios speak of.
        budget:    seconds of repetitions for each of them.
    Returns: time of the best peer over ours; above 1, ours is faster.
    Raises:  SystemExit when one of ours is not within tol.
    """
    for entry in entries:
        _check(entry, reference, tol, problem)
    running = [entry for entry in entries if not entry.missing]
    rounds = 1
    while rounds < 30 and any(sum(entry.times[1:]) + entry.times[-1] < budget for entry in running):
        for entry in running:
            if sum(entry.times[1:]) + entry.times[-1] < budget:
                entry.once()
        rounds += 1
    return _table(problem, entries, tol)


def peak_above_start() -> str:
    """The largest resident size since start, less the size then."""
    peak = max(_memory["peak"], _resident("VmHWM"))
    return f"{(peak - _memory['start']) / 1024:.0f} MB" if peak else "unknown"


def _check(entry: Entry, reference: np.ndarray, tol: float, problem: str) -> None:
    _give_back()
    _memory["peak"], before = max(_memory["peak"], _resident("VmHWM")), _resident("VmRSS")
    reset = _reset_peak()
    try:
        answer = entry.once()
    except Missing as reason:
        entry.missing = str(reason)
        return
    entry.memory = _resident("VmHWM") - before if reset else None
    entry.error = float(np.abs(answer - reference).max())
    if entry.ours and not entry.error <= tol:
        raise SystemExit(f"{problem}: {entry.name} is off by {entry.error:.2g}, more than {tol:g}")


def _table(problem: str, entries: list[Entry], tol: float) -> float:
    ours = next(entry for entry in entries if entry.ours)
    peers = [min(e.times) for e in entries if not e.ours and not e.missing and e.error <= tol]
    print(f"{problem}\n  {'solver':<58}{'CPU ms':>9}{'runs':>6}{'ratio':>8}{'error':>10}{'memory MB':>11}")
    for entry in entries:
        name = f"{entry.name}{', ' * bool(entry.note)}{entry.note}"
        if entry.missing:
            print(f"  {name:<58}{'–':>9}   {entry.missing}")
            continue
        memory = "–" if entry.memory is None else f"{entry.memory / 1024:.1f}"
        print(
            f"  {name:<58}{min(entry.times) * 1e3:>9.1f}{len(entry.times):>6}"
            f"{min(entry.times) / min(ours.times):>8.2f}{entry.error:>10.1e}{memory:>11}"
            f"{'   outside the tolerance: not compared' * (not entry.error <= tol)}"
        )
    ratio = min(peers) / min(ours.times) if peers else float("nan")
    print(f"  best peer / ours: {ratio:.2f}\n", flush=True)
    return ratio


def _resident(field: str) -> int:
    """A line of /proc/self/status in kB, 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def _give_back() -> None:
    """Pages that are free but still this process's would be used without being counted."""
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
