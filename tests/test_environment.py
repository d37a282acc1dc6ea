"""pyproject.toml, constraints.txt, environment.yml and the Makefile tell the same story."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from rlcore import doctor

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
REQUIRED = [Requirement(line) for line in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])]


def test_every_package_asked_for_is_pinned_to_a_version_it_may_have():
    for requirement in REQUIRED:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} but {pin} is pinned"


def test_every_line_of_the_constraints_is_an_exact_pin():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(PINS)


def test_the_packages_the_course_is_made_of_are_asked_for():
    names = {requirement.name for requirement in REQUIRED}
    assert {"jupyter", "torch", "transformers", "matplotlib", "ipywidgets", "nbval"} <= names


def test_python_311_to_313_torch_211_to_213_and_transformers_5_are_admitted():
    asked = {requirement.name: requirement.specifier for requirement in REQUIRED}
    python = SpecifierSet(PROJECT["requires-python"])
    assert [v for v in ("3.10", "3.11", "3.12", "3.13", "3.14") if python.contains(v)] == ["3.11", "3.12", "3.13"]
    assert all(asked["torch"].contains(v) for v in ("2.11.0", "2.12.0", "2.13.0+cpu"))
    assert all(asked["transformers"].contains(v) for v in ("5.0.0", "5.23.0"))
    assert not asked["transformers"].contains("6.0.0")


def test_conda_installs_python_and_then_this_project_with_the_same_constraints():
    python, pip, packages = CONDA["dependencies"]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert packages["pip"] == ["--constraint constraints.txt", "--editable .[lab]"]
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]


def test_the_makefile_asks_for_extras_that_exist():
    lists = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text())
    assert set(",".join(lists).split(",")) == set(PROJECT["optional-dependencies"])


def test_no_file_names_a_package_index():
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", "README.md"):
        assert not re.search(r"(extra-)?index-url\s+http|pypi\.org|download\.pytorch", (ROOT / name).read_text()), name


def test_the_doctor_finds_nothing_wrong_here():
    assert doctor.problems() == []


def test_the_doctor_names_what_is_missing_and_what_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda _: ["no-such-package>=1", "torch>=99", 'x; extra == "bench"'])
    missing, old = doctor.problems()
    assert missing == "no-such-package is missing, expected no-such-package>=1"
    assert re.fullmatch(r"torch is 2\.\S+, expected >=99", old)


def test_the_doctor_prints_a_line_per_part(capsys):
    assert doctor.main() == 0
    out = capsys.readouterr().out
    for part in ("python", "torch", "transformers", "threads", "device", "free memory", "optional, missing", "Ready."):
        assert part in out


def test_the_readme_shows_the_commands_of_the_makefile():
    """What `make` runs stands in the README for who has no make; $(RUN) is a Python's -m."""
    recipe = (ROOT / "Makefile").read_text().replace("$(or $(NOTEBOOKS),chapters)", "chapters").replace("$(JOBS)", "2")
    commands = re.findall(r"^\t\$\(RUN\) (.+)$", recipe, re.MULTILINE)
    plain = [re.sub(r"\s*\$\((?:if .*?\)\),--allow-root\)|\w+\))", "", command) for command in commands]
    page = (ROOT / "README.md").read_text()
    assert len(plain) >= 9
    for command in plain:
        assert f"python -m {command}" in page, command
