"""How many threads a compiled loop uses, and when it must not use the pool.

Numba's `workqueue` layer ends the process when two Python threads enter it at once, and neither it nor GNU OpenMP
survives a fork after first use. So entry is one at a time where the layer is `workqueue`, and a forked child runs the
serial build of each loop.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

import numba

_one_at_a_time = threading.RLock()
_state = {"used": False, "forked": False}


def _after_fork() -> None:
    global _one_at_a_time
    _state["forked"] = _state["used"]
    _one_at_a_time = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def pool_is_usable() -> bool:
    """False in a child forked after the pool of threads was started."""
    return not _state["forked"]


def _is_safe() -> bool:
    """Whether several Python threads may be inside parallel loops at once; unknown before the first loop."""
    try:
        return numba.threading_layer() != "workqueue"
    except ValueError:
        return False


@contextlib.contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run a loop on `n_jobs` threads (None or -1: all), then restore the number; waits for a turn where it must."""
    with contextlib.nullcontext() if _is_safe() else _one_at_a_time:
        before = numba.get_num_threads()
        most = getattr(numba.config, "NUMBA_NUM_THREADS", 1)
        numba.set_num_threads(most if n_jobs in (None, -1) else max(1, min(n_jobs, most)))
        _state["used"] = True
        try:
            yield
        finally:
            numba.set_num_threads(before)
