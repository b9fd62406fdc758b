"""Environment variables that libraries read when they are imported."""

import os


def prepare_libraries() -> None:
    """Set the threads and the backend of libraries that are not imported yet."""
    # NumPy's products here are small, and the pipeline already has threads: the threads of a BLAS would only compete
    # with them (measured: a third fewer images per second). The variable is read when NumPy is imported.
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    # The first import of Keras fixes its backend; the trace needs graphs of TensorFlow.
    os.environ["KERAS_BACKEND"] = "tensorflow"
