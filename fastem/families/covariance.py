"""Covariance matrices in scikit-learn's four shapes: full (K, d, d), tied (d, d), diag (K, d), spherical (K,)."""

import functools

import numpy as np
from scipy.linalg.lapack import dtrtri

from fastem.kernels import triangles

PINNED = 2.0
"""Deviation, in units of the rounding of its mean, below which a column does not vary."""

LOST, CENTRES = 1e7, 64
"""Deviations that rows may lie away from what they are computed about before another component is looked for, and how
many of the heaviest it is among."""

FLOOR = 1e-10
"""Least variance of a floored component in units of the data's, in any direction."""


def expand(covariances: np.ndarray, covariance_type: str, k: int, d: int) -> np.ndarray:
    """The K matrices (K, d, d), whatever the shape they are kept in."""
    if covariance_type == "full":
        return covariances
    if covariance_type == "tied":
        return np.broadcast_to(covariances, (k, d, d))
    return covariances.reshape(k, -1)[:, None, :] * np.eye(d)


def reduce(matrices: np.ndarray, covariance_type: str) -> np.ndarray:
    """Inverse of `expand` for matrices (K, d, d); what the shape cannot hold is dropped, tied ones are averaged."""
    if covariance_type == "full":
        return np.array(matrices)
    if covariance_type == "tied":
        return matrices.mean(axis=0)
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    return diagonal.mean(axis=1) if covariance_type == "spherical" else np.array(diagonal)


def n_parameters(covariance_type: str, k: int, d: int) -> int:
    """Free parameters of the covariances."""
    one = d * (d + 1) // 2
    return {"full": k * one, "tied": one, "diag": k * d, "spherical": k}[covariance_type]


def precisions_cholesky(covariances: np.ndarray, covariance_type: str) -> np.ndarray:
    """Upper triangles U with S^-1 = U U^T, or 1 / standard deviations; `ValueError` if one is not positive definite."""
    if covariance_type in ("diag", "spherical"):
        _reject(np.flatnonzero(~(covariances.reshape(len(covariances), -1) > 0).all(axis=1)))
        return 1.0 / np.sqrt(covariances)
    d = covariances.shape[-1]
    matrices = np.ascontiguousarray(covariances, float).reshape(-1, d, d)
    if d <= triangles.LARGEST:
        factors = np.empty_like(matrices)
        if triangles.inverter()(matrices, factors) == len(matrices):
            return factors.reshape(covariances.shape)
    try:
        lower = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        lower = None
    if lower is None or not np.isfinite(lower).all():
        _reject(np.flatnonzero([not _is_definite(m) for m in matrices]))
        lower = np.stack([np.linalg.cholesky(m) for m in matrices])
    # Of the rows of L, LAPACK reads the columns of its transpose. NumPy has no triangular inverse: a solver of squares
    # takes three times as long.
    inverses = [dtrtri(matrix.T)[0] for matrix in lower]
    return np.stack(inverses).reshape(covariances.shape)


@functools.cache
def upper_triangle(d: int) -> np.ndarray:
    """Mask (d, d) of a matrix on and above its diagonal."""
    return np.triu(np.ones((d, d), bool))


def _is_definite(matrix: np.ndarray) -> bool:
    try:
        return bool(np.isfinite(np.linalg.cholesky(matrix)).all())
    except np.linalg.LinAlgError:
        return False


def _reject(bad: np.ndarray) -> None:
    if len(bad):
        raise ValueError(
            f"the covariance of component(s) {', '.join(map(str, bad[:5]))} is not positive definite: "
            "its observations lie in a subspace, or are too few. Use fewer components, a larger reg_covar, "
            "or another covariance_type"
        )


def singular(
    covariances: np.ndarray, covariance_type: str, k: int, eps: float, factors: np.ndarray | None = None
) -> np.ndarray:
    """Mask (K,) of covariances without a usable Cholesky factor, of data with that precision.

    `factors` are their `precisions_cholesky`, where they are known.
    """
    if covariance_type in ("diag", "spherical"):
        variances = covariances.reshape(k, -1)
        return ~((variances > np.finfo(float).tiny) & np.isfinite(variances)).all(axis=1)
    d = covariances.shape[-1]
    matrices = covariances.reshape(-1, d, d)
    try:
        diagonal = None if factors is None else 1.0 / np.diagonal(factors.reshape(-1, d, d), axis1=1, axis2=2)
        bad = ~_well_factored(matrices, eps, diagonal)
    except np.linalg.LinAlgError:
        bad = np.array([_fails(m, eps) for m in matrices])
    return bad if len(bad) == k else np.repeat(bad, k)


def pinned(covariances: np.ndarray, covariance_type: str, means: np.ndarray, eps: float) -> np.ndarray:
    """Mask (K,) of components with a deviation far below what numbers of the size of their mean can differ by.

    Statistics that are blended approach the variance 0 of equal rows step by step, and never reach it.
    """
    variances = diagonals(covariances, covariance_type, means.shape)
    return np.asarray((variances < pins(covariance_type, means, eps)).any(axis=1))


def diagonals(covariances: np.ndarray, covariance_type: str, shape: tuple[int, ...]) -> np.ndarray:
    """Variances of all columns, of that shape (K, d)."""
    if covariance_type in ("full", "tied"):
        return np.broadcast_to(np.diagonal(covariances, axis1=-2, axis2=-1), shape)
    return np.broadcast_to(covariances.reshape(shape[0], -1), shape)


def central(means: np.ndarray, variances: np.ndarray, weights: np.ndarray) -> int:
    """The component about whose mean rows keep the digits that they have: the heaviest, but where some are very far.

    Means and variances are (K, d). Of fill values there may be more than rows in any other component. Components that
    hardly vary in a column are measured by the others: as a rule their rows are equal, and lose nothing.
    """
    deviations = np.maximum(np.sqrt(variances), np.finfo(float).tiny)

    def lost(i: int) -> float:
        """By how much numbers come to be larger than they were, in deviations; eps times that is lost."""
        return float((np.maximum(np.abs(means - means[i]) - np.abs(means), 0.0) / deviations).max())

    heaviest = int(np.argmax(weights))
    with np.errstate(over="ignore"):
        if lost(heaviest) <= LOST:  # no more so with the deviations of the others, whose medians cost more than this
            return heaviest
        deviations = np.maximum(deviations, np.median(deviations, axis=0))
        if lost(heaviest) <= LOST:
            return heaviest
        heavy = np.argsort(-weights, kind="stable")[:CENTRES]
        return int(heavy[np.argmin([lost(i) for i in heavy])])


def pins(covariance_type: str, means: np.ndarray, eps: float) -> np.ndarray:
    """Variances (K, d) below which columns are pinned: of tied ones the least of all components."""
    sizes = np.abs(means)
    if covariance_type == "tied":
        sizes = np.broadcast_to(sizes.min(axis=0), means.shape)
    if covariance_type == "spherical":
        sizes = np.broadcast_to(sizes.max(axis=1, keepdims=True), means.shape)
    return (PINNED * eps * sizes) ** 2


def _well_factored(matrices: np.ndarray, eps: float, diagonal: np.ndarray | None = None) -> np.ndarray:
    """Whether each feature keeps more of its variance, given those before it, than rounding can feign.

    `diagonal` (m, d) is that of their Cholesky factors, where it is known.
    """
    if diagonal is None:
        diagonal = np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)
    pivots = diagonal**2
    variances = np.diagonal(matrices, axis1=1, axis2=2)
    d = matrices.shape[-1]
    return (pivots > 8 * d * eps * variances).all(axis=1) & np.isfinite(pivots).all(axis=1)


def _fails(matrix: np.ndarray, eps: float) -> bool:
    try:
        return not _well_factored(matrix[None], eps)[0]
    except np.linalg.LinAlgError:
        return True


def rounding(offsets: np.ndarray, factors: np.ndarray, eps: float) -> np.ndarray:
    """How many nats of a row's log-density rounding may hide or feign, (K,).

    Rows about `offsets` (K, d) are held with the precision eps, whitened by factors U (K, d, d), S^-1 = U U^T, and
    squared. A covariance off by a relative `loose` in its least direction is off its maximum by the square of that.
    """
    inverse = np.linalg.inv(factors)
    deviations = np.sqrt(np.square(inverse).sum(axis=1))
    sizes = np.abs(offsets) + deviations
    errors = eps * np.linalg.norm(np.einsum("kji,kj->ki", np.abs(factors), sizes), axis=1)
    loose = (deviations**2 * np.square(factors).sum(axis=2)).sum(axis=1)
    return np.sqrt(offsets.shape[1]) * errors + errors**2 + (eps * loose) ** 2 + np.finfo(float).eps * loose


def divergences(means: np.ndarray, factors: np.ndarray, i: int) -> np.ndarray:
    """Jeffreys' divergence of each Gaussian from the i-th, (K,), in nats; S_k^-1 = U_k U_k^T."""
    inverse = np.linalg.inv(factors)
    there = np.square(np.swapaxes(factors, 1, 2) @ inverse[i].T).sum(axis=(1, 2))
    back = np.square(inverse @ factors[i]).sum(axis=(1, 2))
    offsets = means - means[i]
    apart = np.square([np.einsum("kji,kj->ki", factors, offsets), offsets @ factors[i]]).sum(axis=(0, 2))
    return 0.5 * (there + back + apart) - means.shape[1]


def clip(matrices: np.ndarray, spread: np.ndarray, eps: float) -> np.ndarray:
    """Matrices with no eigenvalue under `FLOOR` in units of `spread` (d,), the data's standard deviations.

    This is the maximum-likelihood estimate among the covariances with that least variance.
    """
    unit = spread[:, None] * spread
    values, vectors = np.linalg.eigh(matrices / unit)
    # Beside the largest eigenvalue the floor must also be one that a Cholesky factor of this precision can hold.
    least = np.maximum(FLOOR, 64 * matrices.shape[-1] * eps * values[:, -1:])
    return (vectors * np.maximum(values, least)[:, None, :]) @ np.swapaxes(vectors, 1, 2) * unit
