"""The explorer of a group against the formulas of the papers, reply by reply in plain Python."""

import itertools
import math
import re

import pytest
from matplotlib.collections import PolyCollection

from rlcore.view import plots
from rlcore.view.explore import group

LENGTHS = (12, 20, 16, 28, 36, 40, 44, 48)
GRPO, DAPO, DR_GRPO = group.DENOMINATORS
STD_0, STD_1, CENTRED, OTHERS = group.ADVANTAGES


def rest():
    return {name: control.value for name, control in group.controls().items()}


def by_hand(right, group_size, noise, advantage, denominator, eps_low, eps_high):
    """Rewards, advantages and weights, each [G], and the weights of the moved tokens [G, 2]."""
    rewards = [float(str(n + 1) in right) + noise * group.NOISE[n] for n in range(group_size)]
    mean, total = sum(rewards) / group_size, sum(rewards)
    squares = sum((r - mean) ** 2 for r in rewards)
    unit = {
        STD_0: math.sqrt(squares / group_size),
        STD_1: math.sqrt(squares / (group_size - 1)),
        CENTRED: 1.0,
    }
    if advantage == OTHERS:
        advantages = [r - (total - r) / (group_size - 1) for r in rewards]
    else:
        advantages = [0.0 if r == mean else (r - mean) / unit[advantage] for r in rewards]
    weights, moved = [], []
    for a, length in zip(advantages, LENGTHS, strict=False):
        tokens = {GRPO: group_size * length, DAPO: sum(LENGTHS[:group_size]), DR_GRPO: 64 * group_size}[denominator]
        weights.append(a / tokens)
        moved.append([])
        for ratio in (0.75, 1.25):
            stopped = (a > 0 and ratio > 1 + eps_high) or (a < 0 and ratio < 1 - eps_low)
            moved[-1].append(0.0 if stopped else ratio * a / tokens)
    return rewards, advantages, weights, moved


GROUPS = ((("1", "3"), 8, 0.0), (("2",), 5, 0.1), ((), 8, 0.001), (("1", "2"), 2, 0.0), (tuple("12345678"), 7, 0.01))
CLIPS = ((0.2, 0.2), (0.2, 0.28), (0.28, 0.2), (0.4, 0.4))
NAMES = tuple(group.controls())
each_pair = pytest.mark.parametrize(
    ("advantage", "denominator"), [*itertools.product(group.ADVANTAGES, group.DENOMINATORS)]
)


def settings(advantage, denominator):
    for rewards, clip in itertools.product(GROUPS, CLIPS):
        yield dict(zip(NAMES, (*rewards, advantage, denominator, *clip), strict=True))


@each_pair
def test_weights_are_those_of_the_formulas_written_out(advantage, denominator):
    for values in settings(advantage, denominator):
        rewards, advantages, weights, moved = by_hand(**values)
        earned = group.rewarded(values["right"], values["noise"])[: values["group_size"]]
        found = group.group(earned, *(values[name] for name in NAMES[3:]))
        assert found.rewards.tolist() == pytest.approx(rewards, abs=1e-12)
        assert found.advantages.tolist() == pytest.approx(advantages, abs=1e-9)
        assert found.weights.tolist() == pytest.approx(weights, abs=1e-11)
        for told, wanted in zip(found.moved.tolist(), moved, strict=True):
            assert told == pytest.approx(wanted, abs=1e-11)


SHAPE = (
    r"G = (\d), noise ([\d.]+): rewards ([-\d., ]+), std ([\d.]+)\. (?:Left out: ([-\d., ]+)\. )?A is (.*): "
    r"([-\d., ]+)\. Divided by (.*), tokens weigh, in thousandths, ([-\d., ]+); "
    r"by length alone they differ ([\d.]+)-fold\. "
    r"Whole replies with A > 0 pull with ([\d.]+), those with A < 0 with (-?[\d.]+)\. "
    r"The clip goes from ([\d.]+) to ([\d.]+), tokens 4 and 9 have ρ = 0\.75 and 1\.25\. Without gradient: (.*)\."
)
LOW, HIGH = "ρ = 0.75 where A < 0", "ρ = 1.25 where A > 0"


def std(rewards, ddof):
    mean = sum(rewards) / len(rewards)
    return math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - ddof))


@each_pair
def test_the_caption_says_the_numbers_written_out(advantage, denominator):
    for values in settings(advantage, denominator):
        words = re.fullmatch(SHAPE, group.draw(**values).get_label().replace("−", "-")).groups()
        size, low, high = values["group_size"], 1 - values["eps_low"], 1 + values["eps_high"]
        told = [[float(x) for x in re.findall(r"-?\d+\.?\d*", said or "")] for said in words]
        rewards, advantages, weights, _ = by_hand(**values)
        assert told[0] + told[1] == [size, values["noise"]]
        assert told[2] + told[4] == pytest.approx(by_hand(**values | {"group_size": 8})[0], abs=values["noise"] / 19)
        assert told[3] == pytest.approx([std(rewards, int(advantage == STD_1))], rel=0.051)
        assert words[5] == advantage.replace("−", "-")
        assert told[6] == pytest.approx(advantages, abs=0.0051)
        assert words[7] == denominator
        assert told[8] == pytest.approx([1000 * weight for weight in weights], abs=0.051)
        lengths = LENGTHS[:size]
        assert told[9] == pytest.approx([max(lengths) / min(lengths) if denominator == GRPO else 1], abs=0.051)
        pulls = [weight * length for weight, length in zip(weights, lengths, strict=True)]
        up, down = sum(pull for pull in pulls if pull > 0), sum(pull for pull in pulls if pull < 0)
        assert told[10] + told[11] == pytest.approx([up, down], abs=6e-4)
        assert told[12] + told[13] == pytest.approx([low, high])
        stopped = [LOW] * (low > 0.75) + [HIGH] * (high < 1.25)
        assert words[14] == (" and ".join(stopped) or "none")


def boxes(ax):
    """Rectangles of an axes as (x, y, width, height), the last two with their signs."""
    (shapes,) = [one for one in ax.collections if type(one) is PolyCollection]
    found = [path.vertices for path in shapes.get_paths()]
    return [(*corner[0].tolist(), *(corner[2] - corner[0]).tolist()) for corner in found]


@pytest.mark.parametrize("denominator", group.DENOMINATORS)
def test_heights_are_in_the_proportion_of_the_weights_and_widths_are_tokens(denominator):
    values = rest() | {"denominator": denominator, "right": ("1", "4"), "noise": 0.1, "group_size": 6}
    _, _, weights, moved = by_hand(**values)
    found = boxes(group.draw(**values).axes[1])
    unit = next(box[3] for box in found if box[1] == 0) / weights[0]
    for row in range(6):
        (low, high), weight = moved[row], weights[row]
        edges = (0, 3, 4, 8, 9, LENGTHS[row])
        heights = (weight, low, weight, high, weight)
        wanted = [(a, -row, b - a, h * unit) for a, b, h in zip(edges, edges[1:], heights, strict=False) if h]
        assert [box for box in found if box[1] == -row] == [pytest.approx(box) for box in wanted]


def test_bars_of_the_advantages_are_the_advantages():
    values = rest() | {"right": ("2", "8"), "noise": 0.01}
    found = boxes(group.draw(**values).axes[0])
    assert [box[2] for box in found] == pytest.approx(by_hand(**values)[1])
    assert [round(box[1] + 0.2) for box in found] == [-row for row in range(8)]


@pytest.mark.parametrize(("eps_low", "eps_high"), itertools.product((0.2, 0.28), (0.2, 0.28)))
def test_dots_on_the_clip_are_the_weights_of_the_moved_tokens_in_units_of_their_own(eps_low, eps_high):
    values = rest() | {"right": ("1",), "eps_low": eps_low, "eps_high": eps_high}
    _, _, weights, moved = by_hand(**values)
    axes = group.draw(**values).axes[2]
    dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    for reply, drawn in zip((0, 1), dots, strict=True):  # A > 0, A < 0
        times = [one / weights[reply] for one in moved[reply]]
        assert drawn == [pytest.approx(place) for place in zip((0.75, 1.25), times, strict=True)]
    lines = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() != "o"]
    low, high = 1 - eps_low, 1 + eps_high
    assert lines[0] == [[0.5, 0.5], [high, high], [high, 0], [1.5, 0]]
    assert lines[1] == [[0.5, 0], [low, 0], [low, low], [1.5, 1.5]]
    zeros = [y for drawn in dots for _, y in drawn].count(0)
    assert axes.get_title(loc="left") == f"{zeros} of 4 dots at 0"


def test_at_rest_the_longest_wrong_reply_is_punished_least_per_token_and_the_other_denominators_mend_it():
    values = rest()
    assert values["denominator"] == GRPO
    figure = group.draw(**values)
    said, titles = figure.get_label().replace("−", "-"), [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["A; std of r 0.43", "By length alone tokens differ 4.0-fold", "2 of 4 dots at 0"]
    assert "weigh, in thousandths, 18.0, -3.6, 13.5, -2.6, -2.0, -1.8, -1.6, -1.5; by length" in said
    for other in (DAPO, DR_GRPO):
        _, _, weights, _ = by_hand(**values | {"denominator": other})
        assert len({round(w, 12) for w in weights}) == 2
    assert said.endswith(f"Without gradient: {LOW} and {HIGH}.")  # the second of them DAPO lets through
    assert group.draw(**values | {"eps_high": 0.28}).get_label().endswith(f"Without gradient: {LOW}.")


def test_noise_among_right_replies_is_as_strong_as_right_against_wrong_unless_the_std_is_left_out():
    right = tuple(str(n) for n in range(1, 9))
    values = rest() | {"right": right, "noise": 0.001}
    advantages = {name: by_hand(**values | {"advantage": name})[1] for name in group.ADVANTAGES}
    for name, wanted in advantages.items():
        bars = [box[2] for box in boxes(group.draw(**values | {"advantage": name}).axes[0])]
        assert bars == pytest.approx(wanted)
        assert (max(bars) > 1) == (name in (STD_0, STD_1))
        assert (max(bars) < 0.002) == (name in (CENTRED, OTHERS))


def test_equal_rewards_draw_no_bar_and_say_that_there_is_no_signal():
    figure = group.draw(**rest() | {"right": ()})
    assert figure.axes[0].get_title(loc="left") == "No signal: A is 0"
    assert boxes(figure.axes[0]) == boxes(figure.axes[1]) == []


def values_of(control):
    if hasattr(control, "options"):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if hasattr(control, "ends"):
        return control.ends
    step, count = control.step, round((control.max - control.min) / control.step)
    return [round(control.min + k * step, 10) for k in range(count + 1)]


@pytest.mark.parametrize(
    ("right", "group_size", "noise"), [((), 2, 0.0), (tuple("12345678"), 8, 0.0), (("1", "3"), 5, 0.1)]
)
def test_every_value_of_every_control_has_a_picture_and_a_caption_of_its_own(right, group_size, noise):
    here = rest() | {"right": right, "group_size": group_size, "noise": noise}
    for name, control in group.controls().items():
        drawn = [group.draw(**here | {name: value}) for value in values_of(control)]
        captions = [figure.get_label() for figure in drawn]
        assert len(set(captions)) == len(captions), name
        if not right:  # the hardest to tell apart: all advantages are 0
            pictures = [plots.png(figure) for figure in drawn]
            assert len(set(pictures)) == len(pictures), name


@pytest.mark.parametrize("reply", range(1, 9))
def test_a_reply_that_is_left_out_still_shows_its_reward(reply):
    here = rest() | {"right": (), "group_size": 2}
    pressed = group.draw(**here | {"right": (str(reply),)})
    assert pressed.get_label() != group.draw(**here).get_label()
    assert plots.png(pressed) != plots.png(group.draw(**here))


def test_no_ratio_stands_on_a_limit_of_the_clip():
    made = group.controls()
    low, high = ([round(100 * value) for value in values_of(made[name])] for name in ("eps_low", "eps_high"))
    for ratio in group.MOVED.values():
        away = round(100 * abs(ratio - 1))
        assert away not in low + high
        assert min(low) < away < max(low)  # each limit can be on either side
        assert min(high) < away < max(high)
