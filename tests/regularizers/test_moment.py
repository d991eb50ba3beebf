import common
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sklatent.networks import Embedding
from sklatent.regularizers import MomentMatching

WINE = torch.from_numpy(common.WINE)


def embedding(u):
    return Embedding(u, None, u)


def batches(n, k):
    """Draws from N(0, I): many batches, of shape (batches, n, k)."""
    count = min(20_000, max(200, 4_000_000 // (n * k)))
    return torch.randn(count, n, k, generator=torch.Generator().manual_seed(0))


def best_variance(penalty, u, n_rows=np.inf):
    """The s^2 at which the mean penalty of s u is least."""
    # Each of the penalty's terms has degree 0, 1 or 2 in s^2.
    grid = np.array([0.5, 1.0, 1.5])
    means = [float(penalty(embedding(s**0.5 * u), n_rows).double().mean()) for s in grid]
    a, b, _ = np.polyfit(grid, means, 2)
    return -b / (2 * a)


def textbook(u, mean_weight, cov_weight):
    sigma_hat = np.atleast_2d(np.cov(u.T))
    error = np.linalg.norm(sigma_hat - np.eye(u.shape[1])) ** 2
    return (mean_weight * np.sum(u.mean(axis=0) ** 2) + cov_weight * error) / u.shape[1]


@pytest.mark.parametrize("mean_weight", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(("k", "expected"), [(8, 0.93), (64, 0.66)])
def test_textbook_form_prefers_a_shrunken_embedding(k, expected, mean_weight):
    n, penalty = 128, MomentMatching(mean_weight, 1.0, unbiased=False)
    closed_form = (1 - mean_weight / (2 * n)) / (1 + (k + 1) / (n - 1))
    # The best variance of the draws' own has a standard error below 0.001.
    assert best_variance(penalty, batches(n, k)) == pytest.approx(closed_form, abs=0.004)
    if mean_weight == 1:
        assert closed_form == pytest.approx(expected, abs=0.005)


def standardised(rows):
    """Samples with mean zero and the identity for covariance."""
    rows = rows - rows.mean(dim=-2, keepdim=True)
    factor = torch.linalg.cholesky(rows.mT @ rows / (rows.shape[-2] - 1))
    return torch.linalg.solve_triangular(factor.mT, rows, upper=True, left=False)


@pytest.mark.parametrize(("k", "n", "n_rows"), [(2, 32, 100), (8, 128, 200), (8, 20, 60)])
def test_batches_of_a_standardised_population_score_zero_and_are_the_best_scale(k, n, n_rows):
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, n_rows, k, generator=generator, dtype=torch.float64)
    u = standardised(draws)[:, :n]  # rows of a Gaussian population have no order
    penalties = MomentMatching()(embedding(u), n_rows)
    correction = (k + 1) * (1 / (n - 1) - 1 / (n_rows - 1))
    # (n - 1) / (N - 1) Sigma_hat is a matrix beta variable, for which the correction is exact up
    # to a relative 2 / N.
    slack = 2 / n_rows * correction
    assert abs(penalties.mean()) < 4 * penalties.std() / len(u) ** 0.5 + slack
    assert best_variance(MomentMatching(), u, n_rows) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("n", "n_rows"), [(16, 64), (64, 64), (16, np.inf)])
def test_draws_from_the_target_score_what_their_own_moments_miss(n, n_rows):
    # Of n of N draws: E |mu_hat|^2 = k/n, E |Sigma_hat - c I|^2 = k (k+1)/(n-1) + k (1-c)^2.
    k, alpha, gamma = 4, 2.0, 3.0
    u = torch.randn(20_000, n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    penalties = MomentMatching(alpha, gamma)(embedding(u), n_rows)
    expected = alpha / n_rows + gamma * (k + 1) / (n_rows - 1)
    assert abs(penalties.mean() - expected) < 4 * penalties.std() / len(u) ** 0.5


def test_full_batch_of_a_standardised_population_scores_zero():
    # A sum of squares of rounding errors.
    u = standardised(WINE)
    assert abs(MomentMatching()(embedding(u), len(u)).item()) < 1e-24


@pytest.mark.parametrize(("mean_weight", "cov_weight"), [(1.0, 1.0), (0.5, 3.0), (1.0, 0.0)])
@pytest.mark.parametrize("k", [1, 5, 13])
def test_textbook_form(k, mean_weight, cov_weight):
    u = 0.5 + WINE[:40, :k]
    penalty = MomentMatching(mean_weight, cov_weight, unbiased=False)(embedding(u))
    assert penalty.item() == pytest.approx(textbook(u.numpy(), mean_weight, cov_weight))


def test_full_batch_is_the_textbook_form():
    u = 0.5 + WINE[:40]
    penalty = MomentMatching(2.0, 3.0)(embedding(u), n_rows=40)
    assert penalty.item() == pytest.approx(textbook(u.numpy(), 2.0, 3.0))


@pytest.mark.parametrize("n_rows", [np.inf, 178])
def test_without_covariance_the_mean_is_estimated_without_bias(n_rows):
    # Of |mu|^2, over batches from any population: E |mu_hat|^2 = |mu|^2 + (1/n - 1/N) tr Sigma.
    population, n = 0.3 + WINE.exp(), 20
    generator = torch.Generator().manual_seed(0)
    if n_rows == np.inf:
        order = torch.randint(len(population), (20_000, n), generator=generator)
    else:
        order = torch.rand(20_000, n_rows, generator=generator).argsort(dim=-1)[:, :n]
    penalties = MomentMatching(cov_weight=0.0)(embedding(population[order]), n_rows)
    expected = population.mean(dim=0).square().mean()
    assert abs(penalties.mean() - expected) < 4 * penalties.std() / len(order) ** 0.5


@pytest.mark.parametrize("n_rows", [np.inf, 100])
@pytest.mark.parametrize("unbiased", [True, False])
class TestInvariances:
    def test_rotations_and_order_of_rows(self, unbiased, n_rows):
        penalty, u = MomentMatching(unbiased=unbiased), 0.2 + WINE[:40]
        generator = torch.Generator().manual_seed(0)
        rotation = torch.linalg.qr(torch.randn(13, 13, generator=generator).double())[0]
        expected = penalty(embedding(u), n_rows)
        order = torch.randperm(40, generator=generator)
        assert_close(penalty(embedding(u @ rotation), n_rows), expected)
        assert_close(penalty(embedding(u[order]), n_rows), expected)

    def test_weights_are_linear(self, unbiased, n_rows):
        u = embedding(0.2 + WINE[:40])
        mean = MomentMatching(1.0, 0.0, unbiased)(u, n_rows)
        cov = MomentMatching(0.0, 1.0, unbiased)(u, n_rows)
        assert_close(MomentMatching(2.0, 3.0, unbiased)(u, n_rows), 2 * mean + 3 * cov)

    def test_gradient(self, unbiased, n_rows):
        u = WINE[:10, :4].clone().requires_grad_()
        penalty = MomentMatching(2.0, 3.0, unbiased)
        assert torch.autograd.gradcheck(lambda u: penalty(embedding(u), n_rows), u)

    @pytest.mark.parametrize("models", [(3,), (2, 3)])
    def test_leading_axes_equal_a_loop_over_models(self, models, unbiased, n_rows):
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(*models, 30, 4, generator=generator).double().requires_grad_()
        penalty = MomentMatching(2.0, 3.0, unbiased)
        penalties = penalty(embedding(u), n_rows)
        assert penalties.shape == models
        penalties.sin().sum().backward()
        for i in np.ndindex(models):
            one = u.detach()[i].requires_grad_()
            expected = penalty(embedding(one), n_rows)
            expected.sin().backward()
            assert_close(penalties[i], expected)
            assert_close(u.grad[i], one.grad)


def test_it_is_the_sample_that_is_matched():
    u = WINE[:40]
    assert_close(
        MomentMatching()(Embedding(torch.zeros_like(u), torch.zeros_like(u), u)),
        MomentMatching()(embedding(u)),
    )


@pytest.mark.parametrize("k", [1, 8, 13])
def test_collapsed_embedding_scores_the_weight_of_the_covariance(k):
    point = embedding(torch.zeros(100, k, dtype=torch.float64))
    assert MomentMatching(1.0, 3.0, unbiased=False)(point).item() == pytest.approx(3.0)
