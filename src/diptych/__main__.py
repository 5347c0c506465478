"""``diptych`` and ``python -m diptych``: answers a Ctrl-C from the first moment on."""

import os
import sys


def main() -> None:
    """Load the commands, which takes a moment, and run one."""
    try:
        from diptych.cli.main import main as run
    except KeyboardInterrupt:
        print("diptych: interrupted", file=sys.stderr)
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
