"""The families that the contract tests run over: an estimator, rows, SciPy's density, and what to compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from reference import tailed
from scipy import linalg, stats
from scipy.optimize import brentq
from scipy.special import digamma

import fastem

K = 3


class FamilyCase(NamedTuple):
    """`density(X, model)` is log p(x_i | k) (n, K) from the fitted attributes, by SciPy.

    `step(X, resp, model)` are the family's Params after an M-step from weighted responsibilities, by NumPy; None for
    those that are functions of the mean of a statistic, and have a prior.
    """

    name: str
    make: Callable[..., Any]
    rows: Callable[[np.random.Generator, int], np.ndarray]
    density: Callable[[np.ndarray, Any], np.ndarray]
    step: Callable[[np.ndarray, np.ndarray, Any], list[np.ndarray]] | None = None


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


def dispersed_step(X: np.ndarray, resp: np.ndarray, model: Any) -> list[np.ndarray]:
    """Sizes at which the score is 0, one after the other."""
    means = resp.T @ X / resp.sum(axis=0)[:, None]
    sizes = np.full(means.shape, 1e8 * np.maximum(1.0, means))
    for k, j in np.ndindex(*means.shape):
        w, x, m = resp[:, k] / resp[:, k].sum(), X[:, j], means[k, j]

        def score(r: float, w: Any = w, x: Any = x, m: Any = m) -> float:
            return float(w @ (digamma(x + r) - digamma(r)) - np.log1p(m / r))

        if w @ (x - m) ** 2 > m:  # Levin and Reeds 1977: else there is no zero
            sizes[k, j] = brentq(score, 1e-6, 1e6, xtol=1e-14, rtol=1e-14)
    return [sizes, means]


def student_t_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two columns, correlated in two components, of three to thirty degrees of freedom."""
    k = labels(rng, n)
    df, means = np.array([3.0, 8.0, 30.0]), np.array([[0.0, 0.0], [9.0, 4.0], [-3.0, 12.0]])
    factors = np.array([[[1.0, 0.0], [0.6, 0.8]], [[2.0, 0.0], [-1.0, 0.5]], [[0.7, 0.0], [0.0, 1.5]]])
    z = np.einsum("nij,nj->ni", factors[k], rng.standard_normal((n, 2)))
    return means[k] + z / np.sqrt(rng.chisquare(df[k]) / df[k])[:, None]


def student_t_scales(model: Any) -> np.ndarray:
    """Scale matrices (K, d, d)."""
    scales = np.asarray(model.scales_, float)
    return scales if scales.ndim == 3 else scales[:, :, None] * np.eye(scales.shape[1])


def student_t_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Multivariate t."""
    parameters = zip(np.asarray(model.means_, float), student_t_scales(model), model.df_, strict=True)
    return np.stack([stats.multivariate_t(m, s, float(df)).logpdf(X).reshape(-1) for m, s, df in parameters], 1)


def student_t_step(X: np.ndarray, resp: np.ndarray, model: Any) -> list[np.ndarray]:
    """Liu and Rubin's M-step, with the ridge, by loops over components and rows, and a root by bisection.

    A prior is a dict of all its numbers, and stands beside the rows as in Fraley and Raftery's tables.
    """
    means, scales, gaps = [], [], []
    kappa, middle, dof, scatter = (model.prior or dict.fromkeys(range(4), 0.0)).values()
    more = 0.0 if model.prior is None else dof + (X.shape[1] + 2 if model.covariance_type == "full" else 3)
    for w, *parameters in zip(resp.T, model.means_, student_t_scales(model), model.df_, strict=True):
        _, u, mean_log, rows, within = (np.array(a) for a in zip(*(tailed(x, *parameters) for x in X), strict=True))
        means.append(((w * u) @ rows + kappa * np.asarray(middle)) / ((w * u).sum() + kappa))
        y, away, eye = rows - means[-1], means[-1] - middle, np.eye(X.shape[1])
        full = (
            (w * u * y.T) @ y
            + np.tensordot(w, within, 1)
            + kappa * np.outer(away, away)
            + scatter * (1.0 if np.ndim(scatter) else eye)
        )
        full = full / (w.sum() + more) + model.reg_covar * eye
        scales.append(full if model.covariance_type == "full" else np.diagonal(full))
        gaps.append(w @ (mean_log - u))
    sums = resp.sum(axis=0)
    if model.df is not None:
        tails = np.full(len(sums), 1 / model.df)
    else:
        gap = np.full(len(sums), np.sum(gaps) / sums.sum()) if model.share_df else np.array(gaps) / sums
        roots = [brentq(lambda x, g=g: np.log(x) - digamma(x) + 1 + g, 0.5, 5e5, xtol=1e-13, rtol=1e-14) for g in gap]
        tails = 0.5 / np.array(roots)
    return [np.array(means), np.array(scales), tails]


def student_t(name: str, rows: Any = student_t_rows, density: Any = student_t_density, **options: Any) -> FamilyCase:
    """A case of Student's t."""
    return FamilyCase(name, partial(fastem.StudentTMixture, **options), rows, density, student_t_step)


def holed_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """The same with a quarter of the entries missing, in the first row none; some rows have nothing."""
    X = student_t_rows(rng, n)
    X[1:][rng.random((n - 1, 2)) < 0.25] = np.nan
    return X


def holed_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Multivariate t of what is there of each row."""
    parameters = zip(np.asarray(model.means_, float), student_t_scales(model), model.df_.astype(float), strict=True)
    return np.array([[tailed(x, *each).log_prob for x in X] for each in parameters]).T


def factor_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """Five columns that covary through a factor."""
    k, shape = labels(rng, n), np.random.default_rng(7)
    means, loadings = 4 * shape.standard_normal((K, 5)), shape.uniform(0.7, 1.5, (K, 5)) * shape.choice([-1, 1], (K, 5))
    return (
        means[k]
        + loadings[k] * rng.standard_normal((n, 1))
        + np.sqrt(shape.uniform(0.3, 1.5, (K, 5)))[k] * rng.standard_normal((n, 5))
    )


def factor_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Gaussians of covariance L L^T + diag psi."""
    L, psi = np.asarray(model.loadings_, float), np.asarray(model.noise_variances_, float)
    parameters = zip(np.asarray(model.means_, float), L, psi, strict=True)
    return np.stack([stats.multivariate_normal(m, a @ a.T + np.diag(p)).logpdf(X) for m, a, p in parameters], 1)


def factor_step(X: np.ndarray, resp: np.ndarray, model: Any) -> list[np.ndarray]:
    """Ghahramani and Hinton's M-step, with full inverses: rows regressed on the expected factors and 1.

    Those factors are then centred and scaled (Liu, Rubin and Wu 1998).
    """
    after = []
    for r, mean, L, psi in zip(resp.T, model.means_, model.loadings_, model.noise_variances_, strict=True):
        y, m = X - mean, L.shape[1]
        B = L.T @ np.linalg.inv(L @ L.T + np.diag(psi))
        f = np.column_stack([y @ B.T, np.ones(len(X))])
        square = (r[:, None] * f).T @ f
        square[:m, :m] += r.sum() * (np.eye(m) - B @ L)
        cross = (r[:, None] * y).T @ f
        both = cross @ np.linalg.inv(square)
        noise = (r @ y**2 - (both * cross).sum(axis=1)) / r.sum()
        centre = square[m, :m] / r.sum()
        root = linalg.sqrtm(square[:m, :m] / r.sum() - np.outer(centre, centre))
        after.append((mean + both[:, m] + both[:, :m] @ centre, both[:, :m] @ root, np.maximum(noise, model.reg_covar)))
    return [np.array(leaf) for leaf in zip(*after, strict=True)]


MIXED = {0: fastem.GaussianMixture(covariance_type="diag"), (3, 1): "categorical", 2: "poisson"}
"""A product over four columns."""


def mixed_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    """A number, three levels, a count and two levels."""
    k = labels(rng, n)
    levels = [np.random.default_rng(j).dirichlet(np.ones(j), K) for j in (3, 2)]
    drawn = [(rng.random((n, 1)) > np.cumsum(p, axis=1)[k][:, :-1]).sum(axis=1) for p in levels]
    number = rng.normal(np.array([0.0, 6.0, -7.0])[k], np.array([1.0, 2.0, 0.5])[k])
    return np.column_stack([number, drawn[0], rng.poisson(np.array([1.0, 5.0, 14.0])[k]), drawn[1]]).astype(float)


def mixed_density(X: np.ndarray, model: Any) -> np.ndarray:
    """Products of a normal density and of probabilities of levels and counts."""
    number, levels, count = model.components_.values()
    both = np.stack([number.means_, number.covariances_], axis=1).astype(float)
    return (
        each(lambda x, row: stats.norm.logpdf(x, row[0], np.sqrt(row[1])), X[:, [0]], both)
        + categorical_density(X[:, [3, 1]], levels)
        + each(stats.poisson.logpmf, X[:, [2]], count.rates_)
    )


def mixed_step(X: np.ndarray, resp: np.ndarray, model: Any) -> list[np.ndarray]:
    """Weighted means, variances with the ridge, and shares of the levels."""

    def mean(T: np.ndarray) -> np.ndarray:
        return resp.T @ T / resp.sum(axis=0)[:, None]

    means = mean(X[:, [0]])
    variances = mean(X[:, [0]] ** 2) - means**2 + 1e-6
    shares = [mean(np.eye(levels)[X[:, j].astype(int)]) for j, levels in ((3, 2), (1, 3))]
    return [means, variances, np.concatenate(shares, axis=1), mean(X[:, [2]])]


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
    FamilyCase("negative_binomial", fastem.NegativeBinomialMixture, dispersed_rows, dispersed_density, dispersed_step),
    student_t("student-t"),
    student_t("student-t-diag-shared", covariance_type="diag", share_df=True),
    student_t("student-t-holes", holed_rows, holed_density, covariance_type="diag", share_df=True, missing="nan"),
    FamilyCase("product", partial(fastem.ProductMixture, MIXED), mixed_rows, mixed_density, mixed_step),
    FamilyCase("factors", fastem.FactorAnalyzerMixture, factor_rows, factor_density, factor_step),
]
