"""Measures what the tests of Gaussianity find, and whether they keep their level.

Share of samples that each test rejects at the level 0.05. All but the last two distributions have
the mean and covariance of the Gaussian that they are tested against. "given" is the simple null,
"any" the composite one. With --levels, whether p-values are uniform where rows are from the
Gaussian. See README.md.
"""

import argparse

import numpy as np
from scipy.stats import kstest, ortho_group

from sklatent.metrics import (
    classifier_two_sample_test,
    epps_pulley_test,
    henze_zirkler_test,
    mardia_test,
)
from sklatent.metrics._worst_direction import worst_direction

TESTS = {
    "Mardia": mardia_test,
    "Henze-Zirkler": henze_zirkler_test,
    "Epps-Pulley": epps_pulley_test,
    "classifier": classifier_two_sample_test,
}
WORST = "worst direction"


def heavy_tails(rng, n, k):
    """Draw from an elliptical t with 5 degrees of freedom."""
    u = rng.standard_normal((n, k))
    return u * np.sqrt(3 / rng.chisquare(5, size=(n, 1)))


def uniform(rng, n, k):
    """Draw independent uniform components, a cube."""
    return rng.uniform(-(3**0.5), 3**0.5, size=(n, k))


def clusters(rng, n, k):
    """Draw two clusters along the first component, 3.5 of their standard deviations apart."""
    u = rng.standard_normal((n, k))
    u[:, 0] = 0.5 * u[:, 0] + 0.75**0.5 * rng.choice([-1, 1], size=n)
    return u


def ring(rng, n, k):
    """Draw a ring in the plane of the first two components, a tenth of its radius wide."""
    u = rng.standard_normal((n, k))
    angle = rng.uniform(0, 2 * np.pi, size=n)
    radius = (1 + 0.1 * u[:, 0]) * (2 / 1.01) ** 0.5
    u[:, 0], u[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return u


def banana(rng, n, k):
    """Let the second component follow the square of the first."""
    u = rng.standard_normal((n, k))
    u[:, 1] = (u[:, 0] ** 2 - 1 + u[:, 1]) / 3**0.5
    return u


def gaussian(rng, n, k):
    """Draw from the null hypothesis."""
    return rng.standard_normal((n, k))


def wide(rng, n, k):
    """Make one component's variance 1.5."""
    return rng.standard_normal((n, k)) * np.r_[1.5**0.5, np.ones(k - 1)]


def shifted(rng, n, k):
    """Make one component's mean 0.25."""
    return rng.standard_normal((n, k)) + np.r_[0.25, np.zeros(k - 1)]


SHAPES = {
    "Gaussian (the level)": gaussian,
    "t, 5 degrees of freedom": heavy_tails,
    "uniform": uniform,
    "two clusters": clusters,
    "ring": ring,
    "banana": banana,
    "Gaussian, one variance 1.5": wide,
    "Gaussian, one mean 0.25": shifted,
}


def pvalue(name, null, u, seed):
    """Return a p-value. Simulated null distributions are reused for 200 seeds, to save time."""
    if name == WORST:
        return worst_direction(u, 0).test.pvalue
    if name != "classifier":  # which compares each data set with its own draws
        seed //= 200
    return TESTS[name](u, null=null, random_state=seed).pvalue


def rejections(columns, shape, n, k, repeats):
    """Return the share of data sets that each test and null of the columns rejects."""
    rng = np.random.default_rng(0)
    counts = np.zeros(len(columns))
    for i in range(repeats):
        u = shape(rng, n, k) @ ortho_group.rvs(k, random_state=rng)
        counts += np.array([pvalue(name, null, u, i) for name, null in columns]) <= 0.05
    return counts / repeats


def levels(names, n, k, repeats):
    """Yield test, null, the shares of p-values up to 0.05 and 0.01, and how uniform they are.

    The samples are the same for all tests.
    """
    samples = [np.random.default_rng([n, k, i]).standard_normal((n, k)) for i in range(repeats)]
    for null in ("simple", "composite"):
        for name in names:
            p = np.array([pvalue(name, null, u, i) for i, u in enumerate(samples)])
            yield name, null, np.mean(p <= 0.05), np.mean(p <= 0.01), kstest(p, "uniform").pvalue


def main():
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--components", type=int, nargs="+", default=[2, 8, 20])
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--tests", nargs="+", choices=[*TESTS, WORST], default=[*TESTS, WORST])
    parser.add_argument("--levels", action="store_true")
    args = parser.parse_args()
    names = [name for name in args.tests if name != WORST]
    if args.levels:
        print("| k, n | test | null | p <= 0.05 | p <= 0.01 | Kolmogorov-Smirnov p |")
        print("| --- | --- | --- | ---: | ---: | ---: |", flush=True)
        for k in args.components:
            for n in args.rows:
                for name, null, *shares, uniform in levels(names, n, k, args.repeats):
                    cells = [f"{share:.3f}" for share in (*shares, uniform)]
                    print(f"| {k}, {n} | {name} | {null} | {' | '.join(cells)} |", flush=True)
        return

    columns = {
        f"{name}, {word}": (name, null)
        for word, null in (("given", "simple"), ("any", "composite"))
        for name in names
    }
    if WORST in args.tests:
        columns[WORST] = (WORST, "simple")
    print(f"| k, n | shape | {' | '.join(columns)} |")
    print(f"| --- | --- |{' ---: |' * len(columns)}", flush=True)
    for k in args.components:
        for n in args.rows:
            for name, shape in SHAPES.items():
                shares = rejections(list(columns.values()), shape, n, k, args.repeats)
                cells = " | ".join(f"{s:.2f}" for s in shares)
                print(f"| {k}, {n} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
