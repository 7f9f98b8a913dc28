"""Ctrl-C as a question that the loop asks between iterations."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C was pressed; a second Ctrl-C raises `KeyboardInterrupt` as usual.

    Only where Python's own handler is installed, and in the main thread; elsewhere nothing changes.
    """
    pressed = threading.Event()
    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )

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
            signal.signal(signal.SIGINT, signal.default_int_handler)
