"""The house has floors: a module imports only from lower ones."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "rlcore"
FLOOR_0 = {"shapes", "masked"}
FLOOR_2 = {"kernels", "worlds", "lm"}
FLOOR_3 = {"loops"}
FLOOR_4 = {"view", "check", "doctor"}
FLOOR_1_SIBLINGS = 1  # an equation may share one quantity with one sibling
MODULES = sorted(ROOT.rglob("*.py"))


def room(module: str) -> str:
    """rlcore.view.style → view"""
    return module.split(".")[1] if "." in module else ""


def floor(name: str) -> int:
    for number, rooms in ((0, FLOOR_0), (2, FLOOR_2), (3, FLOOR_3), (4, FLOOR_4)):
        if name in rooms:
            return number
    return 1


def imported(source: str) -> set[str]:
    """Full names of the rlcore modules that a source imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            deeper = node.module == "rlcore" or node.module.count(".") == 1
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if deeper else {node.module}
    return {name for name in names if name.startswith("rlcore.")}


def violations(name: str, source: str) -> list[str]:
    """What a module called rlcore.<name> imports and must not."""
    here, others = room(f"rlcore.{name}"), {room(module) for module in imported(source)}
    if here == "cases":  # examples may build their arguments with the module they belong to
        here = name.removeprefix("cases.")
        others -= {"cases", here}
    above = [other for other in others - {here} if floor(other) > floor(here)]
    siblings = [other for other in others - {here, "cases"} if floor(other) == floor(here) == 1]
    return above + (siblings if len(siblings) > FLOOR_1_SIBLINGS else [])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_floors(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert violations(name, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("mdp", "from rlcore.view import style", ["view"]),
        ("shapes", "def f():\n    import rlcore.mdp", ["mdp"]),
        ("grpo", "from rlcore import kl, returns", ["kl", "returns"]),
        ("grpo", "from rlcore import kl, shapes", []),
        ("cases.mdp", "from rlcore.mdp import MDP", []),
        ("worlds.phrases", "from rlcore.loops import ppo", ["loops"]),
    ],
)
def test_an_import_upstairs_is_seen(name, source, found):
    assert sorted(violations(name, source)) == found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_is_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent == ROOT], ids=lambda path: path.name)
def test_a_function_of_the_lower_floors_fits_on_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 25, f"{path.name}: {node.name} has {lines} lines"
