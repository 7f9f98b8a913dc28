"""Ctrl-C as a question that the loop asks between iterations."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_came = threading.Event()


def remember() -> None:
    """Note from now on that Ctrl-C was pressed; it raises `KeyboardInterrupt` as before.

    Not all of these arrive: the import of a compiled module makes another error of one, a finaliser nothing at all.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remembering)


def came() -> bool:
    """Whether Ctrl-C was pressed since `remember`."""
    return _came.is_set()


def _remembering(number, frame):
    _came.set()
    signal.default_int_handler(number, frame)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C was pressed; a second Ctrl-C raises `KeyboardInterrupt` as usual.

    Only where Python's own handler is installed, or `remember`'s, and in the main thread; elsewhere nothing changes.
    """
    pressed, before = threading.Event(), signal.getsignal(signal.SIGINT)
    mine = threading.current_thread() is threading.main_thread() and before in (
        signal.default_int_handler,
        _remembering,
    )
    if mine and came():
        pressed.set()

    def handler(number, frame):
        if pressed.is_set():
            signal.default_int_handler(number, frame)
        pressed.set()

    if mine:
        signal.signal(signal.SIGINT, handler)
    try:
        yield pressed.is_set
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)
