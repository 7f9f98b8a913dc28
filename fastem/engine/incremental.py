"""Incremental EM over a fixed set of chunks: each chunk's statistics are replaced by new ones, and an M-step follows.

It climbs the free energy F(P, params) = sum_c (Q_c + H_c) of Neal and Hinton (1998), "A view of the EM algorithm that
justifies incremental, sparse, and other variants", in Jordan (ed.), Learning in Graphical Models: P are the
responsibilities under which each chunk was last summed, Q_c its expected complete-data log-likelihood under `params`
and H_c the entropy of its responsibilities, which is the chunk's log-likelihood minus its Q at that time. F never
falls, is at most the log-likelihood, and equal to it at a fixed point.

A ridge on the covariances (`reg_covar` > 0) makes of the M-step the maximum of F - reg_covar / 2 sum_k N_k tr S_k^-1,
N_k being the rows of component k and those of its prior. F then falls in a pass by no more than the sum of what its
M-steps lowered that penalty by (`eased`); the fixed point is that of batch EM.

Where batch EM's error shrinks by 1 - e an iteration, and e is small, that of many chunks shrinks by about (1 - e)^2 a
pass and never by more: a parameter is the mean of a pass's updates, theta(t) = int_{t-1}^t (1 - e) theta, which is
solved by exp(-r t) with (1 - e)(exp(r) - 1) = r, r = 2e + O(e^2).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastem.engine import tree
from fastem.engine.chunks import Chunk
from fastem.engine.model import check_finite, expected_rows
from fastem.engine.monitor import ConvergenceMonitor
from fastem.engine.records import Records

MEMORY = 256 << 20
"""Bytes of the chunks' statistics in memory; those beyond go to a temporary file."""


ENOUGH = 10
"""Rows a component should have for each parameter of a row of its covariance before the first M-step moves it."""


class Incremental(NamedTuple):
    """Where incremental EM stands.

    `total` are the statistics of all chunks, about `params`, with the sum of the chunks' entropies in the place of
    their log-likelihood; a chunk's own are kept about `origin`, the parameters at the beginning of its last pass.
    `eased` is how far the M-steps of this pass may have lowered the free energy.
    """

    params: Any
    total: Any
    origin: Any
    eased: float = 0.0


def free_energy(model: Any, state: Incremental) -> float:
    """F of the chunks visited so far, and the logarithm of the parameters' prior density if any."""
    expected = model.expected_log_prob(state.total, state.params)
    return state.total.log_likelihood + expected + model.log_prior(state.params)


def first_pass(
    model: Any, params: Any, chunks: Iterable[Chunk], records: Records, eager: bool = True
) -> Iterator[Incremental]:
    """Visit all chunks for the first time, and keep their statistics in `records`.

    Eager: an M-step follows each chunk as soon as the chunks so far give every component `ENOUGH` rows for each of its
    parameters of a row of its covariance; fewer would throw a good start away. Where batch EM converges slowly this is
    worth log(number of chunks) of its passes, for params are the mean of the updates so far,
    theta(t) = (1/t) int_0^t (1 - e) theta, which is solved by t^-e. Otherwise it is one pass of batch EM.
    """
    state, rows, enough = Incremental(params, None, params), 0, False
    for chunk in chunks:
        params, total, origin, _ = state
        new = _visit(model, params, chunk)
        records.append(tree.to_vector(model.recentre(new, params, origin)))
        state = state._replace(total=new if total is None else tree.add(total, new))
        rows += int(np.count_nonzero(chunk.sample_weight)) if chunk.sample_weight.size else len(chunk.X)
        enough = eager and bool((expected_rows(state.total, rows) >= ENOUGH * (chunk.X.shape[1] + 1)).all())
        if enough:
            state = _maximised(model, state, hold=True)
        yield state
    if state.total is None or not state.total.weight > 0:
        raise ValueError("there are no rows of positive weight: give at least one")
    if not enough:
        yield _maximised(model, state, hold=True)


def next_pass(
    model: Any, state: Incremental, chunks: Iterable[Chunk], records: Records, hold: bool = True
) -> Iterator[Incremental]:
    """Visit all chunks once more, with an M-step after each; held back where it would give a component no density."""
    before, c = state.origin, -1
    state = state._replace(origin=state.params, eased=0.0)
    for c, chunk in enumerate(chunks):
        params, total, origin, _ = state
        new = _visit(model, params, chunk)
        old = tree.from_vector(new, records[c]) if c < len(records) else None
        if old is None or old.weight != new.weight:
            was = "was not there" if old is None else f"had weight {old.weight:g}"
            raise ValueError(
                f"chunk {c} {was} in the pass before and has weight {new.weight:g} now: incremental EM replaces each "
                "chunk's statistics, so every pass must give the same chunks. Use batch or stepwise EM"
            )
        records[c] = tree.to_vector(model.recentre(new, params, origin))
        total = tree.add(total, tree.subtract(new, model.recentre(old, before, params)))
        state = _maximised(model, state._replace(total=total), hold)
        yield state
    if c + 1 != len(records):
        raise ValueError(
            f"this pass gave {c + 1} chunks and the one before {len(records)}: incremental EM replaces each chunk's "
            "statistics, so every pass must give the same chunks. Use batch or stepwise EM"
        )


def summed(model: Any, state: Incremental, records: Records) -> Incremental:
    """The state with `total` summed again, so that the rounding of what was added and subtracted does not gather."""
    total = np.zeros(records.size)
    for c in range(len(records)):
        total += records[c]
    return state._replace(total=model.recentre(tree.from_vector(state.total, total), state.origin, state.params))


class Place(NamedTuple):
    """Where `fit_incremental` stands between two passes: the records of the chunks go with the state, or both lack."""

    params: Any
    state: Incremental | None = None
    records: Any = None


def fit_incremental(
    model: Any,
    begin: Place,
    chunks: Iterable[Chunk],
    monitor: ConvergenceMonitor,
    repair: Callable[[Any, Any, int], tuple[Any, bool]] | None = None,
    keep: Callable[[Place], None] = lambda place: None,
    memory: int = MEMORY,
) -> Any:
    """Pass after pass until the monitor stops; it is told the free energy at the end of each.

    Parameters and return are those of `fit_em`; the chunks must be the same in every pass. A component is repaired at
    the end of a pass, and all chunks are then summed anew under the repaired parameters before the next M-step.
    """
    if isinstance(chunks, Iterator):
        raise ValueError(
            "the chunks can be read only once, and incremental EM reads them in every pass: give a list, or an object "
            "that iterates from the beginning each time, or use stepwise EM"
        )
    monitor.begin()
    while monitor.stop_reason is None:
        size = sum(np.size(leaf) for leaf in tree.leaves(model.expected_statistics(begin.params)))
        with Records(size, memory) as records:
            for record in () if begin.records is None else begin.records:
                records.append(record)
            begin = Place(_until_repaired(model, begin, chunks, monitor, repair, keep, records))
        if monitor.stop_reason is None:
            keep(begin)
    return begin.params


def _until_repaired(model, begin, chunks, monitor, repair, keep, records) -> Any:
    """Passes until the monitor stops or a component is repaired; M-steps in the very first pass only."""
    params, state = begin.params, begin.state
    while True:
        if state is None:
            passes = first_pass(model, params, chunks, records, eager=monitor.n_iter == 0)
        else:
            passes = next_pass(model, state, chunks, records, hold=repair is not None)
        before = params
        state = summed(model, deque(passes, maxlen=1).pop(), records)
        params = state.params
        eased = state.eased
        if not monitor.observe(free_energy(model, state), state.total.weight, params, lambda eased=eased: eased):
            return before
        if repair:
            after = model.m_step(state.total, params)
            if model.collapsed(after, state.total).any():
                repaired, moved = repair(after, state.total, monitor.n_iter)
                if moved:
                    monitor.forget_gains()
                return params if moved and monitor.stop_reason is not None else repaired
        keep(Place(params, state, records))
        if monitor.stop_reason is not None:
            return params


def _visit(model: Any, params: Any, chunk: Chunk) -> Any:
    """The chunk's statistics, with the entropy of its responsibilities in the place of the log-likelihood."""
    new = model.e_step(params, [chunk])
    check_finite(new, "a chunk")
    return new._replace(log_likelihood=new.log_likelihood - model.expected_log_prob(new, params))


def _maximised(model: Any, state: Incremental, hold: bool) -> Incremental:
    params, total = state.params, state.total
    after = model.m_step(total, params)
    if hold and model.collapsed(after, total).any():
        return state
    eased = state.eased + max(model.eased(params, after, total), 0.0)
    return state._replace(params=after, total=model.recentre(total, params, after), eased=eased)
