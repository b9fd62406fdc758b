"""The program's entry: `gradcam-cli`, and `python -m gradcam_cli`."""

import os


def main() -> None:
    """Run the program; Ctrl-C ends it with one line and no traceback, also during imports."""
    try:
        from gradcam_cli.process.garbage import collect_rarely

        collect_rarely()
        from gradcam_cli.cli import main as run

        run()
    except KeyboardInterrupt:
        os.write(2, b"Interrupted.\n")
        os._exit(130)


if __name__ == "__main__":
    main()
