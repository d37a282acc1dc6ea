"""A case that cannot tell a mistake from the right answer is no case."""

import importlib
import pkgutil

import pytest

from rlcore import cases
from rlcore.check import agrees

ALL = [
    pytest.param(getattr(importlib.import_module(f"rlcore.{module.name}"), name), case, id=f"{name}: {case.name}")
    for module in pkgutil.iter_modules(cases.__path__)
    for name, listed in importlib.import_module(f"rlcore.cases.{module.name}").CASES.items()
    for case in listed
]


@pytest.mark.parametrize(("function", "case"), ALL)
def test_rlcore_gives_what_was_worked_by_hand(function, case):
    assert agrees(function(**case.args), case.want, case.atol)


@pytest.mark.parametrize(("function", "case"), ALL)
def test_each_mistake_is_told_apart_from_the_right_answer(function, case):
    for mistake, value in case.mistakes.items():
        assert not agrees(value, case.want, case.atol), mistake


@pytest.mark.parametrize("function", dict.fromkeys(param.values[0] for param in ALL), ids=lambda f: f.__name__)
def test_every_function_with_cases_names_at_least_one_mistake(function):
    assert any(case.mistakes for case in cases.of(function))
