"""Did I write it right? Your function against hand-computed cases, and a quiz.

`same` compares and names the usual mistake; `exercise` lets rlcore's version stand in until you have written yours;
`answer` checks a number; `show` prints the source that rlcore runs; `quiz` asks. Left out: grades, and anything that
hides an error.
"""

import dis
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlcore import cases
from rlcore.cases import Case

_EMPTY_BODY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


class CheckFailed(AssertionError):
    """Your function disagrees with a hand-computed case. Jupyter shows the message without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def same(yours: Callable, reference: Callable) -> None:
    """Run your function on the hand-computed cases of rlcore's function, and say how it went.

    Args:
        yours:     your function, with the reference's argument names.
        reference: a function of rlcore that has cases.
    Raises: CheckFailed at the first case that disagrees: yours, wanted, and what the mistake looks like.

    >>> from rlcore import masked
    >>> same(masked.mean_over_tokens, masked.mean_over_tokens)
    mean_over_tokens: 2 hand-computed cases agree
    >>> same(lambda x, mask: (x * mask).sum() / mask.numel(), masked.mean_over_tokens)
    Traceback (most recent call last):
    ...
    rlcore.check.CheckFailed: mean_over_tokens disagrees in the case "three real tokens in two sequences"
      yours       tensor(2.2500)
      wanted      tensor(3.)
      looks like  zeroed the padding but still divided by it
    """
    listed = cases.of(reference)
    for case in listed:
        try:
            got = yours(**case.args)
        except Exception as error:
            error.add_note(f'while checking {reference.__name__} in the case "{case.name}"')
            raise
        if not agrees(got, case.want, case.atol):
            raise CheckFailed(_message(reference.__name__, case, got))
    count = f"{len(listed)} hand-computed case{'s' * (len(listed) > 1)} agree{'s' * (len(listed) == 1)}"
    print(f"{reference.__name__}: {count}")


def exercise(reference: Callable) -> Callable[[Callable], Callable]:
    """Decorate your function: unwritten, rlcore's version stands in; written, it is checked.

    Args:
        reference: the function of rlcore that yours should equal.
    Returns: a decorator that gives back the reference or your checked function.
    Raises:  CheckFailed when yours is written and disagrees with a case.

    >>> from rlcore import masked
    >>> @exercise(masked.mean_over_tokens)
    ... def mean_over_tokens(x, mask):
    ...     ...
    mean_over_tokens is not written yet: rlcore's version stands in
    >>> mean_over_tokens is masked.mean_over_tokens
    True
    """

    def decorate(yours: Callable) -> Callable:
        if _unwritten(yours):
            print(f"{yours.__name__} is not written yet: rlcore's version stands in")
            return reference
        same(yours, reference)
        return yours

    return decorate


def answer(yours: Any, want: float, atol: float, mistakes: dict[str, float] | None = None) -> None:
    """Check the number that answers an exercise; `...` is no answer yet.

    Args:
        yours:    your answer.
        want:     the right one.
        atol:     absolute tolerance.
        mistakes: what usual mistakes give, by the mistake's name.
    Raises: CheckFailed when yours is another number; the right one is not told.

    >>> answer(..., 0.4, atol=0.01)
    not answered yet
    >>> answer(0.4, 0.4, atol=0.01)
    right
    >>> answer(0.6, 0.4, atol=0.01, mistakes={"took the chance to lose": 0.6})
    Traceback (most recent call last):
    ...
    rlcore.check.CheckFailed: not yet: yours is 0.6
      looks like  took the chance to lose
    """
    if yours is ...:
        print("not answered yet")
    elif agrees(yours, want, atol):
        print("right")
    else:
        seen = [name for name, value in (mistakes or {}).items() if agrees(yours, value, atol)]
        raise CheckFailed("\n".join([f"not yet: yours is {yours}", *(f"  looks like  {name}" for name in seen)]))


def show(function: Callable) -> None:
    """Display the source of an rlcore function: the very lines that run, without the docstring."""
    from IPython.display import Markdown, display

    source = inspect.getsource(function)
    doc = inspect.getdoc(function)
    if doc and source.count('"""') >= 2:
        before, _, after = source.split('"""', 2)
        source = before.rstrip() + f'\n    """{doc.splitlines()[0]}"""' + after
    display(Markdown(f"```python\n# {function.__module__}\n{source.rstrip()}\n```"))


def agrees(got: Any, want: Any, atol: float) -> bool:
    """True where got has the structure, the shape and, within atol, the numbers of want (NaN equals NaN).

    >>> agrees(torch.tensor([1.0, 2.0]), [1.0, 2.0], atol=1e-6), agrees(torch.ones(2), torch.ones(1, 2), atol=1e-6)
    (True, False)
    """
    if isinstance(want, tuple):
        pairs = zip(got, want, strict=False) if isinstance(got, tuple) and len(got) == len(want) else [(None, 0.0)]
        return all(agrees(g, w, atol) for g, w in pairs)
    if not isinstance(got, Tensor | int | float | list):
        return False
    got, want = (torch.as_tensor(x, dtype=torch.float64) for x in (got, want))
    return got.shape == want.shape and torch.allclose(got, want, rtol=0, atol=atol, equal_nan=True)


def _message(name: str, case: Case, got: Any) -> str:
    lines = [f'{name} disagrees in the case "{case.name}"', f"  yours       {_pretty(got)}"]
    lines.append(f"  wanted      {_pretty(case.want)}")
    seen = [mistake for mistake, value in case.mistakes.items() if agrees(got, value, case.atol)]
    if got is None:
        seen = ["forgot to return the result"]
    elif isinstance(got, tuple) and not isinstance(case.want, tuple):
        seen = ["a tuple: max returns values and indices, amax the values alone"]
    elif not seen and isinstance(got, Tensor) and isinstance(case.want, Tensor) and got.shape != case.want.shape:
        seen = [f"another shape: yours {list(got.shape)}, wanted {list(case.want.shape)}"]
    return "\n".join([*lines, *(f"  looks like  {mistake}" for mistake in seen)])


def _pretty(value: Any) -> str:
    return repr(value).replace("\n", "\n" + " " * 14)


def _unwritten(function: Callable) -> bool:
    return {step.opname for step in dis.get_instructions(function)} <= _EMPTY_BODY


def quiz(question: str, options: Sequence[str], answer: int, why: str) -> "Any":
    """A question with one right answer: choose, and read why.

    Args:
        question: one sentence.
        options:  the answers to choose from.
        answer:   the index of the right one.
        why:      the explanation, shown after a choice.
    Returns: a widget; where widgets do not run, the question with its answer folded away.
    Raises:  ValueError when answer is not an index of options.
    """
    from rlcore.view.quiz import Quiz

    if answer not in range(len(options)):
        raise ValueError(f"answer is {answer}, expected an index of options, 0 to {len(options) - 1}")
    return Quiz(question, list(options), answer, why)
