"""Is this machine ready? Versions, threads, device, free memory, and what is missing: `python -m rlcore.doctor`."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

import psutil
import torch
from packaging.requirements import Requirement

OPTIONAL = {
    "triton": "GPU kernels",
    "nbval": "the notebook tests",
    "playwright": "the browser tests",
    "quantecon": "the benchmarks' peers",
}


def device() -> torch.device:
    """The device a chapter uses when you do not choose: a CUDA GPU, Apple's GPU, or the CPU.

    >>> device().type in {"cuda", "mps", "cpu"}
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def problems() -> list[str]:
    """What this project requires of its packages and does not find here, a sentence each; empty when all is well."""
    found = []
    for line in requires("rlcore") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": "lab"}):
            continue
        try:
            have = version(need.name)
        except PackageNotFoundError:
            found.append(f"{need.name} is missing, expected {need.name}{need.specifier}")
            continue
        if not need.specifier.contains(have, prereleases=True):
            found.append(f"{need.name} is {have}, expected {need.specifier}")
    return found


def report() -> dict[str, str]:
    """What there is, by name: Python, packages, threads, device, free memory (GiB).

    >>> list(report())[:2]
    ['python', 'torch']
    """
    names = ["torch", "transformers", "matplotlib", "ipywidgets", "jupyterlab"]
    lines = {"python": platform.python_version()}
    lines |= {name: version(name) if find_spec(name) else "missing" for name in names}
    lines["threads"] = f"{torch.get_num_threads()} of {psutil.cpu_count()} cores"
    gpu = f" ({torch.cuda.get_device_name()})" if device().type == "cuda" else ""
    lines["device"] = f"{device()}{gpu}"
    lines["free memory"] = f"{psutil.virtual_memory().available / 2**30:.1f} GiB"
    missing = [f"{name} ({what})" for name, what in OPTIONAL.items() if not find_spec(name)]
    lines["optional, missing"] = ", ".join(missing) or "nothing"
    return lines


def main() -> int:
    """Print the report and the problems; the exit status is the number of problems."""
    for name, value in report().items():
        print(f"{name:18} {value}")
    for problem in (found := problems()):
        print(f"PROBLEM            {problem}")
    print("Ready." if not found else "Not ready: `make lab` installs what is missing; README.md shows it by hand.")
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
