import dataclasses
import sys

import numpy as np
import pytest
from scipy.stats import kurtosis, ortho_group, skew
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklatent._epps_pulley import random_directions
from sklatent.metrics import _classifier, epps_pulley_test, gaussianity_report
from sklatent.metrics._epps_pulley import statistics
from sklatent.metrics._report import _variance
from sklatent.metrics._worst_direction import halves, search

GAUSSIAN = np.random.default_rng(1).standard_normal((400, 4))


@pytest.fixture(scope="module")
def gaussian_report():
    return gaussianity_report(GAUSSIAN)


@pytest.fixture
def classifiers_that_learn_nothing(monkeypatch):
    """Save the time of the classifiers in a test of something else."""
    monkeypatch.setattr(_classifier, "fit_score", lambda samples, draws, seed: lambda u: u[:, 0])


def test_a_gaussian_is_not_distinguishable(gaussian_report):
    report = gaussian_report
    assert report.pvalues["simple"] > 0.05
    assert report.pvalues["composite"] > 0.05
    assert report.verdict.startswith("No test rejects the target (corrected p = ")
    assert "400 samples" in report.verdict
    assert "effect size" in report.verdict
    auc = report.tests["simple"]["classifier"].statistic
    assert f"the classifiers identify the sample in {auc:.0%} of all pairs" in report.verdict
    for p, raw in zip(report.pvalues.values(), report.raw_pvalues.values(), strict=True):
        assert p == min(1, len(raw) * min(raw.values()))
    assert [len(raw) for raw in report.raw_pvalues.values()] == [5, 4]
    assert (report.n_samples, report.n_components, report.n_active) == (400, 4, 4)
    assert report.effective_rank == pytest.approx(4, abs=0.1)


def test_wrong_moments_are_told_from_a_wrong_shape():
    moments = gaussianity_report(1.3 * GAUSSIAN + 0.3)
    assert moments.pvalues["simple"] < 1e-4
    assert moments.pvalues["composite"] > 0.05
    assert "A wrong mean or covariance alone can explain this." in moments.verdict
    shape = gaussianity_report(np.exp(GAUSSIAN))
    assert "Henze-Zirkler test rejects a Gaussian shape (corrected p < 0.0001)" in shape.verdict


P = {"Mardia": 0.5, "Henze-Zirkler": 0.4, "sliced Epps-Pulley": 0.6, "classifier": 0.3}
FEW = "5 samples are fewer than the required 6"


@pytest.mark.parametrize(
    ("simple", "composite", "beginning"),
    [
        (
            {**P, "worst direction": 0.15},
            P,
            "No test rejects the target (corrected p = 0.75). "
            "No test rejects a Gaussian shape (corrected p = 1). ",
        ),
        (
            {**P, "worst direction": 0.001},
            P,
            "The Epps-Pulley test of the worst direction rejects the target (corrected p = 0.005). "
            "No test rejects a Gaussian shape (corrected p = 1). "
            "A wrong mean or covariance alone can explain this. ",
        ),
        (
            {**P, "worst direction": 0.02},
            {**P, "Mardia": 1e-5},
            "No test rejects the target (corrected p = 0.1). "
            "The Mardia test rejects a Gaussian shape (corrected p < 0.0001). "
            "The target has a Gaussian shape, so it is rejected too. ",
        ),
        (
            {**P, "classifier": 0.01, "worst direction": 1.0},
            {**P, "classifier": 0.0125},
            "The classifier test rejects the target (corrected p = 0.05). "
            "The classifier test rejects a Gaussian shape (corrected p = 0.05). ",
        ),
        (
            {**P, "Henze-Zirkler": 0.0, "worst direction": 1.0},
            None,
            "The Henze-Zirkler test rejects the target (corrected p < 0.0001). "
            f"A Gaussian shape was not tested: {FEW}. ",
        ),
        (
            {**P, "worst direction": 1.0},
            None,
            "No test rejects the target (corrected p = 1). "
            f"A Gaussian shape was not tested: {FEW}. ",
        ),
    ],
)
def test_the_verdict_says_which_test_rejects_what(simple, composite, beginning, gaussian_report):
    numbers = "5 for the target" + (" and 4 for a Gaussian shape" if composite else "")
    report = dataclasses.replace(
        gaussian_report,
        raw_pvalues={"simple": simple, **({"composite": composite} if composite else {})},
        untested=None if composite else FEW,
    )
    assert report.verdict.startswith(
        f"{beginning}A corrected p-value is the smallest p-value times the number of tests "
        f"(Bonferroni): {numbers}. "
    )


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_the_verdict_has_a_variance_where_the_effect_size_can_be_detected():
    same = gaussianity_report(1.05 * GAUSSIAN)
    assert 0 < same.tests["simple"]["sliced Epps-Pulley"].effect_size < same.detectable
    assert same.verdict.count("component of variance") == 1  # of the effect that is detectable
    u = np.random.default_rng(0).standard_normal((2000, 4))
    u = (u - u.mean(axis=0)) / u.std(axis=0)
    verdict = gaussianity_report(u * [2, 1, 1, 1]).verdict
    assert verdict.count("component of variance") == 2
    variance = float(verdict.split("component of variance ")[1].split()[0])
    assert variance == pytest.approx(4, rel=0.15)
    # Four components have an effect size that no single one can have.
    assert _variance(20.0, 4) is None
    assert gaussianity_report(99 * u).verdict.count("component of variance") == 1


def test_errors_of_a_small_sample():
    # The covariance has the divisor n - 1, and so many degrees of freedom.
    u = np.add([[2.0, 0], [-2, 0], [0, 1], [0, -1], [0, 0]], [0.3, 0.4])
    report = gaussianity_report(u)
    assert report.mean_error == pytest.approx(0.5 / 2**0.5)
    assert report.mean_sampling_error == pytest.approx(5**-0.5)
    assert report.cov_error == pytest.approx(((2 - 1) ** 2 + (0.5 - 1) ** 2) ** 0.5 / 2)
    assert report.cov_sampling_error == pytest.approx((3 / 2 / 4) ** 0.5)
    assert report.effective_rank == pytest.approx(np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2)))


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_errors_are_what_draws_from_the_target_have():
    rng = np.random.default_rng(0)
    n, k = 50, 3
    reports = [gaussianity_report(rng.standard_normal((n, k))) for _ in range(36)]
    for name in ("mean", "cov"):
        squares = [getattr(r, f"{name}_error") ** 2 for r in reports]
        expected = getattr(reports[0], f"{name}_sampling_error") ** 2
        assert abs(np.mean(squares) - expected) < 4 * np.std(squares) / 6


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_the_target_is_the_given_gaussian():
    cov = np.array([[4.0, 1.0], [1.0, 0.5]])
    Z = GAUSSIAN[:, :2] @ np.linalg.cholesky(cov).T + [10, 0]
    given, plain = gaussianity_report(Z, [10, 0], cov), gaussianity_report(GAUSSIAN[:, :2])
    assert given.mean_error == pytest.approx(plain.mean_error)
    assert given.pvalues["simple"] == pytest.approx(plain.pvalues["simple"])


def test_a_collapsed_embedding_is_reported():
    report = gaussianity_report(GAUSSIAN * [1, 1, 0, 0])
    assert report.n_active == 2
    assert report.effective_rank == pytest.approx(2, abs=0.1)
    # Rank one, but two components vary; a third has less than 0.01 of the target's variance.
    line = GAUSSIAN[:, :1] / GAUSSIAN[:, :1].std() * [1, 0.5, 0.09, 0]
    report = gaussianity_report(line)
    assert report.n_active == 2
    assert report.effective_rank == pytest.approx(1)


def test_a_shape_that_no_gaussian_has_is_not_the_targets_either():
    # Two clusters: the tests of the shape, which ignore the moments' noise, see more.
    rng = np.random.default_rng(1)
    u = rng.standard_normal((100, 2))
    u[:, 0] = 0.5 * u[:, 0] + 0.75**0.5 * rng.choice([-1, 1], size=100)
    report = gaussianity_report(u, random_state=0)
    assert report.pvalues["composite"] < 0.05 < report.pvalues["simple"]
    assert "The target has a Gaussian shape, so it is rejected too." in report.verdict


@pytest.mark.parametrize(
    ("Z", "why"),
    [
        (GAUSSIAN * [1, 1, 0, 0], "the covariance is singular"),
        (GAUSSIAN[:5] + 9, FEW),
        (GAUSSIAN[:5], FEW),
    ],
)
def test_it_says_why_the_shape_was_not_tested(Z, why):
    report = gaussianity_report(Z)
    assert list(report.tests) == list(report.pvalues) == ["simple"]
    assert f"against any Gaussian\n  not tested: {why}\n" in str(report)
    assert f"A Gaussian shape was not tested: {why}." in report.verdict


def test_the_shape_is_tested_where_it_can_be():
    report = gaussianity_report(GAUSSIAN[:6])
    assert report.untested is None
    assert "composite" in report.tests
    assert "not tested" not in str(report)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1])
def test_constant_rows_have_no_moments(constant):
    point = gaussianity_report(np.full((50, 3), constant))
    worst = point.worst
    assert (point.n_active, worst.std, worst.skewness, worst.kurtosis) == (0, 0, 0, 0)
    # Far from the origin, small is not constant.
    assert gaussianity_report(1e6 * constant + 1e-3 * GAUSSIAN).worst.std > 1e-5


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_few_rows_say_that_they_are_few():
    report = gaussianity_report(GAUSSIAN[:6, :4] + 0.1)
    assert "6 samples" in report.verdict
    assert report.detectable > 1
    with pytest.raises(ValueError, match="minimum of 4 is required"):
        gaussianity_report(GAUSSIAN[:3])


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_the_detectable_effect_falls_like_one_over_n():
    few, many = (gaussianity_report(np.tile(GAUSSIAN, (m, 1))).detectable for m in (1, 4))
    assert many == pytest.approx(few / 4, rel=0.01)


def test_a_detectable_effect_is_found_about_two_times_in_three():
    rng = np.random.default_rng(0)
    n, k = 50, 2
    detectable = gaussianity_report(rng.standard_normal((n, k))).detectable
    u = rng.standard_normal((300, n, k)) * [_variance(detectable, k) ** 0.5, 1]
    found = np.mean([epps_pulley_test(rows, random_state=0).pvalue <= 0.05 for rows in u])
    assert 0.6 < found < 0.75  # the standard error is 0.03


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_the_worst_direction_is_the_one_that_was_bent():
    rng = np.random.default_rng(0)
    u = rng.standard_normal((1000, 6))
    u[:, 0] = 0.3 * u[:, 0] + rng.choice([-1, 1], size=1000) * 0.95
    q = ortho_group.rvs(6, random_state=0)
    worst = gaussianity_report(u @ q).worst
    assert worst.direction @ q[0] == pytest.approx(np.sign(worst.direction @ q[0]), abs=0.02)
    np.testing.assert_allclose(worst.shares, q[0] ** 2, atol=0.1)
    assert worst.shares.sum() == pytest.approx(1)
    assert worst.kurtosis < -1
    assert worst.test.pvalue < 1e-4
    assert worst.test.n_samples == 500


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_the_worst_directions_moments_are_those_of_the_other_half():
    u = np.random.default_rng(0).exponential(size=(30, 2))
    worst = gaussianity_report(u, random_state=0).worst
    p = u[halves(30, 0)[1]] @ worst.direction
    assert worst.mean == pytest.approx(p.mean())
    assert worst.std == pytest.approx(p.std())
    assert worst.skewness == pytest.approx(skew(p))
    assert worst.kurtosis == pytest.approx(kurtosis(p))
    # The test is that of one direction, on a line.
    test = epps_pulley_test(p[:, None], n_slices=1)
    assert worst.test.statistic == pytest.approx(test.statistic)
    assert worst.test.expected == pytest.approx(test.expected)
    assert worst.test.effect_size == pytest.approx(test.effect_size)


def test_the_halves_share_no_sample():
    sought, measured = halves(11, 0)
    assert (len(sought), len(measured)) == (5, 6)
    assert sorted([*sought, *measured]) == list(range(11))
    sought, measured = halves(20_000, 0)
    assert (len(np.unique(sought)), len(np.unique(measured))) == (4096, 10_000)
    assert not np.isin(sought, measured).any()


def test_the_search_beats_random_directions():
    Z = PCA(8, whiten=True, random_state=0).fit_transform(load_digits().data)
    found = statistics(Z, search(Z, seed=0)[:, None])
    assert found > 1.5 * statistics(Z, random_directions(8, 2000, seed=1)).max()


@pytest.mark.parametrize("seed", range(8, 12))
def test_the_largest_entry_of_a_direction_is_positive(seed):
    direction = search(np.random.default_rng(seed).standard_normal((100, 3)), seed=0)
    assert direction[np.abs(direction).argmax()] > 0


def test_it_prints_as_a_table(gaussian_report):
    report = gaussian_report
    text = str(report)
    largest = report.worst.shares.argmax()
    for word in (
        f"{report.mean_error:.4f}",
        f"{report.cov_error:.4f}",
        f"{report.mean_sampling_error:.4f}",
        f"{report.cov_sampling_error:.4f}",
        f"component (share): {largest} ({report.worst.shares[largest]:.0%})",
        "400 samples in 4 components",
        "Mardia skewness",
        "Mardia kurtosis",
        "Henze-Zirkler",
        "sliced Epps-Pulley",
        "classifier",
        "against the target",
        "against any Gaussian",
        "worst direction",
        "effective rank",
    ):
        assert word in text
    assert max(map(len, text.splitlines()[:-1])) <= 100


def test_to_frame(gaussian_report):
    report = gaussian_report
    frame = report.to_frame()
    assert len(frame) == 4 + 2 * 5 + 1
    assert frame.index.is_unique
    for null, label in (("simple", "the target"), ("composite", "any Gaussian")):
        for name, test in report.tests[null].items():
            row = frame.loc[f"{name} ({label})"]
            assert (row["null"], row["pvalue"], row["value"]) == (null, test.pvalue, test.statistic)
            assert (row["expected"], row["effect_size"]) == (test.expected, test.effect_size)
    worst = frame.loc["worst direction"]
    assert (worst["pvalue"], worst["n_samples"]) == (report.worst.test.pvalue, 200)
    for name, value, expected in (
        ("mean error", report.mean_error, report.mean_sampling_error),
        ("covariance error", report.cov_error, report.cov_sampling_error),
        ("active components", report.n_active, 4),
        ("effective rank", report.effective_rank, 4),
    ):
        assert frame.loc[name, ["value", "expected"]].tolist() == [value, expected]


def test_to_frame_without_pandas(monkeypatch, gaussian_report):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas"):
        gaussian_report.to_frame()


@pytest.mark.usefixtures("classifiers_that_learn_nothing")
def test_all_of_it_depends_on_the_random_state():
    reports = [gaussianity_report(GAUSSIAN[:30], random_state=seed) for seed in range(4)]
    for null, raw in reports[0].raw_pvalues.items():
        for name in raw:
            assert len({report.raw_pvalues[null][name] for report in reports}) > 1


def test_it_is_deterministic(gaussian_report):
    assert str(gaussianity_report(GAUSSIAN)) == str(gaussian_report)
