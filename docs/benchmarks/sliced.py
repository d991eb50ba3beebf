"""Times the sliced Epps-Pulley regularizer against its direct evaluation and a training step.

In alternation, medians, one thread, CPU time. The direct evaluation takes a sine and a cosine of
every row, slice and knot; ours takes one of each per row and slice, and multiplies. The step is
that of the default encoder and decoder on 64 features, without a regularizer. See README.md.
"""

import argparse
import time

import torch
from overhead import PlainAutoencoder, alternate, repeated
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklatent.networks import Embedding
from sklatent.regularizers import SlicedEppsPulley

K, T_MAX, N_KNOTS = 8, 3.0, 17


def direct(u, generator, n_slices):
    """Return the penalty of SlicedEppsPulley, from its formula."""
    n, k = u.shape
    directions = torch.randn((k, n_slices), generator=generator)
    t = torch.linspace(0, T_MAX, N_KNOTS)
    phi = torch.exp(-0.5 * t**2)
    weight = 2 * T_MAX / (N_KNOTS - 1) * phi
    weight[[0, -1]] /= 2
    angles = (u @ (directions / directions.norm(dim=0))).unsqueeze(-1) * t  # (n, slices, knots)
    cos, sin = angles.cos().mean(dim=0), angles.sin().mean(dim=0)
    squared_modulus = (n * (cos.square() + sin.square()) - 1) / (n - 1)
    distance = (squared_modulus - 2 * cos * phi + phi.square()) * weight
    s = (2 * torch.pi / 3) ** 0.5 / (4 * (k + 2))
    return distance.sum(dim=-1).mean() / s


def main():
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--times", type=int, default=10, help="evaluations in each repeat")
    args = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)
    u = torch.randn((args.batch, K), generator=generator, requires_grad=True)
    sliced = SlicedEppsPulley()

    def ours():
        return sliced(Embedding(u, None, u), generator=generator)

    def baseline():
        return direct(u, generator, sliced.n_slices)

    # Both estimate the same number, from slices of their own.
    values = [torch.stack([f().detach() for _ in range(200)]) for f in (baseline, ours)]
    print(
        "Mean value: direct {:.5f}, ours {:.5f}; standard errors {:.5f}, {:.5f}\n".format(
            *(float(v.mean()) for v in values), *(float(v.std() / 200**0.5) for v in values)
        )
    )

    X = load_digits().data / 16
    model = PlainAutoencoder(PCA(K, random_state=0).fit(X))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = torch.tensor(X[: args.batch], dtype=torch.float32)

    def step():
        optimizer.zero_grad()
        _, restored = model(x)
        (restored - x).square().sum(dim=1).mean().backward()
        optimizer.step()

    print("| what: baseline, sliced | baseline, ms | sliced, ms | ratio |")
    print("| --- | ---: | ---: | ---: |")
    for name, other, own in [
        ("forward: direct, ours", baseline, ours),
        (
            "forward and backward: direct, ours",
            lambda: baseline().backward(),
            lambda: ours().backward(),
        ),
        ("encoder-decoder step, ours forward and backward", step, lambda: ours().backward()),
    ]:
        functions = repeated(other, args.times), repeated(own, args.times)
        first, second, ratio = alternate(*functions, args.repeats, time.process_time)
        ms = 1000 / args.times
        print(f"| {name} | {ms * first:.2f} | {ms * second:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
