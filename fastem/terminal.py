"""What the command line shows while it works: one line an error, one a warning, and the progress of a fit."""

import functools
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fastem.engine.interrupt import came
from fastem.passes import Passes
from fastem.wording import count

if TYPE_CHECKING:
    from fastem.engine.monitor import Progress

P = ParamSpec("P")
INTERRUPTED = 130  # what shells give for a process that Ctrl-C ended: 128 + SIGINT
_SECONDS_LIVE, _SECONDS_PLAIN = 0.1, 3.0
# One for everything that goes there: lines of another console would run into the live line.
_STDOUT, _STDERR = Console(highlight=False), Console(stderr=True, highlight=False)


def say(text: str, *, label: str = "", style: str = "", err: bool = False) -> None:
    """Print one line, as it is: no wrapping, and no markup, because file names may have brackets in them."""
    line = re.sub(r"\s*\n\s*", " ", text).strip()
    console = _STDERR if err else _STDOUT
    console.print(Text.assemble((label, style), line), soft_wrap=True)


def plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Show an exception as one line on stderr, and exit with 1; its traceback only with --debug."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):  # typer ends them, the last silently
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) or came():
                say("interrupted; nothing was saved", label="error: ", style="bold red", err=True)
                raise typer.Exit(INTERRUPTED) from None
            if os.environ.get("FASTEM_DEBUG", "0") not in ("", "0"):
                traceback.print_exc()
            say(_one_line(error), label="error: ", style="bold red", err=True)
            raise typer.Exit(1) from None

    return run


def _one_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError | OSError) and str(error):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (fastem --debug shows where; please report it)"


@contextmanager
def warnings_as_lines(
    reworded: Callable[[str], str] = str, progress: "FitProgress | None" = None
) -> Iterator[list[str]]:
    """Show each warning once, as one line on stderr, below the progress so far; yields the list of those shown."""
    shown: list[str] = []

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        text = reworded(str(message))
        if text and text not in shown:
            shown.append(text)
            if progress:
                progress.flush()
            say(text, label="warning: ", style="yellow", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield shown


class FitProgress:
    """A callback for ``fit``: one live line in a terminal, and a plain line now and then elsewhere.

    Where rows are read in chunks, it follows each pass over them, those of ``predict`` and ``score`` too.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.passes, self._quiet = Passes(), quiet
        self._last: Progress | None = None
        self._latest: Progress | None = None
        self._shown_at, self._begun = -float("inf"), time.monotonic()
        in_terminal = not quiet and sys.stderr.isatty() and not _STDERR.is_dumb_terminal
        waiting = Text("starting (the first fit on a machine compiles for some seconds) ...")
        # No refreshing thread: it would take turns with the kernels' threads. The callback refreshes.
        self._live = Live(waiting, console=_STDERR, auto_refresh=False, transient=True) if in_terminal else None

    def __enter__(self) -> "FitProgress":
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None
        self.flush()

    def flush(self) -> None:
        """Print the last step if nothing shows it yet."""
        if self._last and not self._live:
            say(progress_line(self._last), err=True)
            self._last = None

    def __call__(self, progress: "Progress") -> None:
        """Show `progress` if the line before is old enough."""
        if self._quiet:
            return
        self._last = self._latest = progress
        if self._due(time.monotonic(), self._shown_at):
            if self._live:
                self._show(progress_line(progress))
            else:
                self.flush()

    def on_rows(self, done: int, n_rows: int | None) -> None:
        """Show how far the pass is if it is a long one."""
        now = self.passes.update(done, n_rows)
        if not self._quiet and not self.passes.ending and self._due(now, max(self._shown_at, self._begun)):
            self._show(self.passes.line(self._latest))

    def _due(self, now: float, before: float) -> bool:
        if now - before < (_SECONDS_LIVE if self._live else _SECONDS_PLAIN):
            return False
        self._shown_at = now
        return True

    def _show(self, line: str) -> None:
        if self._live:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            say(line, err=True)


def progress_line(progress: "Progress") -> str:
    """Iteration, mean log-likelihood, predicted remaining gain and speed: 80 columns, of which few move."""
    mean = progress.log_likelihood / progress.weight
    gain = f"{progress.remaining:7.1e}" if progress.remaining < float("inf") else "unknown"
    return (
        f"iteration {progress.n_iter:4d}  log-likelihood {mean:.6f} per row  "
        f"to gain {gain}  {count(progress.rows_per_second)} rows/s"
    )
