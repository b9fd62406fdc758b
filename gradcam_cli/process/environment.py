"""Environment variables that libraries read when they are imported."""

import os


def prepare_libraries() -> None:
    """Choose threads and backend of libraries that no command has imported yet."""
    # NumPy's products here are small, and the pipeline has threads enough: those of a BLAS would only spin beside
    # them (measured: a third of all images a second). It reads this when NumPy is imported.
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    # The first import of Keras decides; the trace is made of TensorFlow's graphs.
    os.environ["KERAS_BACKEND"] = "tensorflow"
