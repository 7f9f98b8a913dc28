"""Families of two bricks of the user's own: like those in NumPy and those built in, safe, and told what is wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.kernels.jit import stamp
from fastem.kernels.mixture import load_tile, make_tile
from fastem.stored_families import arrays_of, form_of, tree_of


class Rates(NamedTuple):
    """rates (K, d)."""

    rates: np.ndarray


class Sums(NamedTuple):
    """sum_w (K,), sum_x (K, d)."""

    sum_w: np.ndarray
    sum_x: np.ndarray


class Waits:
    """Exponential columns: the family that is also built in."""

    @staticmethod
    @fastem.brick
    def log_prob(tile: Any, params: Any, out: Any) -> None:
        for k in range(params.rates.shape[0]):
            for j in range(params.rates.shape[1]):
                rate = params.rates[k, j]
                log_rate = math.log(rate)
                for b in range(out.shape[1]):
                    before = out[k, b] if j > 0 else 0.0
                    x = tile.columns[j, b]
                    out[k, b] = before + log_rate - rate * x if x >= 0.0 else math.nan

    @staticmethod
    @fastem.brick
    def accumulate(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
        for k in range(sums.sum_w.shape[1]):
            for b in range(resp.shape[1]):
                sums.sum_w[s, k] += resp[k, b]
            for j in range(sums.sum_x.shape[2]):
                total = 0.0
                for b in range(resp.shape[1]):
                    total += resp[k, b] * tile.columns[j, b]
                sums.sum_x[s, k, j] += total

    def zeros(self, k: int, d: int) -> Sums:
        return Sums(np.zeros(k), np.zeros((k, d)))

    def m_step(self, sums: Sums, params: Any) -> Rates:
        return Rates(sums.sum_w[:, None] / sums.sum_x)


class InNumPy:
    """The same family."""

    def log_prob(self, X: np.ndarray, params: Rates) -> np.ndarray:
        return np.log(params.rates).sum(axis=1) - X @ params.rates.T

    def statistics(self, X: np.ndarray, resp: np.ndarray) -> Sums:
        return Sums(resp.sum(axis=0), resp.T @ X)

    def m_step(self, sums: Sums, params: Any) -> Rates:
        return Waits().m_step(sums, params)


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.exponential([1.0, 9.0], (251, 2)), rng.exponential([20.0, 0.5], (150, 2))])


START = {"weights_init": [0.5, 0.5], "max_iter": 6, "tol": 0.0}
RATES = np.array([[0.6, 0.3], [0.3, 0.6]])


def fit(model: Any, *data: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **options)


@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_bricks_numpy_and_built_in_are_one_family(X: np.ndarray, accelerate: str | None) -> None:
    weight = np.random.default_rng(1).uniform(0.1, 3.0, len(X))
    weight[::7] = 0.0
    labels = np.where(np.arange(len(X)) % 5 == 0, (X[:, 0] > 9).astype(int), -1)
    options = START | {"accelerate": accelerate}
    own = [fastem.Mixture(f, 2, params_init=Rates(RATES), **options) for f in (Waits(), InNumPy())]
    built = fastem.ExponentialMixture(2, params_init={"means": 1 / RATES}, **options)
    for chosen in ({}, {"sample_weight": weight}, {"labels": labels}):
        mine, numpy, other = (fit(model, X, **chosen) for model in (*own, built))
        for same in (numpy, other) if accelerate is None else (numpy,):  # leaps of rates are not those of means
            np.testing.assert_allclose(mine.history_["log_likelihood"], same.history_["log_likelihood"], rtol=1e-11)
            np.testing.assert_allclose(mine.score_samples(X), same.score_samples(X), rtol=1e-10)
            np.testing.assert_allclose(mine.predict_proba(X), same.predict_proba(X), atol=1e-10)
        if accelerate is None:
            np.testing.assert_allclose(1 / mine.params_.rates, other.means_, rtol=1e-10)
    sources = fit(fastem.Mixture(Waits(), 2, params_init=Rates(RATES), **options), lambda: iter([X[:100], X[100:]]))
    whole = fit(own[0], X)
    np.testing.assert_allclose(sources.params_.rates, whole.params_.rates, rtol=1e-10)


def test_a_fit_from_the_default_start_and_from_a_checkpoint(X: np.ndarray, tmp_path: Path) -> None:
    model = fastem.Mixture(Waits(), 2, random_state=0).fit(X)
    assert model.converged_ and model.score(X) == pytest.approx(model.lower_bound_, rel=1e-12)
    built = fastem.ExponentialMixture(2, random_state=0, tol=1e-8).fit(X)
    assert model.score(X) == pytest.approx(built.score(X), abs=1e-3)
    path = tmp_path / "run.npz"
    fit(fastem.Mixture(Waits(), 2, random_state=0, callback=lambda p: p.n_iter == 1), X, checkpoint=path)
    resumed = fastem.Mixture(Waits(), 2, random_state=0).fit(X, checkpoint=path, resume=True)
    assert (resumed.params_.rates == model.params_.rates).all()
    found = fastem.select(X, [1, 2], estimator=partial(fastem.Mixture, Waits()), random_state=0)
    assert found.best.n_components == 2 and found.best.score(X) >= model.score(X) - 1e-3
    threads = fastem.Mixture(Waits(), 2, random_state=0, n_jobs=1).fit(X)
    assert (threads.params_.rates == model.params_.rates).all()


class Logs(NamedTuple):
    """Rates (K, d) and the sums of their logarithms (K,)."""

    rates: np.ndarray
    log_rate: np.ndarray


class Prepared(Waits):
    """The same family, of which the bricks read what `prepare` makes, and `accumulate` reads it too."""

    @staticmethod
    @fastem.brick
    def log_prob(tile: Any, params: Any, out: Any) -> None:
        for k in range(params.log_rate.size):
            for b in range(out.shape[1]):
                out[k, b] = params.log_rate[k] - params.rates[k, 0] * tile.columns[0, b]

    @staticmethod
    @fastem.brick
    def accumulate(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
        for k in range(params.log_rate.size):
            for b in range(resp.shape[1]):
                sums.sum_w[s, k] += resp[k, b]
                sums.sum_x[s, k, 0] += resp[k, b] * tile.columns[0, b]

    def prepare(self, params: Rates) -> Logs:
        return Logs(params.rates, np.log(params.rates).sum(axis=1))

    def start(self, X: np.ndarray, k: int) -> Rates:
        return Rates(np.full((k, 1), 1 / X.mean()))

    def base(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), 0.25)


def test_what_a_family_may_have_besides(X: np.ndarray) -> None:
    model = fastem.Mixture(Prepared(), 2, random_state=0).fit(X[:, :1])
    built = fastem.ExponentialMixture(2, random_state=0).fit(X[:, :1])
    assert model.score(X[:, :1]) - 0.25 == pytest.approx(built.score(X[:, :1]), abs=1e-3)
    assert model.lower_bound_ == pytest.approx(model.score(X[:, :1]), rel=1e-9)
    wrong = type("Wrong", (Prepared,), {"base": lambda self, X: np.zeros(3)})
    with pytest.raises(ValueError, match=r"base of Wrong gave shape \(3,\)"):
        fastem.Mixture(wrong(), 2).fit(X[:, :1])


def test_bricks_run_uncompiled(X: np.ndarray) -> None:
    tile, resp, out = make_tile(X.dtype, 2, 2, 64), np.random.default_rng(0).random((2, 64)), np.zeros((2, 64))
    load_tile(X, np.zeros(0), 0, 64, np.zeros(2), tile)
    Waits.log_prob(tile, Rates(RATES), out)
    expected = np.stack([stats.expon.logpdf(X[:64], scale=1 / r).sum(axis=1) for r in RATES])
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    sums = Sums(np.zeros((1, 2)), np.zeros((1, 2, 2)))
    Waits.accumulate(tile, resp, None, sums, 0)
    np.testing.assert_allclose(sums.sum_x[0], resp @ X[:64], rtol=1e-12)


def test_rows_without_a_density_are_told(X: np.ndarray) -> None:
    bad, weight = X.copy(), np.ones(len(X))
    bad[3, 0] = -1.0
    with pytest.raises(ValueError, match=r"log_prob of Waits gave NaN or infinity for 1 row\(s\);"):
        fastem.Mixture(Waits(), 2, random_state=0).fit(bad)
    weight[3] = 0.0
    model = fastem.Mixture(Waits(), 2, params_init=Rates(RATES), **START)
    left_out = fit(model, bad, sample_weight=weight).params_.rates
    np.testing.assert_allclose(left_out, fit(model, np.delete(X, 3, axis=0)).params_.rates, rtol=1e-10)
    with pytest.raises(ValueError, match=r"for 1 row\(s\);"):
        model.predict(bad)
    # Whole tiles of nothing that counts.
    many, none = np.concatenate([X, np.repeat(bad[3:4], 2000, axis=0)]), np.zeros(2000)
    again = fit(model, many, sample_weight=np.concatenate([np.ones(len(X)), none])).params_.rates
    np.testing.assert_allclose(again, fit(model, X).params_.rates, rtol=1e-10)


class Gaussians(NamedTuple):
    """mean (K,), variance (K,)."""

    mean: np.ndarray
    variance: np.ndarray


class GaussianSums(NamedTuple):
    """Sums of 1, x and x^2 (K,)."""

    sum_w: np.ndarray
    sum_x: np.ndarray
    sum_xx: np.ndarray


class Bells:
    """Gaussians of one column, without a floor of their variances."""

    @staticmethod
    @fastem.brick
    def log_prob(tile: Any, params: Any, out: Any) -> None:
        for k in range(params.mean.size):
            m, v = params.mean[k], params.variance[k]
            constant = -0.5 * np.log(2 * np.pi * v)
            for b in range(out.shape[1]):
                out[k, b] = constant - (tile.columns[0, b] - m) ** 2 / (2 * v)

    @staticmethod
    @fastem.brick
    def accumulate(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
        for k in range(sums.sum_w.shape[1]):
            for b in range(resp.shape[1]):
                x = tile.columns[0, b]
                sums.sum_w[s, k] += resp[k, b]
                sums.sum_x[s, k] += resp[k, b] * x
                sums.sum_xx[s, k] += resp[k, b] * x * x

    def zeros(self, k: int, d: int) -> GaussianSums:
        return GaussianSums(*np.zeros((3, k)))

    def m_step(self, sums: GaussianSums, params: Any) -> Gaussians:
        mean = sums.sum_x / sums.sum_w
        return Gaussians(mean, sums.sum_xx / sums.sum_w - mean**2)


class BellsInNumPy:
    """The same in NumPy."""

    m_step = Bells.m_step

    def log_prob(self, X: np.ndarray, params: Gaussians) -> np.ndarray:
        return stats.norm.logpdf(X, params.mean, np.sqrt(params.variance))

    def statistics(self, X: np.ndarray, resp: np.ndarray) -> GaussianSums:
        return GaussianSums(resp.sum(axis=0), resp.T @ X[:, 0], resp.T @ X[:, 0] ** 2)


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.parametrize("family", [Bells(), BellsInNumPy()], ids=["bricks", "numpy"])
def test_a_component_without_a_density_is_restarted(family: Any) -> None:
    """One distinct value has the variance 0 there, to the last digit."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, 300), rng.normal(9, 1, 300), np.full(40, 64.0)])[:, None]
    with pytest.warns(ConvergenceWarning, match="collapsed .*restarted.* kept as one of all rows"):
        model = fastem.Mixture(family, 3, random_state=0).fit(X)
    assert model.diagnostics_["restarted"] and np.isfinite(model.score(X)) and (model.params_.variance > 0).all()
    with pytest.warns(ConvergenceWarning, match="1 dropped"):
        fewer = fastem.Mixture(family, 3, on_collapse="drop", random_state=0).fit(X)
    assert len(fewer.weights_) == 2 and np.isfinite(fewer.score(X))
    with pytest.raises(ValueError, match="collapsed in iteration"):
        fastem.Mixture(family, 3, on_collapse="raise", random_state=0).fit(X)
    with pytest.raises(ValueError, match="keep its parameters off the border"):  # where all rows are one
        fastem.Mixture(family, 1).fit(X[-2:])


def test_a_base_that_is_no_number_is_told(X: np.ndarray) -> None:
    least = X[:, 0].min() / 2
    family = changed(base=lambda self, X: np.log(X[:, 0] - least))
    bad, weight = X.copy(), np.ones(len(X))
    bad[3, 0], weight[3] = 0.0, 0.0
    with np.errstate(invalid="ignore"):
        model = fit(fastem.Mixture(family, 2, params_init=Rates(RATES), **START), bad, sample_weight=weight)
        assert model.n_iter_ == 6
        with pytest.raises(ValueError, match=r"for 1 row\(s\);"):
            model.score_samples(bad)


def changed(**members: Any) -> Any:
    return type("Changed", (Waits,), members)()


def plain(tile: Any, params: Any, out: Any) -> None:
    out[:] = 0.0


@fastem.brick
def too_few(tile: Any, out: Any) -> None:
    out[:] = 0.0


@fastem.brick
def beyond(tile: Any, params: Any, out: Any) -> None:
    out[out.shape[0], 0] = 0.0


@fastem.brick
def greedy(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
    sums.sum_w[s] += params.rates[:, 0]


@fastem.brick
def allocating(tile: Any, params: Any, out: Any) -> None:
    out[:] = np.zeros(out.shape[1])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"log_prob": staticmethod(plain)}, r"log_prob of Changed is .*, and no brick; .* def log_prob\(tile, params"),
        ({"log_prob": njit(plain)}, "no brick"),
        ({"log_prob": staticmethod(too_few)}, "has 2 arguments; 3 are wanted"),
        ({"log_prob": staticmethod(beyond)}, "log_prob of Changed, run as Python on 64 rows, raised IndexError"),
        ({"accumulate": staticmethod(greedy)}, r"raised AttributeError: .*sums.sum_w.shape\[1\]"),
        ({"zeros": lambda self, k, d: np.zeros(k)}, "a NamedTuple of arrays is wanted, with sum_w"),
        ({"m_step": lambda self, sums, params: np.ones(2)}, "m_step of Changed gave a ndarray; a NamedTuple"),
        ({"m_step": lambda self, sums, params: Rates(np.ones(3))}, r"shape \(3,\) for 2 components"),
        ({"m_step": None}, "without m_step; an object with the methods log_prob, accumulate, zeros, m_step"),
        ({"log_prob": staticmethod(allocating)}, "a brick does not compile: allocating: .* zeros.*test_bricks.py"),
    ],
)
def test_bricks_of_the_wrong_form(X: np.ndarray, members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.Mixture(changed(**members), 2, random_state=0).fit(X)


@pytest.mark.parametrize("given", [njit(plain), 3])
def test_what_is_no_function_is_no_brick(given: Any) -> None:
    with pytest.raises(ValueError, match="brick was given .* function"):
        fastem.brick(given)


def test_a_brick_that_is_edited_has_another_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own file, of a brick that it calls, and of a constant that it reads."""
    text = "import fastem\nSIZE = {size}\n@fastem.brick\ndef helper(x):\n    return x + {add}\n"
    calls = "import fastem\nfrom {helper} import helper, SIZE\n@fastem.brick\ndef f(x):\n    return helper(x) * SIZE\n"
    monkeypatch.syspath_prepend(tmp_path)
    stamps = set()
    for i, (size, add) in enumerate([(1, 1), (2, 1), (1, 2)]):
        (tmp_path / f"helper{i}.py").write_text(text.format(size=size, add=add))
        (tmp_path / f"calls{i}.py").write_text(calls.format(helper=f"helper{i}"))
        stamps.add(stamp(__import__(f"calls{i}").f))
    assert len(stamps) == 3
    scope: dict[str, Any] = {"fastem": fastem, "__name__": "nowhere"}
    exec("@fastem.brick\ndef f(x):\n    return x\n", scope)  # a notebook's: of no file
    assert stamp(scope["f"])


ANOTHER_PROCESS = """
import sys
import numpy as np, fastem
from numba.core.compiler import CompilerBase
compiled, run = [], CompilerBase.compile_extra
CompilerBase.compile_extra = lambda self, f: compiled.append(f.__name__) or run(self, f)
X = np.random.default_rng(0).exponential(1.0, (50, 2))
fastem.ExponentialMixture(1, max_iter=1, tol=1e9, accelerate=None).fit(X)  # of an index with what it cannot import
sys.path.insert(0, sys.argv[1])
from test_bricks import Waits
fastem.Mixture(Waits(), 1, max_iter=1, tol=1e9, accelerate=None).fit(X)
print("compiled", *compiled)
"""


def test_bricks_are_compiled_once_and_do_not_spoil_the_cache_of_others(X: np.ndarray) -> None:
    for model in (fastem.ExponentialMixture(1), fastem.Mixture(Waits(), 1)):
        model.fit(X)
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(Path(__file__).parent)]
    for _ in range(
        3
    ):  # of two processes that write one index at a time, such as workers of the tests, one is forgotten
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if found == "compiled":
            break
    assert found == "compiled"


@fastem.brick
def beyond(tile: Any, params: Any, out: Any) -> None:
    for b in range(out.shape[1]):
        out[0, b] = tile.columns[params.rates.shape[1], b]


@fastem.brick
def too_many(tile: Any, params: Any, out: Any) -> None:
    for b in range(out.shape[1]):
        out[params.rates.shape[0], b] = 0.0


@fastem.brick
def uncounted(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
    sums.sum_x[s, :, :] += 1.0


@fastem.brick
def first_alone(tile: Any, params: Any, out: Any) -> None:
    for b in range(out.shape[1]):
        out[0, b] = -tile.columns[0, b]


@fastem.brick
def assigned(tile: Any, resp: Any, params: Any, sums: Any, s: int) -> None:
    for k in range(resp.shape[0]):
        sums.sum_w[s, k] = 0.0
        for b in range(resp.shape[1]):
            sums.sum_w[s, k] += resp[k, b]


@pytest.mark.parametrize(
    ("brick", "message"),
    [
        ({"log_prob": staticmethod(first_alone)}, r"log_prob of Wrong left out\[1, 0\] as it was; .* for every k <"),
        ({"accumulate": staticmethod(assigned)}, r"called twice .* sums.sum_w is not twice .* so add to it"),
        ({"log_prob": staticmethod(beyond)}, "index 2 is out of bounds"),
        ({"log_prob": staticmethod(too_many)}, "index 2 is out of bounds"),
        ({"accumulate": staticmethod(uncounted)}, "of 64 rows of responsibilities 1/2; 32 are wanted"),
    ],
)
def test_what_compiled_code_would_not_notice(X: np.ndarray, brick: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.Mixture(type("Wrong", (Waits,), brick)(), 2, random_state=0).fit(X)


def test_a_file_holds_all_but_the_code(X: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for family in (Waits(), InNumPy()):
        model = fit(fastem.Mixture(family, 2, params_init=Rates(RATES), **START), X)
        model.save(path)
        again = fastem.load(path, family=type(family)())
        assert type(again.params_) is Rates and (again.params_.rates == model.params_.rates).all()
        assert type(again.params_init) is Rates and (again.params_init.rates == RATES).all()
        assert again.weights_init == [0.5, 0.5] and again.stop_reason_ == model.stop_reason_
        assert (again.score_samples(X) == model.score_samples(X)).all() and again.bic(X) == model.bic(X)
        on, whole = (fit(m.set_params(warm_start=True, accelerate=None), X).params_.rates for m in (again, model))
        np.testing.assert_array_equal(on, whole)
    wanted = r"holds a Mixture of your family InNumPy, whose code no file holds{}: .* load\(path, family=InNumPy\("
    for given, words in ((None, ""), (Waits(), ", and family is .*Waits.*"), (InNumPy, ", and family is .*InNumPy.*")):
        with pytest.raises(ValueError, match=wanted.format(words).replace(" load", "fastem.load")):
            fastem.load(path, family=given)
    with np.load(path, allow_pickle=False) as file:
        assert file["kind"] == "Mixture" and sum(file[name].nbytes for name in file.files) < 20_000


def test_parameters_of_any_form_are_stored() -> None:
    class Local(NamedTuple):
        left: np.ndarray
        right: np.ndarray

    given = {"a": (np.ones(2), Rates(RATES)), "b": Local(np.zeros(2), np.arange(2.0)), "c": ()}
    form = json.loads(json.dumps(form_of(given)))
    found = tree_of(form, arrays_of(given, "params", "_"), "params", "_", Waits())
    assert list(found) == ["a", "b", "c"] and type(found["a"]) is tuple and type(found["a"][1]) is Rates
    assert found["b"]._fields == Local._fields and (found["b"].right == [0, 1]).all() and found["c"] == ()
