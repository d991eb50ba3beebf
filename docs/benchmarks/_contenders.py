"""Other methods behind one interface: `fit`, `transform` and, where possible, `inverse_transform`.

Packages that the project does not need are imported when a method is made.
"""

import logging
import tempfile
from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from sklatent import GaussianEmbedder, Gaussianizer

HIDDEN = (256, 256)  # widths of all networks except zuko's


class Factors(FactorAnalysis):
    """Factor analysis whose factors are decoded by the loadings."""

    def inverse_transform(self, Z):
        """Return the mean of X given the factors."""
        return Z @ self.components_ + self.mean_


class Umap(TransformerMixin, BaseEstimator):
    """UMAP without its inverse, which takes minutes."""

    def __init__(self, k, seed, epochs=None):
        self.k, self.seed, self.epochs = k, seed, epochs

    def fit(self, X, y=None):
        """Embed X."""
        from umap import UMAP

        self.umap_ = UMAP(n_components=self.k, random_state=self.seed, n_epochs=self.epochs)
        self.umap_.fit(X)
        return self

    def transform(self, X):
        """Embed new samples."""
        return self.umap_.transform(X)


class MLPAutoencoder(TransformerMixin, BaseEstimator):
    """MLPRegressor that predicts X from X, with a narrow layer in the middle.

    The embedding is that layer before its activation.
    """

    def __init__(self, k, seed, epochs=200):
        self.k, self.seed, self.epochs = k, seed, epochs

    def fit(self, X, y=None):
        """Learn the weights."""
        self.mlp_ = MLPRegressor(
            hidden_layer_sizes=(*HIDDEN, self.k, *HIDDEN[::-1]),
            activation="tanh",
            early_stopping=True,
            max_iter=self.epochs,
            random_state=self.seed,
        )
        self.mlp_.fit(X, X)
        return self

    def _layers(self, h, layers):
        for i in layers:
            h = (np.tanh(h) if i else h) @ self.mlp_.coefs_[i] + self.mlp_.intercepts_[i]
        return h

    def transform(self, X):
        """Return the narrow layer."""
        return self._layers(X, range(len(HIDDEN) + 1))

    def inverse_transform(self, Z):
        """Return the layers after the narrow one."""
        return self._layers(Z, range(len(HIDDEN) + 1, 2 * len(HIDDEN) + 2))


class Pythae(TransformerMixin, BaseEstimator):
    """An autoencoder of pythae with its defaults, but the widths and learning rate of ours."""

    def __init__(self, kind, k, seed, epochs=100):
        self.kind, self.k, self.seed, self.epochs = kind, k, seed, epochs

    def fit(self, X, y=None):
        """Train, and keep the epoch that is best on a tenth of the samples."""
        from pythae import models, trainers
        from pythae.pipelines import TrainingPipeline

        logging.disable(logging.INFO)
        p, adversarial = X.shape[1], self.kind == "Adversarial_AE"
        config = getattr(models, f"{self.kind}{'' if self.kind == 'VAE' else '_'}Config")
        with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(self.seed)
            model = getattr(models, self.kind)(
                config(input_dim=(p,), latent_dim=self.k), *pythae_networks(p, self.k)
            )
            settings = {"output_dir": folder, "num_epochs": self.epochs, "seed": self.seed}
            if adversarial:
                settings |= {"autoencoder_learning_rate": 1e-3, "discriminator_learning_rate": 1e-3}
                trainer = trainers.AdversarialTrainerConfig(**settings)
            else:
                trainer = trainers.BaseTrainerConfig(**settings, learning_rate=1e-3)
            pipeline = TrainingPipeline(model=model, training_config=trainer)
            train, valid = train_test_split(X, test_size=0.1, random_state=self.seed)
            pipeline(train.astype(np.float32), valid.astype(np.float32))
        self.model_ = pipeline.trainer._best_model.eval()
        return self

    @torch.no_grad()
    def transform(self, X):
        """Return the encoder's output, for a VAE the means."""
        return self.model_.encoder(torch.as_tensor(X, dtype=torch.float32)).embedding.numpy()

    @torch.no_grad()
    def inverse_transform(self, Z):
        """Return the decoder's output."""
        return self.model_.decoder(torch.as_tensor(Z)).reconstruction.numpy()


def pythae_networks(p, k):
    """Return an encoder and a decoder with the widths and the activation of ours."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    def body(n):
        widths = [n, *HIDDEN]
        layers = [torch.nn.Linear(a, b) for a, b in zip(widths, HIDDEN, strict=False)]
        return torch.nn.Sequential(*(m for layer in layers for m in (layer, torch.nn.SiLU())))

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.body = body(p)
            self.mean, self.log_var = (torch.nn.Linear(HIDDEN[-1], k) for _ in range(2))

        def forward(self, x):
            h = self.body(x)
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(body(k), torch.nn.Linear(HIDDEN[-1], p))

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z))

    return Encoder(), Decoder()


class Sinflow(TransformerMixin, BaseEstimator):
    """A sliced iterative normalizing flow, with the settings of the package."""

    def fit(self, X, y=None):
        """Learn the map."""
        from sinflow import Flow

        np.random.seed(0)  # noqa: NPY002  (the package draws from the global state)
        self.flow_ = Flow()
        self.flow_.fit(X.copy())  # fit shuffles its argument
        return self

    def transform(self, X):
        """Map to N(0, I)."""
        return self.flow_.forward(X)[0]

    def inverse_transform(self, Z):
        """Undo `transform`."""
        return self.flow_.inverse(Z)[0]

    def score(self, X):
        """Return the mean log-density."""
        return self.flow_.log_prob(X).mean()


class SplineFlow(TransformerMixin, BaseEstimator):
    """A neural spline flow: Adam, with the epoch that is best on a tenth of the samples."""

    def __init__(self, epochs=200):
        self.epochs = epochs

    def fit(self, X, y=None, patience=15, batch=256):
        """Train on 9 of 10 samples."""
        import zuko

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.flow_ = zuko.flows.NSF(X.shape[1], transforms=3, hidden_features=(64, 64))
            train, valid = train_test_split(
                torch.as_tensor(X, dtype=torch.float32), test_size=0.1, random_state=0
            )
            optimizer = torch.optim.Adam(self.flow_.parameters(), 2e-3)
            best, state, left = np.inf, None, patience
            for _ in range(self.epochs):
                for rows in train[torch.randperm(len(train))].split(batch):
                    optimizer.zero_grad()
                    (-self.flow_().log_prob(rows).mean()).backward()
                    optimizer.step()
                with torch.no_grad():
                    loss = -self.flow_().log_prob(valid).mean().item()
                left -= 1
                if loss < best:
                    best, left = loss, patience
                    state = {k: v.clone() for k, v in self.flow_.state_dict().items()}
                if not left:
                    break
        self.flow_.load_state_dict(state)
        self.flow_.double()
        return self

    @torch.no_grad()
    def transform(self, X):
        """Map to N(0, I)."""
        return self.flow_().transform(torch.as_tensor(X)).numpy()

    @torch.no_grad()
    def inverse_transform(self, Z):
        """Undo `transform`."""
        return self.flow_().transform.inv(torch.as_tensor(Z)).numpy()

    @torch.no_grad()
    def score(self, X):
        """Return the mean log-density."""
        return self.flow_().log_prob(torch.as_tensor(X)).mean().item()


def pca(k, seed, quick):
    """Return whitened principal components."""
    return PCA(k, whiten=True, random_state=seed)


def after_pca(make, k, seed, quick):
    """Return a map of principal components."""
    return make_pipeline(pca(k, seed, quick), make(seed, quick))


def embedder(regularizer, calibration, k, seed, quick):
    """Return ours, with default settings."""
    return GaussianEmbedder(
        k,
        regularizer=regularizer,
        calibration=calibration,
        max_iter=2 if quick else "auto",
        random_state=seed,
    )


def quantiles(seed, quick):
    """Return the map of each feature to a Gaussian."""
    return QuantileTransformer(output_distribution="normal", random_state=seed)


#: What is compared: functions of the number of components, a seed, and whether to be quick.
CONTENDERS = {
    "PCA(whiten=True)": pca,
    "PCA + QuantileTransformer": partial(after_pca, quantiles),
    "PCA + Gaussianizer": partial(after_pca, lambda seed, quick: Gaussianizer(random_state=seed)),
    "FactorAnalysis": lambda k, seed, quick: Factors(k, random_state=seed),
    "Nystroem + PCA": lambda k, seed, quick: make_pipeline(
        Nystroem(n_components=200, random_state=seed), pca(k, seed, quick)
    ),
    "UMAP": lambda k, seed, quick: Umap(k, seed, 10 if quick else None),
    "MLPRegressor": lambda k, seed, quick: MLPAutoencoder(k, seed, 2 if quick else 200),
} | {
    f"pythae {kind}": lambda k, seed, quick, kind=kind: Pythae(kind, k, seed, 2 if quick else 100)
    for kind in ("VAE", "WAE_MMD", "Adversarial_AE")
}
CONTENDERS |= {
    "PCA + sinflow": partial(after_pca, lambda seed, quick: Sinflow()),
    "PCA + zuko NSF": partial(after_pca, lambda seed, quick: SplineFlow(2 if quick else 200)),
}
PEERS = list(CONTENDERS)
for _name in ("moment", "sliced_wasserstein", "adversarial", "kl"):
    CONTENDERS[f"ours, {_name}"] = partial(embedder, _name, "affine")
    if _name != "kl":  # whose map is the prior's
        CONTENDERS[f"ours, {_name}, gaussianize"] = partial(embedder, _name, "gaussianize")
