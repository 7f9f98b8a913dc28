"""Runs of slots on several threads. The kernels hold no GIL, so Python's own threads do.

Any number of threads may fit at once: each takes part in its own work, helped by those of the pool that are free. A
forked child begins with a pool of its own.
"""

import contextlib
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from threadpoolctl import ThreadpoolController

SHARE = 2
"""A thread takes this part of its share of the slots that are left: many at first, one at last, so that all end at once
even where one is held up."""

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()
_found: tuple[int, ThreadpoolController] | None = None
"""How many modules there were, and the libraries that were loaded then."""

_limited, _limit = 0, None
"""Blocks of `one_library_thread` that are open, and what restores BLAS when the last of them ends."""


def _after_fork() -> None:
    global _pool, _lock, _limited
    _pool, _lock, _limited = None, threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def cores() -> int:
    """Cores that this process may use, or NUMBA_NUM_THREADS, which joblib sets in its workers."""
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_library_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread: what a fit gives them is small, and their threads would wait by spinning.

    On a busy machine that cost six to thirty times the processor time of a small fit, and in a forked child GNU OpenMP
    waits forever. OpenMP counts its threads for each caller, BLAS for the process, so the last of several fits at once
    restores that.
    """
    global _limited, _limit
    libraries = _controller()  # a limit restores all of a controller's libraries, not only those it was for
    with libraries.select(user_api="openmp").limit(limits=1):
        with _lock:
            if _limited == 0:
                _limit = libraries.select(user_api="blas").limit(limits=1)
            _limited += 1
        try:
            yield
        finally:
            with _lock:
                _limited -= 1
                if _limited == 0 and _limit is not None:
                    _limit.restore_original_limits()


def _controller() -> ThreadpoolController:
    """A controller of the libraries that are loaded; they are looked for, which takes 3 ms, after imports only."""
    global _found
    modules = len(sys.modules)
    if _found is None or _found[0] != modules:
        _found = modules, ThreadpoolController()
    return _found[1]


def run_slots(task: Callable[[int, int], None], slots: int, n_jobs: int | None) -> None:
    """``task(first, last)`` over disjoint runs of the slots, on `n_jobs` threads (None or -1: one a core)."""
    threads = 1 if slots == 1 else min(slots, cores() if n_jobs in (None, -1) else int(n_jobs or 1))
    if threads == 1:
        task(0, slots)
        return
    runs = iter(_runs(slots, threads))  # next() of a list's is atomic

    def drain() -> None:
        for first, last in runs:
            task(first, last)

    helpers = []
    try:
        # At the interpreter's end no thread can be started any more, and this one does it all.
        with contextlib.suppress(RuntimeError):
            for _ in range(threads - 1):
                helpers.append(_executor().submit(drain))
        drain()
    finally:
        for _ in runs:  # after an error the others take no more
            pass
        wait([helper for helper in helpers if not helper.cancel()])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


@functools.cache
def _runs(slots: int, threads: int) -> list[tuple[int, int]]:
    """The runs that all the slots are taken in."""
    bounds = [0]
    while bounds[-1] < slots:
        bounds.append(bounds[-1] + max(1, (slots - bounds[-1]) // (SHARE * threads)))
    return list(itertools.pairwise(bounds))


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="fastem")
        return _pool
