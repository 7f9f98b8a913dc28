"""Bricks uncompiled against the textbook, compiled loops against bricks, and memory that nothing may touch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import reference
from scipy.stats import multivariate_normal

from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.families.student_t import StudentT, StudentTParams
from fastem.kernels import jit, mixture, moments, row_moments, simd, softmax, special, triangles, whiten

RNG = np.random.default_rng(5)
DTYPES = [np.float64, np.float32]


def gaussian(d: int, k: int, covariance_type: str = "full") -> tuple[Gaussian, GaussianParams, np.ndarray]:
    a = RNG.standard_normal((k, d, d))
    matrices = a @ a.swapaxes(1, 2) + np.eye(d)
    shapes = {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.diagonal(matrices, axis1=1, axis2=2).copy(),
        "spherical": matrices[:, 0, 0].copy(),
    }
    full = {
        "full": matrices,
        "tied": np.broadcast_to(matrices[0], matrices.shape),
        "diag": shapes["diag"][:, :, None] * np.eye(d),
        "spherical": shapes["spherical"][:, None, None] * np.eye(d),
    }
    params = GaussianParams(RNG.standard_normal((k, d)), shapes[covariance_type])
    return Gaussian(covariance_type, 0.0), params, full[covariance_type]


def python_tile(X: np.ndarray, k: int, lanes: int) -> mixture.Tile:
    """`make_tile` runs uncompiled too."""
    return mixture.make_tile(X.dtype, X.shape[1], k, lanes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(200, 2, 1), (150, 9, 5), (129, 1, 40), (128, 4, 3), (256, 200, 2)])
def test_the_rows_of_the_next_tile_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, k: int, dtype: type
) -> None:
    X, lanes, asked = RNG.standard_normal((n, d)).astype(dtype), 128, []
    monkeypatch.setattr(softmax, "prefetch", lambda a, i, j: asked.append(j))
    tile = python_tile(X, k, lanes)
    tile.weight[:] = 1.0
    softmax.normalize_and_ask(tile, np.zeros((1, k), dtype), 0, True, X, lanes)
    line = softmax.LINE // X.itemsize
    wanted = [] if X[lanes:].nbytes > softmax.AHEAD else range(lanes * d, n * d, line)
    assert asked == list(wanted)


@pytest.mark.parametrize(("first", "wanted"), [(0, 128), (1, 200), (5, 200)])
def test_no_row_is_asked_for_past_the_last_or_out_of_order(first: int, wanted: int) -> None:
    X = RNG.standard_normal((200, 3))
    tile = python_tile(X, 2, 128)
    assert mixture.after(tile, first, X) == wanted
    assert mixture.after(tile._replace(order=np.arange(200)), first, X) == 200


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 9])
def test_bricks_uncompiled_are_the_textbook(covariance_type: str, d: int, dtype: type) -> None:
    k, n = 3, 70
    family, params, full = gaussian(d, k, covariance_type)
    lanes = 128
    X, weight = RNG.standard_normal((n, d)).astype(dtype), RNG.random(n)
    prepared = family.prepare(params, np.dtype(dtype), np.ones(k))
    tile = python_tile(X, k, lanes)
    mixture.load_tile(X, weight, 0, n, prepared.shift, tile)
    family.bricks(prepared)[0](tile, prepared, tile.resp)
    wanted = np.stack([multivariate_normal(params.means[c], full[c]).logpdf(X).reshape(-1) for c in range(k)])
    eps = 1e-11 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(tile.resp[:k, :n], wanted, rtol=eps, atol=eps)
    log_weights = np.log(np.full((1, k), 1 / k)).astype(dtype)
    total = softmax.normalize(tile, log_weights)
    joint = wanted + log_weights[0, :, None]
    log_p = np.logaddexp.reduce(joint, axis=0)
    np.testing.assert_allclose(total, log_p @ weight, rtol=10 * eps)
    np.testing.assert_allclose(tile.resp[:k, :n], np.exp(joint - log_p) * weight, atol=10 * eps)
    statistics = family.zeros(params, 1, prepared)
    family.bricks(prepared)[1](tile, tile.resp, prepared, statistics, 0)
    sums = family.unpad(statistics, params, prepared)
    after = family.m_step(sums, params)
    resp = (np.exp(joint - log_p) * weight).T
    means = resp.T @ X / resp.sum(axis=0)[:, None]
    np.testing.assert_allclose(sums.sum_w, resp.sum(axis=0), rtol=10 * eps)
    np.testing.assert_allclose(after.means, means, rtol=50 * eps, atol=50 * eps)
    covariances = reference.m_step(X, resp, covariance_type).covariances
    np.testing.assert_allclose(after.covariances, covariances, rtol=100 * eps, atol=100 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_sums_of_second_moments_agree(dtype: type) -> None:
    d, lanes = 16, 128
    y = np.zeros((d, lanes), dtype)
    y[:13] = RNG.standard_normal((13, lanes))
    down, across = np.zeros((d, d)), np.zeros((d, d))
    row_moments.outer_sum(np.ascontiguousarray(y.T), lanes, down, d)
    moments.lane_products(y, lanes, across, d)
    wanted = np.triu(y.astype(float) @ y.T.astype(float))
    for found in (down, across):
        np.testing.assert_allclose(np.triu(found), wanted, atol=1e-4 if dtype == np.float32 else 1e-12)


@numba.njit
def _exp_log(a: np.ndarray, b: np.ndarray) -> None:
    for i in range(0, a.shape[1], simd.group(a)):
        e = special.exp(simd.load(a, 0, i))
        simd.store(b, 0, i, e)
        simd.store(b, 1, i, special.log(simd.load(a, 1, i)))
        simd.store(b, 2, i, special.rsqrt(simd.load(a, 1, i)))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("dtype", "most", "ulps"), [(np.float64, 708.0, 2), (np.float32, 87.0, 3)])
def test_exp_log_and_rsqrt_are_right_to_the_last_bits(dtype: type, most: float, ulps: float, sign: float) -> None:
    a = np.zeros((2, 4096), dtype)
    a[0] = np.linspace(sign * most, 0, 4096)
    a[1] = np.exp(np.linspace(-80, 80, 4096))
    b = np.zeros((3, 4096), dtype)
    _exp_log(a, b)
    eps = np.finfo(dtype).eps
    wanted = np.exp(a[0].astype(np.longdouble)), np.log(a[1].astype(np.longdouble))
    assert np.max(np.abs(b[0] / wanted[0] - 1)) < ulps * eps
    assert np.max(np.abs(b[1] - wanted[1]) / np.maximum(np.abs(wanted[1]), 1)) < ulps * eps
    assert np.max(np.abs(b[2] * np.sqrt(a[1].astype(np.longdouble)) - 1)) < ulps * eps


@numba.njit
def _primitives(a, out, sums):
    simd.transpose(a, 0, 0, out)
    v = simd.load_pair(a, 0, 0)
    w = simd.load_pair(a, 1, 0)
    simd.add_totals(sums, 0, 0, v, w, v + w, v - w, v * w, w, v, w)
    return simd.total(v), simd.count_greater(v, 0.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_primitives_are_their_twins(dtype: type) -> None:
    a = RNG.random((64, 64)).astype(dtype)
    results = []
    for run in (_primitives, _primitives.py_func):
        out, sums = np.zeros_like(a), np.zeros((4, 2))
        scalars = run(a, out, sums)
        results.append((out, sums, *scalars))
    for compiled, twin in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, twin, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_packed_triangles_are_read_in_their_order() -> None:
    d = 7
    lower = np.tril(RNG.standard_normal((2, d, d)))
    x = np.zeros((8, simd.GROUP * simd.NATIVE_OF[np.dtype(float)]))
    x[:d] = RNG.standard_normal((d, x.shape[1]))
    found = whiten.squared_norm(whiten.pack(lower), 1, x, 8)
    np.testing.assert_allclose(found, ((lower[1] @ x[:d]) ** 2).sum(axis=0))


def test_the_stamp_follows_the_sources(tmp_path, monkeypatch) -> None:
    before = jit.stamp(moments.lane_sum)
    assert before == jit.stamp(moments.lane_sum)
    monkeypatch.setattr(jit, "OPTIONS", {**jit.OPTIONS, "boundscheck": True})
    assert jit.stamp(moments.lane_sum) != before


@pytest.mark.parametrize(("d", "k", "n"), [(1, 1, 1), (3, 5, 129), (6, 2, 257), (9, 3, 64)])
def test_kernels_stay_within_bounds(d: int, k: int, n: int, either: None) -> None:
    """NaN around the rows would show in the sums, and Python checks the indices."""
    rng, guarded = np.random.default_rng(0), np.full((n + 2, d), np.nan)
    guarded[1:-1] = rng.standard_normal((n, d))
    data = chunk(guarded[1:-1])
    gaussian = GaussianParams(rng.standard_normal((k, d)), np.stack([np.eye(d)] * k))
    for family, components in (Gaussian(), gaussian), (StudentT(), StudentTParams(*gaussian, np.full(k, 0.1))):
        params = MixtureParams(np.full(k, 1 / k), components)
        model = Mixture(family)
        statistics = model.e_step(params, [data])
        rows = model.rows(params, data, "log_prob", "labels", "responsibilities")
        assert np.isfinite(statistics.log_likelihood)
        assert statistics.log_likelihood == pytest.approx(rows["log_prob"].sum(), rel=1e-9)
        np.testing.assert_allclose(rows["responsibilities"].sum(axis=1), 1)
        assert statistics.components.sum_w.sum() == pytest.approx(n)
    assert np.isnan(guarded[[0, -1]]).all()


CHECKED = """
import numpy as np
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.gaussian import Gaussian, GaussianParams
rng = np.random.default_rng(0)
for d, k, n in ((1, 1, 1), (3, 5, 129), (6, 2, 257), (9, 3, 64)):
    params = MixtureParams(np.full(k, 1 / k), GaussianParams(rng.standard_normal((k, d)), np.stack([np.eye(d)] * k)))
    model, data = Mixture(Gaussian()), chunk(rng.standard_normal((n, d)))
    total = model.e_step(params, [data]).log_likelihood
    assert np.isclose(total, model.rows(params, data, "log_prob", "labels", "responsibilities")["log_prob"].sum())
print("whole")
"""


def test_compiled_indices_stay_within_bounds(tmp_path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", CHECKED], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "whole", run.stderr


NARROW = """
import numpy as np
from fastem.engine.chunks import chunk
from fastem.engine.model import Mixture, MixtureParams
from fastem.families.gaussian import Gaussian, GaussianParams
from fastem.kernels import simd
rng = np.random.default_rng(0)
for d in (1, 2, 3, 4):
    X = rng.standard_normal((300, d))
    params = MixtureParams(np.ones(1), GaussianParams(np.full((1, d), 0.5), np.ones((1, d))))
    sums = Mixture(Gaussian("diag", 0.0)).e_step(params, [chunk(X)]).components
    assert np.allclose(sums.sum_x, (X - 0.5).sum(axis=0)) and np.allclose(sums.sum_xx, ((X - 0.5) ** 2).sum(axis=0)), d
print(simd.native(X))
"""


def test_diagonal_sums_where_registers_are_short(tmp_path) -> None:
    """As on machines whose registers hold two float64: there the rows of a tile serve from two features on."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    run = subprocess.run([sys.executable, "-c", NARROW], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "2", run.stderr


def family(number: int) -> Callable:
    """One of several kernels with an index in common."""

    def e_step(x: int) -> int:
        return x + number

    return jit.compiled(e_step)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, which each new `family` finds as one of another process would."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_cache_that_is_cut_off_is_made_anew(cache: Path) -> None:
    def found() -> int:
        kernel: Any = family(2)
        assert kernel(1) == 3
        return sum(kernel.__wrapped__.stats.cache_hits.values())

    assert found() == 0
    for ending in ("nbi", "nbc"):
        for share in (0.0, 0.1, 0.9):
            assert found() == 1
            for file in cache.rglob(f"*.{ending}"):
                file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
            assert found() == 0, (ending, share)


def test_an_error_of_compiling_leaves_the_cache_alone(monkeypatch) -> None:
    """Only one of loading tells that the cache is broken."""
    kernel: Any = jit.compiled(lambda a: a)
    dispatcher, flushed = kernel.__wrapped__, []
    monkeypatch.setattr(dispatcher._cache, "flush", lambda: flushed.append(True))

    def compile(arguments: Any, return_type: Any) -> Any:
        raise AttributeError("of the compiler")

    monkeypatch.setattr(dispatcher._compiler, "compile", compile)
    with pytest.raises(AttributeError, match="of the compiler"):
        kernel(1)
    assert not flushed


@pytest.mark.usefixtures("cache")
def test_processes_that_compile_at_the_same_time() -> None:
    """Families share an index: the one that writes it last must not name the other's code as its own."""
    for race in (True, False, True, False):
        kernels: Any = [family(number) for number in (10, 20)]
        files = [kernel.__wrapped__._cache._cache_file for kernel in kernels]
        write, late = files[0]._save_data, []
        if race:  # the first has taken its number when the second reads the index, and writes its code last
            files[0]._save_data = lambda *code, late=late: late.append(code)
            files[1]._load_index = dict
        assert [kernel(1) for kernel in kernels] == [11, 21], race
        for code in late:
            write(*code)


@pytest.mark.parametrize("invert", [triangles.invert_factors, triangles.inverter()], ids=["brick", "compiled"])
@pytest.mark.parametrize("d", [1, 2, 5, 13])
def test_small_covariances_are_factored_as_by_lapack(invert, d: int) -> None:
    a = RNG.standard_normal((3, d, 2 * d))
    matrices = a @ a.swapaxes(1, 2)
    factors = np.full_like(matrices, np.nan)
    assert invert(matrices, factors) == 3
    lower = np.linalg.cholesky(matrices)
    np.testing.assert_allclose(factors, np.linalg.inv(lower).swapaxes(1, 2), rtol=1e-10, atol=1e-12)
    assert (np.tril(factors, -1) == 0).all()
    for bad in (np.zeros((d, d)), -np.eye(d), np.full((d, d), np.nan), np.full((d, d), np.inf)):
        assert invert(np.stack([matrices[0], bad, matrices[2]]), factors) == 1
