"""Facts about every regularizer that measures a sample's distance from N(0, I)."""

import common
import numpy as np
import pytest
import torch
from common import seeded
from torch.testing import assert_close

from sklatent.networks import Embedding
from sklatent.regularizers import (
    REGULARIZERS,
    Adversarial,
    KLDivergence,
    MaximumMeanDiscrepancy,
    MomentMatching,
    SlicedEppsPulley,
    SlicedWasserstein,
    _mmd,
)

WINE = torch.from_numpy(common.WINE)
KERNELS = [MaximumMeanDiscrepancy(), MaximumMeanDiscrepancy("rbf")]
SLICED = [SlicedEppsPulley(n_slices=16), SlicedWasserstein(n_slices=16)]
ALL = [*KERNELS, *SLICED, MomentMatching()]

every = pytest.mark.parametrize("regularizer", ALL, ids=str)


def penalty(regularizer, u, seed=0):
    return regularizer(Embedding(u, None, u), generator=seeded(seed))


def penalties(regularizer, batches):
    """One penalty per batch of (batches, n, k), a few batches at a time."""
    pairs = batches.shape[1] ** 2 / 2
    chunks = batches.split(max(1, int(2e6 / pairs)))
    return torch.cat([penalty(regularizer, c, seed=i) for i, c in enumerate(chunks)]).double()


def standard_error(values):
    return values.std() / len(values) ** 0.5


def test_every_regularizer_of_a_sample_is_here():
    # KL is of distributions and in nats; the critic's opinion has no closed form.
    tested = {type(regularizer) for regularizer in ALL}
    assert tested | {KLDivergence, Adversarial} == set(REGULARIZERS.values())


@every
@pytest.mark.parametrize("k", [1, 2, 8, 64])
@pytest.mark.parametrize("n", [32, 128, 512])
def test_normal_draws_score_zero_and_are_the_best_scale(regularizer, n, k):
    # The scale of a batch is known to (2 n k)^-1/2, and so is where one batch has its minimum.
    count = max(20, 3000 // n if k > n / 8 else 0, 200_000 // (n * k))
    u = torch.randn(count, n, k, generator=seeded())
    variance = torch.tensor([0.95, 1.0, 1.05], dtype=torch.float64)
    low, mid, high = (penalties(regularizer, s * u) for s in variance.sqrt().tolist())
    assert abs(mid.mean()) < 4 * standard_error(mid)
    # A parabola through the three; a cubic term as large as the square one moves it by 0.001.
    slope, curvature = (high - low) / 0.1, (high - 2 * mid + low).mean() / 0.05**2
    assert curvature > 0
    assert standard_error(slope) / curvature < 0.007
    assert slope.mean() / curvature == pytest.approx(0, abs=0.02)


@every
def test_a_single_sample_has_no_distance(regularizer):
    u = torch.randn(3, 1, 2, generator=seeded(), requires_grad=True)
    value = regularizer.penalty(Embedding(u, None, u), generator=seeded())
    assert_close(value, torch.zeros(3))
    assert_close(torch.autograd.grad(value.sum(), u)[0], torch.zeros(3, 1, 2))


def two_clusters(normal):
    along, across = normal.unbind(-1)
    return torch.stack([0.8 * along.sign() + 0.6 * along.roll(1, dims=-1), across], dim=-1)


def ring(normal):
    return 2**0.5 * normal / normal.norm(dim=-1, keepdim=True)


def uniform(normal):
    return 12**0.5 * (torch.special.ndtr(normal) - 0.5)


def student(normal):
    chi2 = normal.new_empty(*normal.shape[:-1], 5).normal_(generator=seeded(1)).square().sum(-1)
    return normal * (3 / chi2.unsqueeze(-1)) ** 0.5


@pytest.mark.parametrize("regularizer", [*KERNELS, *SLICED], ids=str)
@pytest.mark.parametrize("shape", [two_clusters, ring, uniform, student])
def test_it_sees_what_two_moments_do_not(regularizer, shape):
    u = shape(torch.randn(100, 512, 2, generator=seeded()))
    rows = u.flatten(0, 1)
    # A fourth moment is at most 25 here.
    assert_close(rows.mean(0), torch.zeros(2), atol=4 / len(rows) ** 0.5, rtol=0)
    assert_close(rows.T.cov(), torch.eye(2), atol=4 * 5 / len(rows) ** 0.5, rtol=0)
    values = penalties(regularizer, u)
    assert values.mean() > 4 * standard_error(values)


@every
def test_gradient(regularizer):
    u = WINE[:7, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda u: penalty(regularizer, u), u)


@every
@pytest.mark.parametrize("models", [(3,), (2, 3)])
def test_leading_axes_equal_a_loop_over_models(regularizer, models):
    u = torch.randn(*models, 20, 4, generator=seeded()).double().requires_grad_()
    values = penalty(regularizer, u)
    assert values.shape == models
    values.sin().sum().backward()
    for i in np.ndindex(models):
        one = u.detach()[i].requires_grad_()
        expected = penalty(regularizer, one)
        expected.sin().backward()
        assert_close(values[i], expected)
        assert_close(u.grad[i], one.grad)


@every
def test_order_of_rows_does_not_matter(regularizer):
    u = 0.2 + WINE[:40]
    order = torch.randperm(40, generator=seeded())
    assert_close(penalty(regularizer, u[order]), penalty(regularizer, u))


@pytest.mark.parametrize("regularizer", KERNELS, ids=str)
def test_blocks_are_all_pairs(regularizer, monkeypatch):
    u = WINE[:64, :3].expand(2, -1, -1).clone()
    u[1] *= 0.7
    values, gradients = [], []
    for size in (1024, 30, 21):  # one block; three, the last of 4; four, the last of one
        monkeypatch.setattr(_mmd, "BLOCK", size)
        v = u.clone().requires_grad_()
        values.append(penalty(regularizer, v))
        values[-1].sum().backward()
        gradients.append(v.grad)
    for value, gradient in zip(values, gradients, strict=True):
        assert_close(value, values[0])
        assert_close(gradient, gradients[0])


def test_memory_does_not_grow_with_the_square_of_the_samples(monkeypatch):
    # 3000 samples have 4.5 million pairs; a million distances are held at a time.
    sizes = []

    def spy(r, variance, n_components):
        sizes.append(r.numel())
        return _mmd.rbf(r, variance, n_components)

    u, rbf = torch.randn(3000, 2, generator=seeded()), MaximumMeanDiscrepancy("rbf")
    exact = penalty(rbf, u.double()).float()
    monkeypatch.setitem(_mmd.KERNELS, "rbf", spy)
    value = penalty(rbf, u)
    assert max(sizes) <= 2**20
    assert sum(sizes) >= 3000 * 2999 / 2
    # Kernel means are of order 1 and their differences are divided by s = 3/32.
    assert_close(value, exact, atol=1e-5, rtol=0)


def rotated(u):
    k = u.shape[-1]
    return u @ torch.linalg.qr(torch.randn(k, k, generator=seeded(2)).double())[0]


@pytest.mark.parametrize("regularizer", [*KERNELS, MomentMatching()], ids=str)
def test_rotations_do_not_matter(regularizer):
    u = 0.2 + WINE[:40]
    assert_close(penalty(regularizer, rotated(u)), penalty(regularizer, u))


@pytest.mark.parametrize("regularizer", SLICED, ids=str)
def test_rotations_do_not_matter_on_average_over_slices(regularizer):
    u = 0.2 + WINE[:40, :5]
    values, others = (
        torch.stack([penalty(regularizer, v, seed) for seed in seeds])
        for v, seeds in [(u, range(200)), (rotated(u), range(200, 400))]
    )
    error = (standard_error(values) ** 2 + standard_error(others) ** 2) ** 0.5
    assert abs(values.mean() - others.mean()) < 4 * error


@pytest.mark.parametrize("kind", [SlicedEppsPulley, SlicedWasserstein])
def test_more_slices_have_less_noise(kind):
    noise = [
        torch.stack([penalty(kind(n_slices=m), WINE, seed) for seed in range(40)]).std()
        for m in (2, 128)
    ]
    assert noise[1] < noise[0] / 4  # 1/8 in expectation


@every
def test_a_generator_state_fixes_the_value(regularizer):
    state = torch.get_rng_state()
    value = penalty(regularizer, WINE)
    assert torch.equal(penalty(regularizer, WINE), value)
    assert torch.equal(penalty(regularizer, WINE, seed=1), value) != (regularizer in SLICED)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.device("meta"):  # a default device without numbers
        assert torch.equal(penalty(regularizer, WINE), value)


@every
def test_it_is_the_sample_that_is_measured(regularizer):
    nan = torch.full_like(WINE, torch.nan)
    value = regularizer(Embedding(nan, nan, WINE), generator=seeded())
    assert torch.equal(value, penalty(regularizer, WINE))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 13])
def test_values_and_gradients_are_finite_wherever_points_lie(regularizer, dtype, k):
    rows = WINE[:30, :k].to(dtype)
    cases = {
        "collapsed to the origin": 0 * rows,
        "collapsed elsewhere": 0 * rows + 3,
        "duplicated rows": torch.cat([rows, rows]),
        "a point at the origin": torch.cat([0 * rows[:1], rows]),
        "two rows": rows[:2],
        "two equal rows": rows[:1].repeat(2, 1),
        "far": 1e3 * rows,
        "one far": torch.cat([rows, 0 * rows[:1] + 1e3]),
    }
    for case, u in cases.items():
        u = u.clone().requires_grad_()
        value = penalty(regularizer, u)
        value.backward()
        assert value.dtype == dtype, case
        assert value.isfinite(), case
        assert u.grad.isfinite().all(), case


@every
def test_single_precision_is_enough(regularizer):
    # Kernel means are of order 1, their differences, in units of s, of order 10.
    u = WINE.clone().requires_grad_()
    single = WINE.float().requires_grad_()
    for v in (u, single):
        penalty(regularizer, v).backward()
    assert_close(penalty(regularizer, single).double(), penalty(regularizer, u), atol=1e-4, rtol=0)
    # Sorted projections that nearly tie may change places.
    share = 0.02 if regularizer is SLICED[1] else 1e-4
    assert_close(single.grad.double(), u.grad, atol=share * u.grad.abs().max().item(), rtol=0)


@every
@pytest.mark.parametrize("k", [1, 2, 8])
def test_one_scale(regularizer, k):
    # One component of variance v scores (v - 1)^2 / k near N(0, I); d is where that is near.
    d, u = 0.1, torch.randn(400, 128, k, generator=seeded())

    def of_one_component(variance):
        return penalties(regularizer, torch.cat([variance**0.5 * u[..., :1], u[..., 1:]], -1))

    low, mid, high = (of_one_component(v) for v in (1 - d, 1.0, 1 + d))
    curvature = k * (high - 2 * mid + low) / (2 * d**2)
    assert abs(curvature.mean() - 1) < 4 * standard_error(curvature) + 5 * d**2


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (SlicedWasserstein(), lambda k: 4 / 3 * (k + 2)),
        (
            MaximumMeanDiscrepancy("rbf"),
            lambda k: (
                (1 - 2 * (1 + 1 / k) ** (-k / 2) + (1 + 2 / k) ** (-k / 2))
                / (3 / (4 * k) * (1 + 2 / k) ** (-k / 2 - 2))
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(("n", "k"), [(2, 1), (100, 8), (30, 64)])
def test_value_at_collapse(regularizer, expected, n, k):
    value = penalty(regularizer, torch.zeros(n, k, dtype=torch.float64))
    assert value.item() == pytest.approx(expected(k), rel=1e-5)
