"""What a fit shows while it runs, in a terminal and elsewhere, and how Ctrl-C ends it."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastem
from fastem.terminal import FitProgress, count, warnings_as_lines

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fastem.__file__).parents[1])}
FASTEM = [sys.executable, "-m", "fastem"]


@pytest.fixture
def endless(tmp_path):
    """Arguments of a fit that does not end by itself: one cloud, many components, no tolerance."""
    np.save(tmp_path / "cloud.npy", np.random.default_rng(1).normal(size=(100_000, 2)))
    return ["fit", tmp_path / "cloud.npy", "-k", "12", "--tol", "0", "--seed", "0", "--max-iter", "10000000"]


def default_interrupt():
    """Undo the ignoring of Ctrl-C that a shell hands down to what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(arguments, **options):
    """Yield the running command, which does not outlive the test."""
    command = [*FASTEM, *map(str, arguments)]
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": ENVIRONMENT,
        **options,
    }
    with subprocess.Popen(command, preexec_fn=default_interrupt, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_saves_the_model(endless, tmp_path):
    out, report = tmp_path / "m.npz", tmp_path / "r.json"
    with started([*endless, "--out", out, "--report", report]) as process:
        line = process.stderr.readline()
        while line and not line.startswith("iteration"):
            line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.search(r"^interrupted after \d+ iterations? .*; model saved as .*m\.npz$", err, re.M), err
    assert "Traceback" not in err
    model = fastem.load(out)
    assert model.stop_reason_ == "interrupted" and not model.converged_ and model.n_iter_ >= 1
    assert json.loads(report.read_text())["result"]["stop_reason"] == "interrupted"


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_the_live_line_of_a_terminal(endless, tmp_path):
    """In a terminal one line is rewritten in place, and the last stays."""
    import pty

    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120"}
    arguments = [*endless, "--out", tmp_path / "m.npz", "--max-iter", 400]
    with started(arguments, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = "".join(chunks(ours, seconds=300))
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert "starting" in text and "\x1b[" in text
    shown = re.findall(r"iteration +(\d+)", text)
    assert len(shown) > 3 and int(shown[-1]) > int(shown[0])
    assert text.count("\n") < len(shown), "each refresh began a new line"


def chunks(terminal, seconds):
    """Yield what is written to a pseudo-terminal until its other end is closed."""
    deadline = time.monotonic() + seconds
    while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # what Linux says for the end
            chunk = b""
        if not chunk:
            break
        yield chunk.decode(errors="replace")
    os.close(terminal)


def test_plain_lines_are_few(capfd):
    with FitProgress() as progress:
        for n_iter in range(1, 50):
            progress(Step(n_iter))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "iteration    1  log-likelihood -2.000000 per row  to gain unknown  1.23 M rows/s"
    assert len(lines[0]) <= 80
    assert lines[1].startswith("iteration   49 ")


def test_a_warning_stands_below_the_progress_before_it(capfd):
    with FitProgress() as progress, warnings_as_lines(str.upper, progress) as shown:
        for n_iter in (1, 2):
            progress(Step(n_iter))
        for _ in range(2):
            warnings.warn("careful", UserWarning, stacklevel=1)
        progress(Step(3))
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("  log")[0] for line in lines] == [
        "iteration    1",
        "iteration    2",
        "warning: CAREFUL",
        "iteration    3",
    ]
    assert shown == ["CAREFUL"]


class Step:
    """What a fit tells after an iteration."""

    log_likelihood, weight, remaining, rows_per_second = -20.0, 10.0, float("inf"), 1.234e6

    def __init__(self, n_iter):
        self.n_iter = n_iter


def test_numbers_for_people():
    assert [count(x) for x in (0.5, 999, 1234, 5.678e7, 2e10)] == ["0.5", "999", "1.23 k", "56.8 M", "20 G"]
