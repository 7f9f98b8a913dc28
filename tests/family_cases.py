"""The families that the contract tests run over: an estimator, rows, SciPy's density, and what to compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import psi

import fastem

K = 3


class FamilyCase(NamedTuple):
    """`density(X, model)` is log p(x_i | k) (n, K) from the fitted attributes, by SciPy.

    `maximum(X, resp)` are the parameters of greatest likelihood, where the family does not find them from means.
    """

    name: str
    make: Callable[..., Any]
    rows: Callable[[np.random.Generator, int], np.ndarray]
    density: Callable[[np.ndarray, Any], np.ndarray]
    maximum: Callable[[np.ndarray, np.ndarray], list[np.ndarray]] | None = None


def labels(rng: np.random.Generator, n: int) -> np.ndarray:
    """Components of n rows."""
    return rng.choice(K, n, p=[0.5, 0.3, 0.2])


def each(density: Callable[[np.ndarray, np.ndarray], np.ndarray], X: np.ndarray, parameter: np.ndarray) -> np.ndarray:
    """Sums over the columns of a density (n, d) by component."""
    return np.stack([density(X, row).sum(axis=1) for row in np.asarray(parameter, float)], axis=1)


def bernoulli_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Zeros and ones of five columns."""
    p = np.array([[0.1, 0.2, 0.9, 0.5, 0.7], [0.8, 0.7, 0.3, 0.4, 0.1], [0.4, 0.9, 0.6, 0.9, 0.9]])
    return (rng.random((n, 5)) < p[labels(rng, n)]).astype(float)


def categorical_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Levels of four columns, two to five of them."""
    k = labels(rng, n)
    tables = [np.random.default_rng(j).dirichlet(np.ones(levels), K) for j, levels in enumerate((2, 5, 3, 4))]
    return np.stack([[rng.choice(len(t[0]), p=t[c]) for c in k] for t in tables], axis=1).astype(float)


def categorical_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Products of the probabilities of the levels."""
    with np.errstate(divide="ignore"):
        tables = [np.log(np.asarray(p, float)) for p in model.probabilities_by_column()]
    return sum(table[:, X[:, j].astype(int)].T for j, table in enumerate(tables))


def poisson_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Counts of three columns."""
    rates = np.array([[1.0, 4.0, 0.3], [6.0, 0.5, 2.0], [15.0, 9.0, 7.0]])
    return rng.poisson(rates[labels(rng, n)]).astype(float)


def exposed_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Counts of two columns, and between them their exposure."""
    exposure = rng.uniform(0.2, 3.0, n)
    rates = np.array([[1.0, 4.0], [6.0, 0.5], [15.0, 9.0]])
    return np.insert(rng.poisson(rates[labels(rng, n)] * exposure[:, None]).astype(float), 1, exposure, axis=1)


def multinomial_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Five trials to fifteen, of four kinds."""
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.4, 0.4, 0.1], [0.25, 0.25, 0.1, 0.4]])[labels(rng, n)]
    return np.stack([rng.multinomial(rng.integers(5, 16), row) for row in p]).astype(float)


def exponential_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Waiting times of two columns."""
    return rng.exponential(np.array([[1.0, 10.0], [8.0, 0.5], [30.0, 30.0]])[labels(rng, n)])


def gamma_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Amounts of three columns, with shapes below and above 1."""
    k = labels(rng, n)
    shapes = np.array([[0.5, 9.0, 3.0], [5.0, 2.0, 0.8], [20.0, 30.0, 12.0]])
    scales = np.array([[1.0, 0.2, 10.0], [2.0, 3.0, 1.0], [1.5, 0.5, 5.0]])
    return rng.gamma(shapes[k], scales[k])


def gamma_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Shapes and scales side by side, one row a component."""
    both = np.stack([model.shapes_, model.scales_], axis=1)
    return each(lambda x, row: stats.gamma.logpdf(x, row[0], scale=row[1]), X, both)


def dispersed_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Counts of three columns that vary more than Poisson ones."""
    k = labels(rng, n)
    sizes = np.array([[0.5, 3.0, 2.0], [5.0, 1.0, 6.0], [8.0, 30.0, 4.0]])
    means = np.array([[3.0, 1.0, 20.0], [30.0, 9.0, 5.0], [9.0, 40.0, 70.0]])
    return rng.poisson(rng.gamma(sizes[k], (means / sizes)[k])).astype(float)


def dispersed_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Sizes and means side by side, one row a component."""
    both = np.stack([model.sizes_, model.means_], axis=1)
    return each(lambda x, row: stats.nbinom.logpmf(x, row[0], row[0] / (row[0] + row[1])), X, both)


def dispersed_maximum(X: np.ndarray, resp: np.ndarray) -> list[np.ndarray]:
    """Sizes at which the score is 0, one after the other."""
    means = resp.T @ X / resp.sum(axis=0)[:, None]
    sizes = np.full(means.shape, 1e8 * np.maximum(1.0, means))
    for k, j in np.ndindex(*means.shape):
        w, x, m = resp[:, k] / resp[:, k].sum(), X[:, j], means[k, j]

        def score(r: float, w: Any = w, x: Any = x, m: Any = m) -> float:
            return float(w @ (psi(x + r) - psi(r)) - np.log1p(m / r))

        if w @ (x - m) ** 2 > m:  # Levin and Reeds 1977: else there is no zero
            sizes[k, j] = brentq(score, 1e-6, 1e6, xtol=1e-14, rtol=1e-14)
    return [sizes, means]


CASES = [
    FamilyCase(
        "bernoulli",
        fastem.BernoulliMixture,
        bernoulli_rows,
        lambda X, m: each(stats.bernoulli.logpmf, X, m.probabilities_),
    ),
    FamilyCase("categorical", fastem.CategoricalMixture, categorical_rows, categorical_density),
    FamilyCase("poisson", fastem.PoissonMixture, poisson_rows, lambda X, m: each(stats.poisson.logpmf, X, m.rates_)),
    FamilyCase(
        "exposure",
        lambda *a, **o: fastem.PoissonMixture(*a, exposure=1, **o),
        exposed_rows,
        lambda X, m: each(lambda x, r: stats.poisson.logpmf(x, r * X[:, [1]]), X[:, [0, 2]], m.rates_),
    ),
    FamilyCase(
        "multinomial",
        fastem.MultinomialMixture,
        multinomial_rows,
        lambda X, m: np.stack(
            [stats.multinomial.logpmf(X, X.sum(axis=1), p / p.sum()) for p in np.asarray(m.probabilities_, float)], 1
        ),
    ),
    FamilyCase(
        "exponential",
        fastem.ExponentialMixture,
        exponential_rows,
        lambda X, m: each(lambda x, mean: stats.expon.logpdf(x, scale=mean), X, m.means_),
    ),
    FamilyCase("gamma", fastem.GammaMixture, gamma_rows, gamma_density),
    FamilyCase(
        "negative_binomial", fastem.NegativeBinomialMixture, dispersed_rows, dispersed_density, dispersed_maximum
    ),
]
