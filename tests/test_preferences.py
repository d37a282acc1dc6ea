"""Preference models against enumeration, closed forms, scipy's optimiser and simulation."""

import itertools
import math

import pytest
import torch
from scipy.optimize import minimize

from rlcore import preferences as pref

WINS = torch.tensor([[0, 7, 9], [3, 0, 6], [1, 4, 0]], dtype=torch.float64)
BOTH_FITS = pytest.mark.parametrize("fit", [pref.fit_bradley_terry, pref.fit_bradley_terry_mm])


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rankings(k: int) -> torch.Tensor:
    return torch.tensor(list(itertools.permutations(range(k))))


def test_preference_depends_on_the_difference_alone_and_both_sides_sum_to_one():
    a, b = numbers(0, 5), numbers(1, 5)
    torch.testing.assert_close(pref.bradley_terry(a, b) + pref.bradley_terry(b, a), torch.ones(5).double())
    torch.testing.assert_close(pref.bradley_terry(a + 50, b + 50), pref.bradley_terry(a, b))
    torch.testing.assert_close(pref.bradley_terry(a, b), a.exp() / (a.exp() + b.exp()))


def test_the_loss_is_minus_the_log_probability_and_its_gradient_is_how_wrong_the_model_is():
    chosen, rejected = numbers(0, 6).requires_grad_(), numbers(1, 6).requires_grad_()
    loss = pref.bradley_terry_loss(chosen, rejected)
    torch.testing.assert_close(loss, -pref.bradley_terry(chosen, rejected).log())
    gradients = torch.autograd.grad(loss.sum(), (chosen, rejected))
    wrong = pref.bradley_terry(rejected, chosen).detach()
    torch.testing.assert_close(gradients[0], -wrong)
    torch.testing.assert_close(gradients[1], wrong)
    assert torch.autograd.gradcheck(pref.bradley_terry_loss, (chosen, rejected))


def test_the_loss_stays_finite_where_the_probability_underflows():
    score = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = pref.bradley_terry_loss(score, torch.zeros(2))
    assert loss.tolist() == [200.0, 0.0]
    loss.sum().backward()
    assert score.grad.tolist() == [-1.0, 0.0]


def test_of_all_differences_the_one_that_makes_the_data_likeliest_is_the_log_odds():
    """70 of 100 chose a: the mean loss is least at log 7/3."""
    differences = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    zero = torch.zeros_like(differences)
    mean = 0.7 * pref.bradley_terry_loss(differences, zero) + 0.3 * pref.bradley_terry_loss(zero, differences)
    assert differences[mean.argmin()].item() == pytest.approx(math.log(7 / 3), abs=6e-4)


def test_a_margin_is_a_handicap_of_the_chosen_answer():
    chosen, rejected, margin = numbers(0, 4), numbers(1, 4), numbers(2, 4).abs()
    wanted = pref.bradley_terry_loss(chosen - margin, rejected)
    torch.testing.assert_close(pref.margin_loss(chosen, rejected, margin), wanted)
    assert torch.autograd.gradcheck(
        lambda c, r: pref.margin_loss(c, r, margin), (chosen.requires_grad_(), rejected.requires_grad_())
    )


def test_probabilities_of_all_rankings_sum_to_one():
    scores = numbers(0, 4).expand(24, 4)
    assert pref.plackett_luce_logps(scores, rankings(4)).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_a_ranking_of_two_is_bradley_terry():
    scores = numbers(0, 7, 2)
    first = torch.tensor([[0, 1]]).expand(7, 2)
    wanted = pref.bradley_terry(scores[:, 0], scores[:, 1])
    torch.testing.assert_close(pref.plackett_luce_logps(scores, first).exp(), wanted)
    torch.testing.assert_close(pref.pairwise_loss(scores, first), -wanted.log())


def test_the_chance_to_be_ranked_first_is_softmax_and_before_another_is_bradley_terry():
    scores = numbers(0, 3)
    chances = pref.plackett_luce_logps(scores.expand(6, 3), rankings(3)).exp()
    first = torch.stack([chances[rankings(3)[:, 0] == k].sum() for k in range(3)])
    torch.testing.assert_close(first, scores.softmax(-1))
    zero_before_two = chances[[row.tolist().index(0) < row.tolist().index(2) for row in rankings(3)]].sum()
    torch.testing.assert_close(zero_before_two, pref.bradley_terry(scores[0], scores[2]))


def test_drawing_the_best_again_and_again_gives_rankings_as_often_as_plackett_luce_says():
    """Gumbel noise on the scores, sorted, is a Plackett–Luce ranking (Yellott 1977)."""
    generator, scores = torch.Generator().manual_seed(0), torch.tensor([0.5, -0.3, 1.0]).double()
    noise = -torch.log(-torch.log(torch.rand(60_000, 3, generator=generator, dtype=torch.float64)))
    drawn = (scores + noise).argsort(-1, descending=True)
    wanted = pref.plackett_luce_logps(scores.expand(6, 3), rankings(3)).exp()
    seen = torch.stack([(drawn == row).all(-1).double().mean() for row in rankings(3)])
    assert ((seen - wanted).abs() < 4 * (wanted * (1 - wanted) / 60_000).sqrt()).all()


def test_gradients_of_the_listwise_and_pairwise_losses_are_those_of_finite_differences():
    scores, ranking = numbers(0, 3, 4).requires_grad_(), torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3], [3, 2, 1, 0]])
    assert torch.autograd.gradcheck(lambda s: pref.listwise_loss(s, ranking), scores)
    assert torch.autograd.gradcheck(lambda s: pref.pairwise_loss(s, ranking), scores)


def test_the_published_list_of_three():
    """Labels 1, ½, 0 and scores 0.2, 0.5, −0.1."""
    scores, ranking = torch.tensor([[0.2, 0.5, -0.1]]).double(), torch.tensor([[0, 1, 2]])
    assert pref.listwise_loss(scores, ranking).item() == pytest.approx(1.565878, abs=1e-6)
    assert pref.pairwise_loss(scores, ranking).item() == pytest.approx(0.615399, abs=1e-6)


@pytest.mark.parametrize("k", [2, 4, 9])
def test_all_pairs_of_a_prompt_are_counted_once(k):
    scores = numbers(0, 1, k)
    ranking = scores.argsort(-1, descending=True)
    pairs = list(itertools.combinations(ranking[0].tolist(), 2))
    assert len(pairs) == {2: 1, 4: 6, 9: 36}[k]
    wanted = torch.stack([pref.bradley_terry_loss(scores[0, a], scores[0, b]) for a, b in pairs]).mean()
    torch.testing.assert_close(pref.pairwise_loss(scores, ranking)[0], wanted)


def test_pointwise_scores_are_log_odds():
    scores, labels = numbers(0, 5).requires_grad_(), torch.tensor([1.0, 0.0, 0.25, 1.0, 0.5]).double()
    chance = scores.sigmoid()
    wanted = -(labels * chance.log() + (1 - labels) * (1 - chance).log())
    torch.testing.assert_close(pref.pointwise_loss(scores, labels), wanted)
    (gradient,) = torch.autograd.grad(pref.pointwise_loss(scores, labels).sum(), scores)
    torch.testing.assert_close(gradient, (chance - labels).detach())


@BOTH_FITS
def test_a_fit_has_the_known_strengths_and_expects_the_wins_that_happened(fit):
    found = fit(WINS)
    wanted = torch.tensor([0.943606, -0.160161, -0.783445], dtype=torch.float64)
    torch.testing.assert_close(found.scores, wanted, atol=1e-6, rtol=0)
    chances = pref.bradley_terry(found.scores[:, None].expand(3, 3), found.scores.expand(3, 3))
    expected = ((WINS + WINS.T) * chances).sum(-1)
    torch.testing.assert_close(expected, torch.tensor([16.0, 9.0, 5.0], dtype=torch.float64))
    assert (WINS * chances.log()).sum().item() == pytest.approx(-16.32499, abs=1e-5)


@BOTH_FITS
def test_a_fit_is_what_a_general_optimiser_finds(fit):
    wins = torch.randint(1, 20, (6, 6), generator=torch.Generator().manual_seed(0)).double().fill_diagonal_(0)

    def negative_log_likelihood(scores):
        scores = torch.as_tensor(scores)
        return -(wins * pref.bradley_terry(scores[:, None].expand(6, 6), scores.expand(6, 6)).log()).sum().item()

    best = torch.as_tensor(minimize(negative_log_likelihood, [0.0] * 6, method="BFGS", options={"gtol": 1e-8}).x)
    torch.testing.assert_close(fit(wins).scores, best - best.mean(), atol=1e-5, rtol=0)


def test_newton_takes_few_steps_where_mm_takes_many_and_both_agree_on_a_lopsided_table():
    wins = torch.full((12, 12), 1.0).double().fill_diagonal_(0).triu() * 300 + torch.ones(12, 12).double()
    wins.fill_diagonal_(0)
    newton, mm = pref.fit_bradley_terry(wins), pref.fit_bradley_terry_mm(wins)
    torch.testing.assert_close(newton.scores, mm.scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(newton.errors, mm.errors, atol=1e-5, rtol=0)
    assert newton.steps < 30 < mm.steps


def test_the_standard_error_of_two_players_is_that_of_a_log_odds():
    """10 games, 7 wins: the log-odds has variance 1 / (10 · 0.7 · 0.3); each centred score is half of it."""
    found = pref.fit_bradley_terry(torch.tensor([[0.0, 7.0], [3.0, 0.0]]).double())
    assert found.scores.tolist() == pytest.approx([0.5 * math.log(7 / 3), -0.5 * math.log(7 / 3)])
    assert found.errors.tolist() == pytest.approx([0.5 / math.sqrt(2.1)] * 2)


def test_strengths_are_recovered_within_their_standard_errors():
    """Of 300 simulated tournaments, 95 % intervals hold the truth in about 95 %."""
    generator, truth = torch.Generator().manual_seed(0), torch.tensor([0.8, 0.2, -0.3, -0.7]).double()
    chances = pref.bradley_terry(truth[:, None].expand(4, 4), truth.expand(4, 4))
    inside = []
    for _ in range(300):
        upper = torch.binomial(torch.full((4, 4), 40.0).double(), chances, generator=generator).triu(1)
        wins = upper + (40 - upper.T).tril(-1)
        found = pref.fit_bradley_terry(wins)
        inside.append((found.scores - truth).abs() < 1.96 * found.errors)
    share = torch.stack(inside).double().mean().item()
    assert abs(share - 0.95) < 0.03  # 1,200 intervals, dependent within a tournament


def test_a_cycle_of_nine_to_one_leaves_all_players_equal():
    cycle = torch.tensor([[0, 9, 1], [1, 0, 9], [9, 1, 0]]).double()
    torch.testing.assert_close(pref.fit_bradley_terry(cycle).scores, torch.zeros(3).double(), atol=1e-9, rtol=0)


@BOTH_FITS
@pytest.mark.parametrize(
    ("wins", "said"),
    [
        ([[0, 5], [0, 0]], r"wins has no finite fit: players fall into groups \[\d, \d\]"),
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], "wins has no finite fit"),  # never met
        ([[0, 1], [-1, 0]], "wins is -1, expected a number in"),
        ([[1, 1], [1, 0]], "wins has entries on its diagonal"),
        ([[0, 1, 1], [1, 0, 1]], r"wins has shape \[2, 3\], expected \[N, N\]"),
        ([[0, math.nan], [1, 0]], "wins holds nan"),
    ],
)
def test_wins_without_a_finite_fit_are_refused(fit, wins, said):
    with pytest.raises(ValueError, match=said):
        fit(torch.tensor(wins).double())


@BOTH_FITS
def test_a_fit_that_needs_more_steps_says_so(fit):
    with pytest.raises(ValueError, match=r"steps is 1, expected more: wins are still off by"):
        fit(WINS, steps=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pref.bradley_terry(torch.zeros(2), torch.zeros(3)), r"score_b has shape \[3\], expected \[2\]"),
        (lambda: pref.bradley_terry_loss(torch.tensor([math.nan]), torch.zeros(1)), "chosen_scores holds nan"),
        (lambda: pref.margin_loss(torch.zeros(1), torch.zeros(1), torch.tensor([-1.0])), "margin is -1"),
        (lambda: pref.pointwise_loss(torch.zeros(1), torch.tensor([2.0])), "labels is 2, expected a number in"),
        (lambda: pref.pairwise_loss(torch.zeros(1, 1), torch.zeros(1, 1).long()), "expected at least 2 answers"),
        (
            lambda: pref.plackett_luce_logps(torch.zeros(2, 2), torch.tensor([[0, 1], [1, 1]])),
            r"ranking is \[1, 1\] in row 1, expected each answer once",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
