"""From scripts to figures: `python -m figures.build` draws all, `python -m figures.build 01` one chapter's.

`figures/make/NN_slug.py` has one function, `draw() -> Figure`, captioned; its picture is `figures/NN_slug.svg`.
Drawn twice with the same fonts, it is the same bytes.
"""

import importlib.util
import sys
from pathlib import Path

from matplotlib.figure import Figure

from rlcore.view import plots

HERE = Path(__file__).parent


def scripts(wanted: list[str] = ()) -> list[Path]:
    """The figure scripts whose names begin with one of the given numbers; all when none is given."""
    return [path for path in sorted((HERE / "make").glob("*.py")) if not wanted or path.name[:2] in wanted]


def draw(script: Path) -> Figure:
    """Run a script's `draw`."""
    spec = importlib.util.spec_from_file_location(f"figure_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.draw()


if __name__ == "__main__":
    for script in scripts(sys.argv[1:]):
        plots.save_svg(draw(script), HERE / f"{script.stem}.svg")
        print(f"figures/{script.stem}.svg")
