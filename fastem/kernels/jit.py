"""The only place that configures Numba: what a brick is, how a loop is compiled, what invalidates its cache."""

import functools
import hashlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numba
from numba.extending import register_jitable

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Kernels allocate nothing, so they go without reference counts, whose atomic operations took a fifth of the time.

No fastmath: every contraction is written as an explicit `simd.fma`, so NaN, inf and the exp stay defined."""

brick = register_jitable
"""A plain Python function that compiled loops call and LLVM inlines; a test can call it uncompiled.

Not `inline="always"`: Numba 0.68 then merges variables of the brick's loops, and stores of one loop are lost.
"""

inlined = register_jitable(forceinline=True)
"""A brick that LLVM always inlines: for one with so many arrays that a call costs more than what it does."""

_warned = False


def stamp(*functions: Callable) -> str:
    """Checksum of the sources behind `functions` and of all of `kernels`.

    Numba's cache looks at the file of the compiled function only, and serves stale code when a brick in another file
    was edited. A factory that closes over this string gets a new cache entry instead.
    """
    files = {Path(sys.modules[f.__module__].__file__ or "") for f in functions}
    files |= set(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(repr((OPTIONS, getattr(numba.config, "BOUNDSCHECK", None))).encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def compiled(function: Callable) -> Callable:
    """`function` as a compiled loop without the GIL, cached on disk where a cache folder can be written.

    Not `parallel=True`: its wrappers optimise the same code three times more (13 s against 8 s a covariance type),
    and its pools of threads end the process after a fork or a second entry. The engine calls runs of slots from
    threads of its own.
    """
    global _warned
    try:
        return _with_whole_cache(numba.njit(cache=True, **OPTIONS)(function))
    except (RuntimeError, OSError) as error:
        if not _warned:
            _warned = True
            warnings.warn(
                f"compiled kernels cannot be cached on disk ({error}); each process compiles them anew. "
                "Set NUMBA_CACHE_DIR to a folder that can be written.",
                RuntimeWarning,
                stacklevel=2,
            )
        return numba.njit(**OPTIONS)(function)


def _with_whole_cache(kernel: Any) -> Callable:
    """`kernel`, compiled anew where a full disk or a copy left files of its cache that are cut off."""

    @functools.wraps(kernel)
    def call(*arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except (EOFError, UnpicklingError):
            kernel._cache.flush()
            return kernel(*arguments)

    return call
