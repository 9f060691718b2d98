"""`python -m rdlib`: the command line of `rdlib.commands.main`; Ctrl-C or a queue's SIGTERM end in one sentence, also
during imports."""

import os
import signal
import sys

INTERRUPTED = 130


heard: list[int] = []  # signals; numpy's import can swallow their exception and then fail with another


def interrupt(number: int, _: object) -> None:
    """Take SIGTERM for a Ctrl-C. Once: `timeout` sends two, and the second would cut the orderly end short.

    Processes that read photographs, ended by the same SIGTERM, must not be reported as an error either.
    """
    heard.append(number)
    for one in (signal.SIGTERM, signal.SIGCHLD) if number == signal.SIGTERM else ():
        signal.signal(one, lambda *_: None)
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    try:
        # Under torchrun a process may wait in C for one that has gone, so there it ends at once.
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.signal(signal.SIGTERM, interrupt)
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell starts a script's `command &`
                signal.signal(signal.SIGINT, interrupt)
        from rdlib.commands.main import run

        run()
    except (KeyboardInterrupt, Exception) as error:
        if not heard and not isinstance(error, KeyboardInterrupt):
            raise
        # Once a second Ctrl-C can no longer break the orderly end, and Python ends with this code, not by the signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        print("interrupted: finished epochs and runs are kept; run the same command again", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
