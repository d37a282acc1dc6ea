"""What the cliff explorer says is what its learners did, and at rest it makes the point."""

import re

import numpy as np
import pytest
import torch

from rlcore import td
from rlcore.loops import tabular
from rlcore.view.explore import cliff


def rest():
    return {name: control.value for name, control in cliff.controls().items()}


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-"))]


@pytest.mark.parametrize("method", cliff.METHODS)
def test_a_run_is_the_reference_loop_with_the_same_numbers(method, monkeypatch):
    """The first 8 of the 500 episodes."""
    monkeypatch.setattr(cliff, "EPISODES", 8)
    monkeypatch.setattr(cliff, "LATE", 5)
    cliff.run.cache_clear()
    returns, visits, paths = cliff.run(method, 0.2, cliff.DECAYING, 0.4)
    cliff.run.cache_clear()
    records = list(
        tabular.control(
            {"SARSA": td.sarsa, "Expected SARSA": td.expected_sarsa, "Q-learning": td.q_learning}[method],
            cliff.MODEL,
            cliff.START,
            learners=cliff.LEARNERS,
            episodes=8,
            lr=0.4,
            eps_explore=lambda episode: 0.2 * 0.5 ** (episode / 100),
            limit=cliff.LIMIT,
            generator=torch.Generator().manual_seed(0),
        )
    )
    want = torch.stack([record.returns.mean() for record in records])
    np.testing.assert_allclose(returns, want, atol=1e-9)
    late = torch.stack([record.visits for record in records[-5:]]).double().mean((0, 1))
    torch.testing.assert_close(visits, late)
    cells = [[cliff.WORLD.cell(state) for state in path] for path in paths]
    assert cells == [cliff.WORLD.path(actions) for actions in records[-1].q.argmax(-1)]


@pytest.mark.parametrize(("eps_explore", "want"), [(0.1, -20.708), (0.05, -17.519), (0.01, -15.441)])
def test_the_dotted_line_is_the_best_soft_policy(eps_explore, want):
    assert cliff.best_soft(eps_explore) == pytest.approx(want, abs=1e-3)


def test_at_rest_sarsa_earns_more_and_q_learning_knows_the_best_path():
    values = rest()
    runs = {name: cliff.run(name, *(values[k] for k in ("eps_explore", "schedule", "lr"))) for name in cliff.METHODS}
    sarsa, q_learning = (runs[name][0][-100:].mean() for name in ("SARSA", "Q-learning"))
    assert values["pair"] == "SARSA | Q-learning"
    assert sarsa > q_learning + 10
    assert sarsa < cliff.best_soft(values["eps_explore"])
    assert {len(path) for path in runs["Q-learning"][2]} == {14}
    assert min(len(path) for path in runs["SARSA"][2]) > 14


def test_when_exploring_fades_q_learning_ends_ahead():
    sarsa, q_learning = (cliff.run(name, 0.1, cliff.DECAYING, 0.5)[0][-100:].mean() for name in ("SARSA", "Q-learning"))
    assert q_learning > sarsa


def test_with_full_steps_sarsa_fails_and_expected_sarsa_does_not():
    """α = 1, ε = 0.3: one unlucky next action overwrites what SARSA knew; the mean over next actions is no luck."""
    sarsa, expected = (cliff.run(name, 0.3, cliff.CONSTANT, 1.0) for name in ("SARSA", "Expected SARSA"))
    assert sarsa[0][-100:].mean() < 10 * expected[0][-100:].mean()
    assert all(path[-1] == 3 * 12 + 11 for path in expected[2])


@pytest.mark.parametrize("schedule", [cliff.CONSTANT, cliff.DECAYING])
def test_the_caption_says_the_runs_numbers(schedule):
    fig = cliff.draw("SARSA | Expected SARSA", 0.2, schedule, 0.7)
    runs = [cliff.run(name, 0.2, schedule, 0.7) for name in ("SARSA", "Expected SARSA")]
    goal = 3 * 12 + 11
    lengths = [sorted(len(path) - 1 for path in paths if path[-1] == goal) for _, _, paths in runs]
    last = 0.2 if schedule == cliff.CONSTANT else 0.2 * 0.5 ** (499 / 100)
    said = numbers(fig.get_label().replace(schedule, ""))
    for (returns, _, _), span in zip(runs, lengths, strict=True):
        wanted = [round(returns[-100:].mean(), 1), 100, *sorted({span[0], span[-1]}), len(span), 10]
        assert any(said[i : i + len(wanted)] == pytest.approx(wanted) for i in range(len(said))), wanted
    assert any(value == pytest.approx(cliff.best_soft(last), abs=0.051) for value in said)
    assert said[:2] == [0.2, 0.7]


def test_the_curve_is_the_mean_of_twenty_episodes():
    fig = cliff.draw(**rest())
    line = next(line for line in fig.axes[-1].lines if line.get_label() == "SARSA")
    returns = cliff.run("SARSA", 0.1, cliff.CONSTANT, 0.5)[0]
    x, y = line.get_data()
    assert (x[0], x[-1]) == (20, 500)
    assert y[-1] == pytest.approx(returns[-20:].mean())
    assert y[100] == pytest.approx(returns[100:120].mean())
