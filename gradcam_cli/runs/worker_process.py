"""A worker as a program: takes pickles from stdin, and answers on stdout.

The first pickle is the `EngineFactory` of the run; each further one is a group of images.
"""

import os
import pickle
from contextlib import suppress
from typing import IO, Any

from gradcam_cli.runs.worker import Worker, reported
from gradcam_cli.system import ignore_terminal, open_nowhere


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    def answer(message: Any) -> None:
        pickle.dump(message, answers)
        answers.flush()

    try:
        worker = Worker(pickle.load(requests))  # noqa: S301 - the run that started this process wrote it
        answer(worker.opened)
        while True:
            for made in worker.explain(pickle.load(requests)):  # noqa: S301 - as above
                answer(made)
            answer(None)
    except (EOFError, OSError):
        # The run has ended.
        raise
    except Exception as error:  # noqa: BLE001 - the run reports it
        answer(reported(error))


def main() -> None:
    """Run as a worker until stdin ends."""
    ignore_terminal()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = open_nowhere()
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)  # what libraries print is no answer
    with suppress(EOFError, OSError):
        _serve(requests, answers)
    os._exit(0)  # without the half second in which TensorFlow's memory is released


if __name__ == "__main__":
    main()
