"""The only place that configures Numba: what a brick is, how a loop is compiled, what invalidates its cache."""

import functools
import hashlib
import re
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from types import FunctionType
from typing import Any

import numba
from numba.core.errors import NumbaError
from numba.extending import register_jitable

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
"""Kernels allocate nothing, so they go without reference counts, whose atomic operations took a fifth of the time.

Nobody calls them from C, and the wrappers would be an eighth of the time to compile.
No fastmath: every contraction is written as an explicit `simd.fma`, so NaN, inf and the exp stay defined."""

ANY_ORDER = {"reassoc", "contract", "nsz"}
"""Fastmath of users' bricks: only where a sum may be taken in any order does LLVM make vector code of a scalar loop."""


def brick(function: Callable) -> Callable:
    """A plain Python function that compiled loops call and LLVM inlines; a test can call it uncompiled.

    Not `inline="always"`: Numba 0.68 then merges variables of the brick's loops, and stores of one loop are lost.
    """
    return register_jitable(no_cfunc_wrapper=True)(_marked(function))


def scalar_brick(function: Callable) -> Callable:
    """A brick whose loops over the lanes are of scalars, and whose sums may be taken in any order."""
    return register_jitable(fastmath=ANY_ORDER, no_cfunc_wrapper=True)(_marked(function))


def _marked(function: Any) -> Any:
    function.is_brick = True
    return function


def rootless(function: Any) -> Any:
    """Mark a brick of an M-step that reads no `tile.root`: the softmax then leaves the roots out."""
    function.is_rootless = True
    return function


def reads_roots(function: Any) -> bool:
    """Whether a brick of an M-step may read `tile.root`."""
    return not hasattr(function, "is_rootless")


inlined = register_jitable(forceinline=True, no_cfunc_wrapper=True)
"""A brick that LLVM always inlines: for one with so many arrays that a call costs more than what it does."""

_warned = False


def stamp(*functions: Callable) -> str:
    """Checksum of the sources behind `functions` and all bricks that they call, and of all of `kernels`.

    Numba's cache looks at the file of the compiled function only, and serves stale code when a brick in another file
    was edited. A factory that closes over this string gets a new cache entry instead. Bricks without a file, those of
    a notebook, are pickled by value into the key of the entry.
    """
    reached: dict[Callable, list[Any]] = {}
    for function in functions:
        _reach(function, reached)
    modules = (sys.modules.get(f.__module__ or "") for f in reached)
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    files |= set(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(repr((OPTIONS, getattr(numba.config, "BOUNDSCHECK", None))).encode())
    for file in sorted(files):
        digest.update(file.read_bytes() if file.is_file() else b"")
    for numbers in reached.values():
        digest.update(repr(numbers).encode())
    return digest.hexdigest()[:16]


def _reach(function: Any, reached: dict[Callable, list[Any]]) -> None:
    """Add the function, the bricks that it calls, and the constants that they read."""
    if function in reached:
        return
    reached[function] = constants = []
    for value in _read_by(function):
        if isinstance(value, FunctionType) and hasattr(value, "is_brick"):
            _reach(value, reached)
        elif isinstance(value, int | float | complex | str | tuple):
            constants.append(value)


def _read_by(function: FunctionType) -> Iterator[Any]:
    """What a function finds in its closure and among the globals of its module."""
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    yield from (function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__)


def compiled(function: Callable) -> Callable:
    """`function` as a compiled loop without the GIL, cached on disk where a cache folder can be written.

    Not `parallel=True`: its wrappers optimise the same code three times more (13 s against 8 s a covariance type),
    and its pools of threads end the process after a fork or a second entry. The engine calls runs of slots from
    threads of its own.
    """
    global _warned
    try:
        return _speaking(_with_whole_cache(numba.njit(cache=True, **OPTIONS)(function)))
    except (RuntimeError, OSError) as error:
        if not _warned:
            _warned = True
            warnings.warn(
                f"compiled kernels cannot be cached on disk ({error}); each process compiles them anew. "
                "Set NUMBA_CACHE_DIR to a folder that can be written.",
                RuntimeWarning,
                stacklevel=2,
            )
        return _speaking(numba.njit(**OPTIONS)(function))


def _with_whole_cache(kernel: Any) -> Callable:
    """`kernel`, compiled anew where a full disk or a copy left files of its cache that are cut off.

    And where another version of fastem left types in it that this one has elsewhere, or no longer.

    All families share one index of numba's cache, which numbers their files. Of two processes that compile at the same
    time each would take the next number, and the index of one lead to the code of the other: so each numbers its own.
    """
    file = kernel._cache._cache_file
    file._data_name_pattern = file._data_name_pattern.replace("{number", uuid.uuid4().hex[:8] + ".{number")
    load = kernel._cache.load_overload

    def load_overload(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except (EOFError, UnpicklingError, AttributeError, ImportError):
            kernel._cache.flush()
            return None  # to be compiled

    kernel._cache.load_overload = load_overload
    return kernel


def _speaking(kernel: Callable) -> Callable:
    """`kernel`, which tells in a few words what of a brick does not compile."""

    @functools.wraps(kernel)
    def call(*arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except NumbaError as error:
            raise ValueError(
                f"a brick does not compile: {cause_of(str(error))}. Bricks are loops over numbers and arrays that "
                "allocate nothing: see numba.readthedocs.io for the Python that Numba knows"
            ) from error

    return call


def cause_of(message: str) -> str:
    """What Numba's message says of the first function that is no brick, after the names of the bricks that call it."""
    bricks, cause, place = "", message.strip().splitlines()[-1], 0
    for found in re.finditer(r"Failed in nopython mode pipeline[^\n]*\n\s*([^\n]*)", message):
        cause, place = found[1].strip(), found.end()
        called = re.match(r"No implementation of function Function\(<function (\S+) at", cause)
        if not called:
            break
        bricks = called[1].rsplit(".", 1)[-1]
    if cause.endswith("found for signature:"):
        cause += " " + (re.findall(r">>> ([^\n]*)", message[place:]) or [""])[0]
    own = [(f, n) for f, n in re.findall(r'File "([^"]+)", line (\d+)', message[place:]) if not _is_inner(f)]
    line = f" (line {own[0][1]} of {own[0][0]})" if own else ""
    return f"{bricks}: {cause}{line}" if bricks else cause


def _is_inner(file: str) -> bool:
    return "/numba/" in file or "fastem/families/" in file or "fastem/kernels/" in file
