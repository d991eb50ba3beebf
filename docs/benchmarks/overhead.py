"""Times what GaussianEmbedder costs beyond its arithmetic.

Comparisons on digits, in alternation, each the median of several ratios: `fit` against a
training loop written by hand, `transform` against PCA and against the encoder alone, and
the layers of `sklatent.networks` against the layers of torch. See README.md beside this file.
"""

import argparse
import copy
import itertools
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklatent import GaussianEmbedder
from sklatent.networks import MLP

K, HIDDEN, BATCH, LEARNING_RATE = 8, 256, 128, 1e-3


def alternate(first, second, repeats, clock):
    """Return the median times of two functions, and the median of second over first."""
    times = np.empty((repeats, 2))
    for i in range(-1, repeats):  # the first round warms up
        for j in (0, 1) if i % 2 else (1, 0):
            start = clock()
            (first, second)[j]()
            times[i, j] = clock() - start
    return *np.median(times, axis=0), np.median(times[:, 1] / times[:, 0])


def report(name, first, second, repeats, clock=time.process_time):
    """Print a row of the table. CPU time does not count what else runs on the machine."""
    baseline, ours, ratio = alternate(first, second, repeats, clock)
    print(f"| {name} | {baseline:.3f} | {ours:.3f} | {ratio:.2f} |", flush=True)


def plain_mlp(*widths):
    """Return the default network's layers, in torch's own classes."""
    layers = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class PlainAutoencoder(nn.Module):
    """The network that GaussianEmbedder trains by default, written by hand."""

    def __init__(self, pca):
        super().__init__()
        p = pca.n_features_in_
        root = torch.tensor(np.sqrt(pca.explained_variance_), dtype=torch.float32)
        axes = torch.tensor(pca.components_, dtype=torch.float32)
        self.register_buffer("encoder_skip", axes / root[:, None])
        self.register_buffer("decoder_skip", axes.T * root)
        self.encoder = plain_mlp(p, HIDDEN, HIDDEN, K)
        self.decoder = plain_mlp(K, HIDDEN, HIDDEN, p)
        for last in (self.encoder[-1], self.decoder[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x):
        """Return embedding and reconstruction."""
        u = self.encoder(x) + F.linear(x, self.encoder_skip)
        return u, self.decoder(u) + F.linear(u, self.decoder_skip)


def train_by_hand(X, epochs):
    """Fit the same model with the same batches, loss, optimizer and number of steps."""
    X = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0, ddof=1).mean())
    model = PlainAutoencoder(PCA(K, random_state=0).fit(X))
    x_all = torch.tensor(X, dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    generator = torch.Generator().manual_seed(0)
    n_rows, curve = len(x_all), []
    identity = torch.eye(K)
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(n_rows, generator=generator)
        for index in order.tensor_split(n_rows // BATCH):
            x = x_all[index]
            n = len(x)
            optimizer.zero_grad()
            u, restored = model(x)
            task_loss = (x - restored).square().mean()
            mean = u.mean(dim=0)
            centered = u - mean
            cov = centered.T @ centered / (n - 1)
            d = 1 / (n - 1) - 1 / (n_rows - 1)
            c = 1 + (K + 1) * d
            mean_error = mean.square().sum() - (1 / n - 1 / n_rows) * cov.diagonal().sum()
            cov_error = (cov - c * identity).square().sum() - K * (K + 1) * d * c
            loss = task_loss + (mean_error + cov_error) / K
            loss.backward()
            optimizer.step()
            total = total + n * loss.detach()
        curve.append(float(total) / n_rows)
    return curve


def train_ours(X, epochs, **params):
    """Fit GaussianEmbedder for a fixed number of epochs."""
    embedder = GaussianEmbedder(
        K,
        hidden_layer_sizes=(HIDDEN, HIDDEN),
        learning_rate_init=LEARNING_RATE,
        batch_size=BATCH,
        max_iter=epochs,
        early_stopping=False,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
        **params,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return embedder.fit(X)


def repeated(function, times):
    """Return a function that calls another one many times."""

    def run():
        for _ in range(times):
            function()

    return run


def time_fit(X, epochs, repeats, threads):
    """Compare fits of equally many steps."""
    torch.set_num_threads(threads)
    report(
        f"fit, {epochs} epochs, {threads} thread{'s' * (threads > 1)}: loop by hand, ours",
        lambda: train_by_hand(X, epochs),
        lambda: train_ours(X, epochs),
        repeats,
        # The CPU time of two threads counts one's waiting for the other.
        clock=time.process_time if threads == 1 else time.perf_counter,
    )


def time_transform(X, repeats):
    """Compare `transform` of one sample with PCA, and of 10,000 with the encoder alone."""
    torch.set_num_threads(1)
    for dtype, calibration in itertools.product(
        (np.float64, np.float32), ("affine", "gaussianize")
    ):
        rows = X.astype(dtype)
        pca = PCA(K, whiten=True).fit(rows)
        embedder = train_ours(rows, 1, calibration=calibration)
        row, many = rows[:1], np.resize(rows, (10_000, rows.shape[1]))
        encoder = copy.deepcopy(embedder.net_.module_.encoder).to(torch.tensor(many).dtype)

        def forward(encoder=encoder, many=many):
            with torch.inference_mode():
                encoder(torch.from_numpy(many))

        name = f"{dtype.__name__}, {calibration}"
        report(
            f"transform of one sample x 1000, {name}: PCA, ours",
            repeated(lambda pca=pca, row=row: pca.transform(row), 1000),
            repeated(lambda embedder=embedder, row=row: embedder.transform(row), 1000),
            repeats,
        )
        report(
            f"transform of 10,000 samples, {name}: the encoder alone, ours",
            forward,
            lambda embedder=embedder, many=many: embedder.transform(many),
            repeats,
        )


def time_layers(X, repeats):
    """Compare forward and backward passes of one model's layers."""
    torch.set_num_threads(1)
    x = torch.tensor(X[:BATCH], dtype=torch.float32)

    def step(module):
        module(x).square().mean().backward()

    widths = (X.shape[1], HIDDEN, HIDDEN, K)
    theirs, ours = plain_mlp(*widths), MLP(widths[0], widths[-1], widths[1:-1])
    report(
        "layers, forward and backward x 1000: torch.nn.Linear, sklatent.networks.MLP",
        repeated(lambda: step(theirs), 1000),
        repeated(lambda: step(ours), 1000),
        repeats,
    )


def main():
    """Measure all of them and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()

    X = load_digits().data / 16
    curve, ours = train_by_hand(X, args.epochs), train_ours(X, args.epochs).loss_curve_
    print(f"Loss after {args.epochs} epochs: by hand {curve[-1]:.4f}, ours {ours[-1]:.4f}\n")
    print("| what: baseline, ours | baseline, s | ours, s | ratio |")
    print("| --- | ---: | ---: | ---: |")
    for threads in args.threads:
        time_fit(X, args.epochs, args.repeats, threads)
    time_transform(X, args.repeats)
    time_layers(X, args.repeats)


if __name__ == "__main__":
    main()
