"""The command ``fastem``, and ``python -m fastem``; Ctrl-C ends it in one line from the first import on."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from fastem.engine.interrupt import remember

        remember()
        from fastem.cli import main as run

        run()
    except KeyboardInterrupt:
        print("error: interrupted; nothing was saved", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
