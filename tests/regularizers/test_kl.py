import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from sklatent import GaussianEmbedder
from sklatent.networks import Embedding
from sklatent.regularizers import KLDivergence
from sklatent.tasks import LABEL_BETA

# Real rows stand for means and log-variances.
MEAN, LOG_VAR = torch.from_numpy(scale(load_wine().data)[:, :12]).chunk(2, dim=-1)


def kl(mean, log_var):
    return KLDivergence()(Embedding(mean, log_var, torch.full_like(mean, torch.nan)))


def reference(mean, log_var):
    encoder = Normal(mean, torch.exp(log_var / 2))
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(encoder, prior).sum(-1).mean()


@pytest.mark.parametrize("k", [1, 2, 6])
def test_kl_is_that_of_torch_distributions(k):
    mean, log_var = MEAN[:, :k], LOG_VAR[:, :k]
    assert_close(kl(mean, log_var), reference(mean, log_var))


def test_kl_of_a_narrow_posterior_in_float32():
    mean, log_var = torch.ones(10, 2), torch.full((10, 2), -20.0)
    assert_close(kl(mean, log_var), reference(mean.double(), log_var.double()).float())


def test_kl_is_zero_only_where_the_encoder_says_the_prior():
    zero = torch.zeros(10, 3, dtype=torch.float64)
    assert kl(zero, zero) == 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        mean, log_var = 1e-3 * torch.randn(2, 10, 3, generator=generator).double()
        assert kl(mean, log_var) > 0


def test_kl_of_small_deviations_keeps_its_digits():
    # exp(lv) - 1 - lv = lv^2 / 2 + lv^3 / 6 + ...; lv is known to 6e-8, so that the difference
    # is to 6e-8 / (lv / 2) = 1.2e-4; had exp(lv) been rounded, to 12 %.
    log_var = torch.full((1, 1), 1e-3)
    expected = (1e-6 / 2 + 1e-9 / 6) / 2
    assert kl(torch.zeros_like(log_var), log_var).item() == pytest.approx(expected, rel=3e-4)


def test_kl_is_least_at_the_prior():
    mean, log_var = (torch.zeros(5, 2, requires_grad=True) for _ in range(2))
    kl(mean, log_var).backward()
    assert torch.equal(mean.grad, torch.zeros(5, 2))
    assert torch.equal(log_var.grad, torch.zeros(5, 2))


def test_gradient():
    mean, log_var = MEAN[:5].clone().requires_grad_(), LOG_VAR[:5].clone().requires_grad_()
    assert torch.autograd.gradcheck(kl, (mean, log_var))


@pytest.mark.parametrize("models", [(3,), (2, 3)])
def test_leading_axes_equal_a_loop_over_models(models):
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, *models, 20, 4, generator=generator).double()
    mean, log_var = (t.clone().requires_grad_() for t in both)
    penalties = kl(mean, log_var)
    assert penalties.shape == models
    penalties.sin().sum().backward()
    for i in np.ndindex(models):
        m, lv = (t.detach()[i].requires_grad_() for t in (mean, log_var))
        expected = kl(m, lv)
        expected.sin().backward()
        assert_close(penalties[i], expected)
        assert_close(mean.grad[i], m.grad)
        assert_close(log_var.grad[i], lv.grad)


def test_kl_is_of_stochastic_encoders_and_in_nats():
    assert KLDivergence().stochastic
    assert KLDivergence().in_nats


# An embedding z of x has I(z; x) >= I(z; y) for any labels y (the data processing inequality). The
# objective cross-entropy + beta * KL is therefore at least the entropy H(y), that of an empty
# embedding, for beta = 1; for a small beta a useful embedding is below it.


@pytest.mark.filterwarnings("ignore:posterior collapse", "ignore:Stochastic Optimizer")
@pytest.mark.parametrize("share_of_random_labels", [0.0, 0.6])
def test_the_default_weight_keeps_what_labels_need_and_beta_one_does_not(share_of_random_labels):
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < share_of_random_labels, rng.permutation(y), y)
    share = np.bincount(y) / len(y)
    entropy = -(share * np.log(share)).sum()

    def fit(reg_weight):
        embedder = GaussianEmbedder(3, task="classification", regularizer="kl", random_state=0)
        embedder.set_params(reg_weight=reg_weight, hidden_layer_sizes=(16,), max_iter=150)
        embedder.set_params(early_stopping=False, learning_rate_init=0.01).fit(scale(X), y)
        return embedder, embedder.loss_ * np.log(3)

    embedder, nats = fit(reg_weight=1.0)
    assert nats < 0.9 * entropy
    assert embedder.n_active_components_ >= 1
    _, nats = fit(reg_weight=1 / LABEL_BETA)
    assert entropy - 0.02 < nats < entropy + 0.05  # the loss is a mean over random draws
