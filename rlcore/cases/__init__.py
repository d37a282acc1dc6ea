"""Worked by hand: for each function a few small examples, and what the usual mistakes would give instead.

One list serves three readers: `check.same` in a notebook, pytest, and the eye. `rlcore/cases/<module>.py` holds
`CASES = {"function name": [Case(...), ...]}`; `of(function)` finds them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Case:
    """One hand-computed example.

    Args:
        name:     what is special about it, in a few words.
        args:     keyword arguments of the function.
        want:     what it should return: a tensor, a number, or a tuple of them.
        mistakes: what usual mistakes return, by the mistake's name ("forgot the discount").
        atol:     absolute tolerance, in the units of want.
    """

    name: str
    args: dict[str, Any]
    want: Any
    mistakes: dict[str, Any] = field(default_factory=dict)
    atol: float = 1e-5


def of(function: Callable) -> list[Case]:
    """The hand-computed cases of an rlcore function.

    Raises: ValueError when it has none.

    >>> from rlcore import masked
    >>> [case.name for case in of(masked.mean_over_tokens)]
    ['three real tokens in two sequences', 'a NaN behind the mask stays there']
    """
    module, name = function.__module__.removeprefix("rlcore."), function.__name__
    try:
        return import_module(f"rlcore.cases.{module}").CASES[name]
    except (ModuleNotFoundError, KeyError):
        raise ValueError(f"{module}.{name} has no cases, expected a list of them in rlcore/cases/{module}.py") from None
