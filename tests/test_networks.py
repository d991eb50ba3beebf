import copy
import pickle

import pytest
import torch
from common import WINE, seeded
from scipy.stats import kstest, uniform
from torch import nn
from torch.testing import assert_close

from sklatent.networks import MLP, Autoencoder, Decoder, Encoder, Gated, Linear

N, P, K = 50, 13, 3
X = torch.from_numpy(WINE[:N])


def normal(*shape, seed=1):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def mlp():
    return MLP(P, K, (8, 6), generator=seeded())


def encoder(skip=None):
    return Encoder(mlp(), skip)


def stochastic_encoder(skip, log_var):
    return Encoder(MLP(P, 2 * K, (8,), generator=seeded()), skip, log_var)


def autoencoder(skip, log_var):
    decoder = Decoder(MLP(K, P, (8,), generator=seeded(10)), skip.mT)
    return Autoencoder(stochastic_encoder(skip, log_var), decoder)


def test_plain_linear_is_torch_linear():
    ours, theirs = Linear(P, K, generator=seeded()), nn.Linear(P, K)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(X.float()), theirs(X.float()))


@pytest.mark.parametrize(
    ("name", "activation"),
    [("silu", nn.SiLU), ("relu", nn.ReLU), ("gelu", nn.GELU), ("tanh", nn.Tanh)],
)
def test_plain_mlp_is_torch_sequential(name, activation):
    ours = MLP(P, K, (8, 6), name, generator=seeded())
    theirs = nn.Sequential(
        nn.Linear(P, 8), activation(), nn.Linear(8, 6), activation(), nn.Linear(6, K)
    )
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(X.float()), theirs(X.float()))


def test_weights_have_the_variance_of_torch_linear():
    # U(-a, a) has variance a^2 / 3; the sample variance of 40,000 uniforms has a relative
    # standard error of sqrt(0.8 / 40,000) = 0.0045.
    layer = Linear(100, 400, generator=seeded())
    assert layer.weight.abs().max() <= 0.1
    assert layer.weight.var().item() == pytest.approx(0.01 / 3, rel=4 * 0.0045)


def test_biases_are_uniform_about_zero():
    # A Kolmogorov-Smirnov test of U(-1/sqrt(in), 1/sqrt(in)), in = 25.
    bias = Linear(25, 4000, generator=seeded()).bias.detach().numpy()
    assert kstest(bias, uniform(-0.2, 0.4).cdf).pvalue > 1e-3


def test_zero_last_starts_at_zero_and_learns():
    network = MLP(P, K, (8,), generator=seeded(), zero_last=True)
    output = network(X.float())
    assert torch.equal(output, torch.zeros(N, K))
    (output - 1).square().sum().backward()
    assert network[-1].weight.grad.abs().min() > 0


def test_gated_module_starts_at_zero_and_learns():
    gated = Gated(Linear(P, K, generator=seeded()), K)
    output = gated(X.float())
    assert torch.equal(output, torch.zeros(N, K))
    (output - 1).square().sum().backward()
    assert gated.gain.grad.abs().min() > 0
    gains = torch.arange(K).float()  # one for each output
    gated.load_state_dict(gated.state_dict() | {"gain": gains})
    assert_close(gated(X.float()), gated.module(X.float()) * gains)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    first = mlp()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    second = mlp()
    torch.set_rng_state(state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_skip_survives_training_in_float32():
    skip = normal(K, P)
    module = Encoder(mlp(), skip)
    assert module.skip.dtype == torch.float32
    assert torch.equal(module.double().skip, skip)
    assert torch.equal(module.float().skip, skip.float())
    assert torch.equal(module.double().skip, skip)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_keep_the_exact_skip(duplicate):
    skip = normal(K, P)
    assert torch.equal(duplicate(Encoder(mlp(), skip)).double().skip, skip)


def test_skip_is_not_trained():
    module = Encoder(mlp(), normal(K, P), normal(K))
    names = {name for name, _ in module.named_parameters()} | set(module.state_dict())
    assert names == {f"network.{name}" for name, _ in module.network.named_parameters()}


def test_deterministic_sample_is_the_mean():
    embedding = encoder(normal(K, P)).double()(X, normal(N, K))
    assert embedding.log_var is None
    assert torch.equal(embedding.sample, embedding.mean)


def test_stochastic_sample_is_mean_plus_scaled_noise():
    noise = normal(N, K, seed=5)
    module = stochastic_encoder(normal(K, P), normal(K)).double()
    mean, log_var, sample = module(X, noise)
    assert_close(sample, mean + torch.exp(log_var / 2) * noise)
    assert torch.equal(module(X).sample, mean)


def test_encoder_starts_at_its_skip_and_log_variance():
    skip, log_var = normal(K, P), normal(K)
    network = MLP(P, 2 * K, (8,), generator=seeded(), zero_last=True)
    embedding = Encoder(network, skip, log_var).double()(X)
    assert_close(embedding.mean, X @ skip.T)
    # The log-variance is kept in float32, the type of training.
    assert_close(embedding.log_var, log_var.expand(N, K), rtol=1e-6, atol=1e-6)


def test_autoencoder_decodes_the_sample():
    module = autoencoder(normal(K, P), normal(K)).double()
    embedding, output = module(X, normal(N, K, seed=5))
    assert torch.equal(output, module.decoder(embedding.sample))


def test_autoencoder_without_decoder_returns_no_output():
    assert Autoencoder(encoder(), None)(X.float())[1] is None
