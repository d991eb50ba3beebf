import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA

from sklatent import GaussianEmbedder, _start
from sklatent._start import PCAStart


def wide():
    """60 x 500, as spectra are: five sources and noise."""
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((60, 5)) * [5, 4, 3, 2, 1]
    return sources @ rng.standard_normal((5, 500)) + 0.1 * rng.standard_normal((60, 500))


DATA = {
    "digits": (load_digits().data, 8),
    "breast_cancer": (load_breast_cancer().data, 4),
    "wine": (load_wine().data, 3),
    "diabetes": (load_diabetes().data, 3),
    "wide": (wide(), 4),
}
TALL = [name for name in DATA if name != "wide"]


def fit(X, n_components, weight=None):
    return PCAStart.fit(X, weight, n_components, np.random.RandomState(0))


def whitened(start, X):
    return start.standardize(X) @ start.encoder_skip.T


@pytest.mark.parametrize("name", DATA)
def test_start_is_whitened_pca(name):
    X, k = DATA[name]
    start, pca = fit(X, k), PCA(k, whiten=True).fit(X)
    # Signs included. PCA's eigenvectors have the rounding errors of X^T X, of condition 1e7 for
    # breast_cancer's components.
    np.testing.assert_allclose(start.components, pca.components_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(start.variances * start.scale**2, pca.explained_variance_)
    np.testing.assert_allclose(start.mean, pca.mean_, atol=1e-12 * start.scale)
    u = pca.transform(X)
    np.testing.assert_allclose(whitened(start, X), u, rtol=0, atol=1e-6)
    restored = start.unstandardize(u @ start.decoder_skip.T)
    spread = X.std(axis=0).max()
    np.testing.assert_allclose(restored, pca.inverse_transform(u), rtol=0, atol=1e-9 * spread)


@pytest.mark.parametrize("name", DATA)
def test_rows_have_mean_zero_and_mean_variance_one(name):
    X, k = DATA[name]
    x = fit(X, k).standardize(X)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    assert x.var(axis=0, ddof=1).mean() == pytest.approx(1)


@pytest.mark.parametrize("name", TALL)
def test_noise_variance_is_that_of_pca(name):
    X, k = DATA[name]
    start = fit(X, k)
    expected = PCA(k, svd_solver="full").fit(X).noise_variance_
    # A small remainder of a large total keeps fewer digits: 1e-3 of it here.
    assert start.noise_variance * start.scale**2 == pytest.approx(expected, rel=1e-9)


def test_noise_variance_of_wide_data_counts_every_direction():
    # Tipping & Bishop 1999, eq. 8. scikit-learn divides by min(n, p) - k.
    X, k = DATA["wide"]
    start, variances = fit(X, k), PCA().fit(X).explained_variance_
    expected = variances[k:].sum() / (X.shape[1] - k)
    assert start.noise_variance * start.scale**2 == pytest.approx(expected)


def test_noise_variance_is_zero_where_all_components_are_kept():
    assert fit(load_wine().data, 13).noise_variance == 0


@pytest.mark.parametrize("name", TALL)
def test_log_variance_is_the_posterior_of_probabilistic_pca(name):
    X, k = DATA[name]
    pca = PCA(k, svd_solver="full").fit(X)
    # Tipping & Bishop 1999, eq. 6: sigma^2 M^-1 with M = W^T W + sigma^2 I.
    loadings = np.sqrt(pca.explained_variance_ - pca.noise_variance_) * pca.components_.T
    M = loadings.T @ loadings + pca.noise_variance_ * np.eye(k)
    expected = np.diag(pca.noise_variance_ * np.linalg.inv(M))
    np.testing.assert_allclose(np.exp(fit(X, k).log_var), expected, rtol=1e-6)


def test_the_posterior_is_not_wider_than_the_prior():
    # The noise has at least a millionth of the variance, more than these components.
    X = np.random.default_rng(0).standard_normal((100, 3)) * [1, 1e-5, 1e-6]
    std = (
        GaussianEmbedder(3, regularizer="kl", calibration=None, max_iter=0).fit(X).posterior(X).std
    )
    assert std.max() <= 1
    np.testing.assert_allclose(std[:, 1:], 1)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("a", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
def test_units_of_X_do_not_matter(name, a, offset):
    X, k = DATA[name]
    start = fit(X, k)
    scaled = a * (X + offset * start.scale)
    other = fit(scaled, k)
    # What is left of an offset is rounded at half its last digit, as the mean is; whitening
    # magnifies that by the root of the total over the least variance.
    rounding = 1e-13 + offset * 2.3e-16
    magnified = 10 * rounding * np.sqrt(X.shape[1] / start.variances[-1])
    x, u = other.standardize(scaled), whitened(other, scaled)
    assert other.scale == pytest.approx(a * start.scale, rel=10 * rounding)
    np.testing.assert_allclose(x, start.standardize(X), rtol=0, atol=10 * rounding)
    np.testing.assert_allclose(u, whitened(start, X), rtol=0, atol=magnified)


def test_mean_of_many_rows_far_from_zero():
    X = 1e6 + np.random.default_rng(0).standard_normal((100_000, 2))
    # The mean is one rounding off, 1e6 * 1.1e-16, where plain sums of so many are 1e-8 off.
    np.testing.assert_allclose(fit(X, 1).standardize(X).mean(axis=0), 0, atol=2e-10)


@pytest.mark.parametrize("name", ["digits", "wine", "wide"])
def test_integer_weights_repeat_rows(name):
    X, k = DATA[name]
    weight = np.random.default_rng(0).integers(1, 4, len(X))
    weighted, repeated = fit(X, k, weight.astype(float)), fit(np.repeat(X, weight, axis=0), k)
    np.testing.assert_allclose(weighted.mean, repeated.mean, atol=1e-12)
    np.testing.assert_allclose(weighted.components, repeated.components, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted.variances, repeated.variances)
    assert weighted.noise_variance == pytest.approx(repeated.noise_variance)
    # The divisor counts rows, not repetitions: n - 1 where those have sum(w) - 1.
    n, total = len(X), weight.sum()
    ratio = (n / (n - 1)) / (total / (total - 1))
    assert weighted.scale**2 == pytest.approx(ratio * repeated.scale**2)


def test_scale_of_weights_does_not_matter_and_ones_are_none():
    X, k = DATA["wine"]
    weight = np.random.default_rng(0).uniform(0.1, 2, len(X))
    a, b = fit(X, k, weight), fit(X, k, 1e3 * weight)
    np.testing.assert_allclose(a.encoder_skip, b.encoder_skip, rtol=1e-9, atol=1e-12)
    ones, none = fit(X, k, np.ones(len(X))), fit(X, k)
    np.testing.assert_allclose(ones.encoder_skip, none.encoder_skip, rtol=1e-6, atol=1e-9)
    assert ones.scale == pytest.approx(none.scale)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("weighted", [False, True])
def test_share_of_variance_keeps_as_many_components_as_pca(share, weighted):
    X, _ = DATA["digits"]
    weight = np.ones(len(X)) if weighted else None
    start, pca = fit(X, share, weight), PCA(share).fit(X)
    assert len(start.components) == pca.n_components_


def test_float32_is_standardised_in_float64():
    X = (load_wine().data + 1e4).astype(np.float32)
    start = fit(X, 3)
    x = start.standardize(X)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, start.standardize(X.astype(np.float64)).astype(np.float32))
    assert start.unstandardize(x).dtype == np.float32
    # One rounding of numbers near 1e4.
    np.testing.assert_allclose(start.unstandardize(x), X, rtol=2e-7)


@pytest.mark.parametrize("name", DATA)
def test_start_leaves_X_as_it_was(name):
    X, k = DATA[name]
    before = X.copy()
    fit(X, k, np.linspace(1, 2, len(X)))
    fit(X, k)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_X_is_an_error(constant, dtype):
    with pytest.raises(ValueError, match="X is constant"):
        fit(np.full((20, 3), constant, dtype), 2)


@pytest.mark.parametrize("weight", [None, np.linspace(1, 2, 178)])
@pytest.mark.parametrize("name", ["duplicated columns", "few rows", "one feature varies"])
def test_components_beyond_the_rank_are_an_error(name, weight):
    X = load_wine().data
    X, rank = {
        "duplicated columns": (np.hstack([X[:, :3]] * 2), 3),
        "few rows": (X[:5], 4),
        "one feature varies": (X * np.eye(13)[0], 1),
    }[name]
    weight = None if weight is None else weight[: len(X)]
    with pytest.raises(ValueError, match=f"^n_components={rank + 1} exceeds .*at most {rank}"):
        fit(X, rank + 1, weight)
    assert len(fit(X, rank, weight).components) == rank


def unlike(n, p):
    X = np.random.default_rng(0).standard_normal((n, p))
    X[:, 0] *= 3e7
    return X


# The shapes for which PCA takes each of its solvers: all data, the covariance, a random part.
@pytest.mark.parametrize(
    ("shape", "factor"),
    [((100, 12), 1), ((200, 12), 1), ((200, 12), 1e-150), ((200, 12), 1e140), ((550, 500), 1)],
)
def test_unlike_scales_are_no_lack_of_rank(shape, factor):
    X = factor * unlike(*shape)
    np.testing.assert_allclose(np.cov(whitened(fit(X, 3), X).T), np.eye(3), atol=1e-10)


def test_unlike_scales_in_float32_and_with_weights():
    X, weight = unlike(200, 12), np.random.default_rng(0).integers(1, 4, 200)
    start = fit(X.astype(np.float32), 3)
    np.testing.assert_allclose(start.components, fit(X, 3).components, rtol=0, atol=1e-6)
    start, repeated = fit(X, 3, weight.astype(float)), fit(np.repeat(X, weight, axis=0), 3)
    np.testing.assert_allclose(start.components, repeated.components, rtol=0, atol=1e-9)


def test_one_nearly_constant_feature_is_a_component_of_its_own():
    X = np.random.default_rng(0).standard_normal((200, 4)) * [1, 1, 1, 1e-12] + [0, 0, 0, 7]
    assert np.abs(fit(X, 4).components[3, 3]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("dtype", "scales", "offset"),
    [
        (np.float32, 1.0, 1e3),
        (np.float32, 1e-30, 0.0),
        (np.float32, np.logspace(0, 7, 12), 0.0),
        (np.float64, 1.0, 1e8),
        (np.float64, 1e-150, 0.0),
        (np.float64, np.logspace(0, 7, 12), 1.0),
    ],
)
def test_rounding_is_no_rank(dtype, scales, offset):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 12)) * scales
    X = (X + offset).astype(dtype)
    assert len(fit(X, 3).components) == 3
    with pytest.raises(ValueError, match=r"^n_components=4 exceeds .*at most 3"):
        fit(X, 4)


def test_float32_samples_that_vary_by_few_units_in_the_last_place():
    # Near 1e8 a float32 is a multiple of 8.
    noise = np.random.default_rng(0).standard_normal((200, 3))
    X = (1e8 + 30 * noise).astype(np.float32)
    np.testing.assert_allclose(np.cov(whitened(fit(X, 2), X.astype(float)).T), np.eye(2), atol=1e-9)
    with pytest.raises(ValueError, match="X is constant"):
        fit((1e8 + 2 * noise).astype(np.float32), 2)


def test_the_first_layer_notices_components_of_little_variance():
    # Two features of little variance beside one of much: PCA whitens both, and a network that saw
    # only rows in units of the whole would find hardly any difference along the second.
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3)) * [1, 1e-3, 1e-4]
    embedder = GaussianEmbedder(2, max_iter=0, random_state=0).fit(rows)
    layer = embedder.net_.module_.encoder.network[0].weight.detach().numpy()
    u = embedder.transform(rows)
    x = embedder._start.standardize(rows)
    slopes = np.linalg.lstsq(u, (x @ layer.T), rcond=None)[0]  # of the hidden units along u
    assert np.abs(slopes).mean(axis=1).min() > 0.3
    # Along the component of little variance they are U(-b, b), b = 3 over the root of 3 features.
    assert 0.95 * np.sqrt(3) < np.abs(slopes[1]).max() < 1.001 * np.sqrt(3)


@pytest.mark.parametrize("few_features", [1000, 0])  # covariance matrix, ARPACK
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["digits", "diabetes", "wide"])
def test_sparse_samples_start_where_dense_samples_do(name, weighted, few_features, monkeypatch):
    monkeypatch.setattr(_start, "FEW_FEATURES", few_features)
    X, k = DATA[name]
    weight = np.linspace(0.1, 2, len(X)) if weighted else None
    dense, sparse = fit(X, k, weight), fit(csr_array(X), k, weight)
    np.testing.assert_allclose(sparse.mean, dense.mean, atol=1e-12 * dense.scale)
    assert sparse.scale == pytest.approx(dense.scale, rel=1e-12)
    np.testing.assert_allclose(sparse.variances, dense.variances, rtol=1e-9)
    np.testing.assert_allclose(sparse.components, dense.components, rtol=0, atol=1e-7)
    assert sparse.noise_variance == pytest.approx(dense.noise_variance, rel=1e-9)


@pytest.mark.parametrize("n_components", [0.5, 0.9, 60, 64])
def test_sparse_samples_can_keep_a_share_of_variance_or_all(n_components):
    X = DATA["digits"][0] + 0.1 * np.random.default_rng(0).normal(size=(1797, 64))
    dense, sparse = fit(X, n_components), fit(csr_array(X), n_components)
    np.testing.assert_allclose(sparse.variances, dense.variances, rtol=1e-9)


@pytest.mark.parametrize("few_features", [1000, 0])
def test_sparse_samples_have_a_rank(few_features, monkeypatch):
    monkeypatch.setattr(_start, "FEW_FEATURES", few_features)
    factors = np.random.default_rng(0).normal(size=(100, 3))
    X = np.concatenate([factors, factors @ np.ones((3, 5)), np.zeros((100, 2))], axis=1)
    assert len(fit(csr_array(X), 3).components) == 3
    with pytest.raises(ValueError, match="n_components=5 exceeds the rank of X: only 3"):
        fit(csr_array(X), 5)
    with pytest.raises(ValueError, match="X is constant"):
        fit(csr_array(np.ones((100, 10))), 5)


# A wrong value


def wrong(n, value):
    X = np.random.default_rng(0).standard_normal((n, 3))
    X[17, 1] = value
    return X


def test_a_value_that_determines_a_component_is_named():
    X = pd.DataFrame(wrong(500, -999.0), columns=["a", "b", "c"])
    embedder = GaussianEmbedder(2, max_iter=0)
    message = r"^X\[17\] causes 99.\d% of the variance of principal component 0, .* -999 .* 'b'"
    with pytest.warns(UserWarning, match=message):
        embedder.fit(X)
    with pytest.warns(UserWarning, match="value -999 of feature 1"):
        embedder.fit(csr_array(X.to_numpy()))
    # Some samples are not used, so the index would be another sample's.
    with pytest.warns(UserWarning, match="^One sample causes"):
        embedder.fit(X, sample_weight=np.arange(500) > 0)


def test_heavy_tails_and_small_data_have_no_wrong_value():
    for seed in range(5):
        heavy = np.random.default_rng(seed).standard_t(3, size=(300, 3))
        GaussianEmbedder(2, max_iter=0).fit(heavy)
    GaussianEmbedder(2, max_iter=0).fit(wrong(18, 5.0))


def test_a_feature_far_from_zero_is_not_taken_for_the_wrong_one():
    X = wrong(500, -999.0)
    X[:, 2] += 1e9
    sample, feature, component, _ = fit(X, 2).dominant_value(X, None)
    assert (sample, feature, component) == (17, 1, 0)
