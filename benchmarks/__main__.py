"""Run the benchmarks named on the command line, or all of them."""

import importlib
import pkgutil
import sys
import time

import benchmarks
from benchmarks import measure

HELPERS = {"__main__", "measure"}


def main(names: list[str]) -> None:
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in HELPERS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no benchmark is called {unknown[0]}, expected one of: {', '.join(known)}")
    for name in names or known:
        module, started = importlib.import_module(f"benchmarks.{name}"), time.perf_counter()
        measure.start()
        print(f"\n## {name}\n\n{module.__doc__.strip()}\n")
        module.run()
        print(f"{name}: {time.perf_counter() - started:.0f} s, peak {measure.peak_above_start()} above the imports\n")


main(sys.argv[1:])
