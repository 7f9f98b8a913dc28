"""The other families: each beside EM in NumPy or StepMix, and those related to the Gaussian beside ours.

From the same start to the same log-likelihood, seconds an iteration by the difference of two run lengths, taken in
turn, medians of the ratios within a round.

    python bench/families.py                            both tables
    python bench/families.py gamma negative_binomial    some families, printed only
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import family_rivals
import numpy as np
import report
from common import Case, limit_threads, make_data, make_start, mixture, rest
from scipy.special import expit

import fastem

AGREE = 1e-8
"""Largest relative difference of the log-likelihoods of both."""

CHECK = 3
"""Iterations after which they are compared."""


class Contest(NamedTuple):
    """Two that run some iterations and return the log-likelihood before the last M-step, and their run lengths."""

    rival: str
    ours: Callable[[int], float]
    theirs: Callable[[int], float]
    long: tuple[int, int]
    size: tuple[int, int, int]
    goal: float | None


def ours(estimator: Any, data: tuple[np.ndarray, ...], start: dict[str, np.ndarray], k: int, n_iter: int) -> float:
    """Plain EM of fastem."""
    options = {"weights_init": np.full(k, 1 / k), "params_init": start, "accelerate": None, "tol": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimator(k, **options, max_iter=n_iter).fit(*data)
    return float(model.history_["log_likelihood"][n_iter - 1])


def beside_numpy(
    estimator: Any,
    rival: Callable[..., family_rivals.Run],
    X: np.ndarray,
    start: dict[str, np.ndarray],
    y: np.ndarray | None = None,
    name: str = "NumPy",
    goal: float = 10,
) -> Contest:
    """The contest of an estimator and a function that starts with the same numbers."""
    k = len(next(iter(start.values())))
    data = (X,) if y is None else (X, y)
    weights = np.full(k, 1 / k)

    def run(n_iter: int) -> float:
        return rival(*data, weights, *start.values(), n_iter=n_iter).log_likelihoods[-1]

    return Contest(name, partial(ours, estimator, data, start, k), run, (42, 4), (*X.shape, k), goal)


def linear(kind: str, n: int, d: int = 8, k: int = 8) -> Contest:
    """Rows of one of the linear families, begun near the truth."""
    rng = np.random.default_rng(0)
    labels, blur = rng.integers(0, k, n), rng.uniform(0.8, 1.2, (k, d))
    rival = partial(family_rivals.linear_em, kind=kind)
    if kind == "bernoulli":
        p = rng.uniform(0.1, 0.8, (k, d))
        X = (rng.random((n, d)) < p[labels]).astype(float)
        return beside_numpy(fastem.BernoulliMixture, rival, X, {"probabilities": p * blur})
    if kind == "multinomial":
        p = rng.dirichlet(np.full(d, 2.0), k)
        X = rng.multinomial(20, p[labels]).astype(float)
        start = p * blur
        return beside_numpy(
            fastem.MultinomialMixture, rival, X, {"probabilities": start / start.sum(axis=1, keepdims=True)}
        )
    means = rng.uniform(1.0, 9.0, (k, d))
    if kind == "poisson":
        X = rng.poisson(means[labels]).astype(float)
        return beside_numpy(fastem.PoissonMixture, rival, X, {"rates": means * blur})
    return beside_numpy(fastem.ExponentialMixture, rival, rng.exponential(means[labels]), {"means": means * blur})


def stepmix(kind: str, n: int, d: int = 20, k: int = 8) -> Contest:
    """Zeros and ones, as such or as two categories each."""
    rng = np.random.default_rng(0)
    p, labels = rng.uniform(0.1, 0.8, (k, d)), rng.integers(0, k, n)
    X = (rng.random((n, d)) < p[labels]).astype(float)
    start = np.clip(p * rng.uniform(0.8, 1.2, (k, d)), 0.0, 0.99)
    rival = partial(family_rivals.stepmix_em, kind=kind)
    if kind == "binary":
        return beside_numpy(fastem.BernoulliMixture, rival, X, {"probabilities": start}, name="StepMix", goal=15)
    both = {"probabilities": np.stack([1 - start, start], axis=2).reshape(k, 2 * d)}
    return beside_numpy(fastem.CategoricalMixture, rival, X, both, name="StepMix", goal=15)


def gamma(n: int, d: int = 8, k: int = 8) -> Contest:
    """Rows of gamma components, begun near the truth."""
    rng = np.random.default_rng(0)
    shapes, scales = rng.uniform(1, 8, (k, d)), rng.uniform(0.5, 4, (k, d))
    labels = rng.integers(0, k, n)
    start = {"shapes": shapes * rng.uniform(0.7, 1.4, (k, d)), "scales": scales * rng.uniform(0.7, 1.4, (k, d))}
    return beside_numpy(fastem.GammaMixture, family_rivals.gamma_em, rng.gamma(shapes[labels], scales[labels]), start)


def negative_binomial(n: int, tables: bool = False, d: int = 8, k: int = 8) -> Contest:
    """Counts of negative binomial components, begun near the truth; with `tables` beside one who knows they repeat."""
    rng = np.random.default_rng(0)
    sizes, means = rng.uniform(1, 8, (k, d)), rng.uniform(1, 60, (k, d))
    labels = rng.integers(0, k, n)
    X = rng.poisson(rng.gamma(sizes[labels], (means / sizes)[labels])).astype(float)
    start = {"sizes": sizes * rng.uniform(0.7, 1.4, (k, d)), "means": means * rng.uniform(0.7, 1.4, (k, d))}
    rival = family_rivals.tabulated_negative_binomial_em if tables else family_rivals.negative_binomial_em
    name = "NumPy by levels" if tables else "NumPy"
    return beside_numpy(fastem.NegativeBinomialMixture, rival, X, start, name=name)


def regression(kind: str, n: int, p: int = 8, k: int = 8) -> Contest:
    """Mixtures of regressions, begun near the truth."""
    rng = np.random.default_rng(0)
    X, coef, intercept = rng.standard_normal((n, p)), 0.5 * rng.standard_normal((k, p)), rng.standard_normal(k)
    line = (X @ coef.T + intercept)[np.arange(n), rng.integers(0, k, n)]
    start = {"coef": coef + 0.1 * rng.standard_normal((k, p)), "intercept": intercept.copy()}
    rival = partial(family_rivals.regression_em, kind=kind)
    if kind == "linear":
        start["variances"] = np.full(k, 0.2)
        y, estimator = line + 0.3 * rng.standard_normal(n), partial(fastem.LinearRegressionMixture, reg_covar=0.0)
    elif kind == "poisson":
        y, estimator = rng.poisson(np.exp(np.minimum(line, 6))).astype(float), fastem.PoissonRegressionMixture
    else:
        y, estimator = (rng.random(n) < expit(line)).astype(float), fastem.LogisticRegressionMixture
    return beside_numpy(estimator, rival, X, start, y)


def heavy_tails(n: int, d: int = 8, k: int = 8) -> Contest:
    """Student-t components with free degrees of freedom, begun near the truth."""
    case = Case(n, d, k)
    truth, begin = mixture(case), make_start(mixture(case))
    X = make_data(case, truth)
    start = {"means": begin.means, "scales": begin.covariances, "df": np.full(k, 10.0)}
    return beside_numpy(partial(fastem.StudentTMixture, reg_covar=0.0), family_rivals.student_t_em, X, start)


def factor_analysers(n: int, d: int = 64, m: int = 4, k: int = 8) -> Contest:
    """Components of a few factors, begun near the truth."""
    rng = np.random.default_rng(0)
    means, loadings, noise = rng.standard_normal((k, d)), rng.standard_normal((k, d, m)), rng.uniform(0.5, 2, (k, d))
    labels = rng.integers(0, k, n // 4)
    X = np.sqrt(noise)[labels] * rng.standard_normal((len(labels), d)) + means[labels]
    X += np.einsum("njm,nm->nj", loadings[labels], rng.standard_normal((len(labels), m)))
    start = {"means": means, "loadings": loadings + 0.3 * rng.standard_normal((k, d, m)), "noise_variances": noise}
    estimator = partial(fastem.FactorAnalyzerMixture, n_factors=m, reg_covar=0.0)
    return beside_numpy(estimator, family_rivals.factor_em, X, start)


NUMPY: dict[str, Callable[[int], Contest]] = {
    **{kind: partial(linear, kind) for kind in ("bernoulli", "poisson", "multinomial", "exponential")},
    "bernoulli, 20 columns": partial(stepmix, "binary"),
    "categorical, 20 columns": partial(stepmix, "categorical"),
    "gamma": gamma,
    "negative_binomial": lambda n: negative_binomial(n // 10),  # NumPy takes 15 s an iteration for 200,000 rows
    "negative_binomial by levels": partial(negative_binomial, tables=True),
    "Student-t": heavy_tails,
    "factor analysers, 4 of 64 columns": factor_analysers,
    **{f"{kind} regression": partial(regression, kind) for kind in ("linear", "poisson", "logistic")},
}


def beside_gaussian(
    case: Case, estimator: Any, goal: float | None, extra: Callable[..., dict[str, np.ndarray]]
) -> Contest:
    """A relative of the Gaussian from the same means, beside our own full or diagonal one: times its seconds."""
    truth = mixture(case)
    X, begin = make_data(case, truth), make_start(truth)
    scales = begin.covariances if case.covariance_type == "full" else np.einsum("kii->ki", begin.covariances).copy()
    plain = partial(fastem.GaussianMixture, covariance_type=case.covariance_type, reg_covar=0.0)

    def gaussian(k: int, weights_init: np.ndarray, params_init: dict[str, np.ndarray], **options: Any) -> Any:
        precisions = np.linalg.inv(scales) if case.covariance_type == "full" else 1 / scales
        return plain(k, weights_init=weights_init, means_init=begin.means, precisions_init=precisions, **options)

    start = {"means": begin.means, **extra(scales)}
    mine = partial(ours, partial(estimator, reg_covar=0.0), (X,), start, case.k)
    other = partial(ours, gaussian, (X,), start, case.k)
    return Contest("Gaussian", mine, other, (22, 22), (case.n, case.d, case.k), goal)


def student_t(kind: str, data: str, size: tuple[int, int, int], df: float | None, n: int) -> Contest:
    """Student-t components with fixed or free degrees of freedom."""
    case = Case(min(size[0], 5 * n), *size[1:], kind, data)
    estimator = partial(fastem.StudentTMixture, covariance_type=kind, df=df)
    k, goal = size[2], 1.5 if kind == "full" else None
    return beside_gaussian(case, estimator, goal, lambda scales: {"scales": scales, "df": np.full(k, df or 10.0)})


def factors(data: str, n: int) -> Contest:
    """Four factors of 64 columns."""
    case = Case(min(100_000, n), 64, 16, "full", data)

    def begin(scales: np.ndarray) -> dict[str, np.ndarray]:
        values, vectors = np.linalg.eigh(scales)
        loadings = vectors[..., -4:] * np.sqrt(values[..., None, -4:] - values.mean(axis=1)[:, None, None] * 0.1)
        noise = np.einsum("kii->ki", scales) - (loadings**2).sum(axis=2)
        return {"loadings": loadings, "noise_variances": np.maximum(noise, 0.1)}

    return beside_gaussian(case, partial(fastem.FactorAnalyzerMixture, n_factors=4), 0.5, begin)


RELATIVES: dict[str, Callable[[int], Contest]] = {
    **{
        f"Student-t, {kind}, {words}, {data}, d={size[1]}": partial(student_t, kind, data, size, df)
        for kind, size in (("full", (1_000_000, 8, 16)), ("full", (200_000, 32, 16)), ("diag", (1_000_000, 8, 16)))
        for data in ("overlapping", "separated")
        for words, df in (("df free", None), ("df 5", 5.0))
    },
    **{f"factor analysers, {data}": partial(factors, data) for data in ("overlapping", "separated")},
}

COLUMNS: report.Columns = [
    ("family", "family", "s"), ("N", "n", ",d"), ("columns", "d", "d"), ("K", "k", "d"), ("rival", "rival", "s"),
    ("rival, s", "theirs", ".4f"), ("fastem, s", "ours", ".4f"), ("ratio", "ratio", ".2f"), ("goal", "goal", "g"),
]  # fmt: skip


def seconds_an_iteration(run: Callable[[int], float], long: int) -> float:
    """The difference of two run lengths."""
    rest()
    times = []
    for n_iter in (2, long):
        begin = time.perf_counter()
        run(n_iter)
        times.append(time.perf_counter() - begin)
    return (times[1] - times[0]) / (long - 2)


def measure(name: str, contest: Contest, rounds: int, relative: bool) -> dict[str, Any]:
    """A row of a table: how often the rival's seconds hold ours, or for relatives ours the Gaussian's."""
    contest.ours(2)
    values = contest.ours(CHECK), contest.theirs(CHECK)
    if not relative and abs(values[0] / values[1] - 1) > AGREE:
        raise SystemExit(f"{name}: the log-likelihoods are {values[0]!r} and {values[1]!r}, so times compare nothing")
    pairs = [
        (seconds_an_iteration(contest.ours, contest.long[0]), seconds_an_iteration(contest.theirs, contest.long[1]))
        for _ in range(rounds)
    ]
    a, b = (median(times) for times in zip(*pairs))
    ratio = median(x / y if relative else y / x for x, y in pairs)
    row = dict(zip("ndk", contest.size)) | {"family": name, "rival": contest.rival, "ours": a, "theirs": b}
    row |= {"ratio": ratio, "goal": contest.goal}
    print(f"{name}: fastem {a:.4f} s, {contest.rival} {b:.4f} s, ratio {ratio:.2f}, goal {contest.goal}", flush=True)
    return row


def main() -> None:
    """Measure and write the tables; a part of them is printed but not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("families", nargs="*", help="words that a family's name begins with; none for all")
    parser.add_argument("--table", choices=("families", "relatives"), help="one of the tables alone")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="write no results")
    given = parser.parse_args()
    limit_threads()
    for table, contests in (("families", NUMPY), ("relatives", RELATIVES)):
        if given.table not in (None, table):
            continue
        chosen = [name for name in contests if not given.families or name.startswith(tuple(given.families))]
        rows = [measure(name, contests[name](given.rows), given.rounds, table == "relatives") for name in chosen]
        if not given.families and not given.dry:
            report.save(table, COLUMNS, rows, rounds=given.rounds)


if __name__ == "__main__":
    main()
