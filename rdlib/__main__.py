"""`python -m rdlib`: the command line of `rdlib.commands.main`; Ctrl-C ends in one sentence, also during imports."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from rdlib.commands.main import run

        run()
    except KeyboardInterrupt:
        print("interrupted: finished epochs and runs are kept; run the same command again", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
