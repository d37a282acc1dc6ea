"""check: a right function passes, a wrong one is told what it looks like, an unwritten one is stood in for."""

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from rlcore import cases, check, masked
from rlcore.cases import Case

FIRST = "three real tokens in two sequences"


def right(x, mask):
    return x[mask].mean()


def test_a_right_function_written_otherwise_agrees(capsys):
    check.same(right, masked.mean_over_tokens)
    assert capsys.readouterr().out == "mean_over_tokens: 2 hand-computed cases agree\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, mask: x.mean(), "looks like  averaged padding as well"),
        (lambda x, mask: masked.mean_over_sequences(x, mask), "looks like  averaged the sequences' means"),
        (lambda x, mask: (x * mask).sum() / mask.sum(), "looks like  multiplied by the mask"),
        (lambda x, mask: None, "looks like  forgot to return the result"),
        (lambda x, mask: x[mask].mean()[None], r"looks like  another shape: yours \[1\], wanted \[\]"),
        (lambda x, mask: torch.tensor(8.125), r"yours       tensor\(8.1250\)\n  wanted      tensor\(3.\)$"),
        (lambda x, mask: "3", "yours       '3'"),
        (lambda x, mask: x.max(-1), "looks like  a tuple: max returns values and indices, amax the values alone"),
    ],
)
def test_a_mistake_is_named(wrong, message):
    with pytest.raises(check.CheckFailed, match=message):
        check.same(wrong, masked.mean_over_tokens)


def test_an_error_in_your_function_stays_an_error_and_says_in_which_case():
    with pytest.raises(ZeroDivisionError) as raised:
        check.same(lambda x, mask: 1 / 0, masked.mean_over_tokens)
    assert raised.value.__notes__ == [f'while checking mean_over_tokens in the case "{FIRST}"']


@pytest.mark.parametrize("body", ["...", "pass", "'''docs'''", "'''docs'''\n    ..."])
def test_an_unwritten_exercise_is_stood_in_for(body, capsys):
    scope = {}
    exec(f"def mean(x, mask):\n    {body}", scope)
    assert check.exercise(masked.mean_over_tokens)(scope["mean"]) is masked.mean_over_tokens
    assert "not written yet" in capsys.readouterr().out


def test_a_written_exercise_is_checked_and_kept(capsys):
    assert check.exercise(masked.mean_over_tokens)(right) is right
    with pytest.raises(check.CheckFailed):
        check.exercise(masked.mean_over_tokens)(lambda x, mask: x.sum())


def test_a_function_without_cases_is_an_error():
    with pytest.raises(ValueError, match=r"shapes.need has no cases, expected a list .* rlcore/cases/shapes.py"):
        cases.of(__import__("rlcore.shapes", fromlist=["need"]).need)


def test_tuples_are_compared_item_by_item():
    assert check.agrees((torch.ones(2), 3.0), ([1.0, 1.0], 3), atol=1e-9)
    assert not check.agrees((torch.ones(2), 3.1), ([1.0, 1.0], 3), atol=1e-9)
    assert not check.agrees(torch.ones(2), ([1.0, 1.0], 3), atol=1e-9)
    assert not check.agrees((torch.ones(2),), ([1.0, 1.0], 3), atol=1e-9)


def test_jupyter_shows_the_message_and_no_traceback(capsys):
    shell = InteractiveShell()
    shell.user_ns |= {"check": check, "masked": masked}
    shell.run_cell("check.same(lambda x, mask: x.mean(), masked.mean_over_tokens)")
    out = capsys.readouterr().out
    assert "looks like  averaged padding as well" in out
    assert "Traceback" not in out


def test_show_displays_the_source_that_runs_with_one_line_of_docstring(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    check.show(masked.mean_over_tokens)
    assert "return _kept(x, mask).sum() / _count(mask)" in shown[0].data
    assert "a long sequence weighs more" in shown[0].data
    assert "Returns:" not in shown[0].data


def test_a_quiz_says_right_or_names_the_right_answer():
    quiz = check.quiz("1 + 1?", ["1", "2"], answer=1, why="Count.")
    quiz.choice.index = 0
    assert "Not quite: it is “2”" in quiz.verdict.value
    quiz.choice.index = 1
    assert "Right." in quiz.verdict.value
    assert "Count." in quiz.verdict.value


def test_a_quiz_without_widgets_folds_its_answer_away():
    data = check.quiz("1 + 1?", ["1", "2"], answer=1, why="Count.")._repr_mimebundle_()
    assert data["text/plain"] == "1 + 1?\n- 1\n- 2"
    assert "<details>" in data["text/markdown"]
    assert "**2.** Count." in data["text/markdown"]


def test_a_quiz_without_a_right_answer_is_an_error():
    with pytest.raises(ValueError, match="answer is 2, expected an index of options, 0 to 1"):
        check.quiz("1 + 1?", ["1", "2"], answer=2, why="Count.")


def test_a_case_compares_with_the_tolerance_it_names():
    case = Case("near", {}, torch.tensor(1.0), atol=0.1)
    assert check.agrees(torch.tensor(1.05), case.want, case.atol)
    assert not check.agrees(torch.tensor(1.15), case.want, case.atol)
