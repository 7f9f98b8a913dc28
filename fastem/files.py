"""Writing a file so that a reader sees the old one or the new one, whole, and never a half of either."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_path(path: str | os.PathLike) -> str:
    """Return the text of `path`; a number, which ``open`` would take for a file that is open, is none."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str):
        raise TypeError(f"{path!r} is a {type(path).__name__}; the name of a file is wanted, such as 'model.npz'")
    if not name:
        raise ValueError("the name of the file is empty; give one, such as 'model.npz'")
    return name


@contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield the name of an empty file beside `path`, which replaces `path` when the block ends well.

    The bytes reach the disk (fsync) before the name changes hands, so that even a power cut leaves one whole
    file. If the block raises, the temporary file is removed and `path` is as it was.

    Parameters
    ----------
    path : str or path-like
        The file to write. A symbolic link is followed: what it points to is replaced.

    Yields
    ------
    pathlib.Path
        The temporary file, in the folder of `path`: renaming is atomic only within one file system.

    Raises
    ------
    TypeError, ValueError
        If `path` is no path, or an empty one.
    OSError
        Where the folder is missing or cannot be written, or `path` is a folder or a device (renaming over
        ``/dev/null`` would replace it for the whole machine).
    """
    target = Path(os.path.realpath(check_path(path)))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {os.fspath(path)}: it is a folder; give the name of a file")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write {os.fspath(path)}: it is not a regular file; give the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {os.fspath(path)}: there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        # Not tempfile.mkstemp: that makes every file 0600, where the user's umask should decide.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise type(error)(f"cannot write {os.fspath(path)}: {error.strerror}") from error
    try:
        if target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise type(error)(error.errno, f"cannot write it: {error.strerror}", os.fspath(path)) from error
        raise
    with suppress(OSError):  # the file stands already; some file systems cannot sync a folder
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: str | os.PathLike) -> None:
    """Raise the OSError that writing `path` would raise, before hours are spent on what shall stand there."""

    class _Enough(Exception):
        pass

    with suppress(_Enough), written_beside(path):
        raise _Enough
