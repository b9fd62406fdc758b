"""The package changes nothing of the process that imports it, and a run gives back what it borrowed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT, jpeg
from fakes import FakeEngines
from PIL import Image

from gradcam_cli import Explainer, RunObserver, explain_folder
from gradcam_cli.runs.native_threads import one_thread_each

# What an import could change of its host; every third-party package is imported before it is looked at first.
LOOK = """
import importlib, os, pkgutil, signal, sys, warnings
import cv2, h5py, keras, numpy, openvino, PIL.Image, ray, tensorflow, threading, locale
from threadpoolctl import threadpool_info

def look():
    stubs = sorted(name for name, module in sys.modules.items() if module is None)
    pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())
    return {
        "environment": dict(os.environ), "pillow": PIL.Image.MAX_IMAGE_PIXELS, "opencv": cv2.getNumThreads(),
        "stubs": stubs, "filters": len(warnings.filters), "signals": [signal.getsignal(n) for n in (2, 13, 15)],
        "format": keras.config.image_data_format(), "pools": pools, "threads": threading.active_count(),
        "errors": numpy.geterr(), "folder": os.getcwd(), "umask": os.umask(os.umask(0)), "path": list(sys.path),
        "excepthook": sys.excepthook, "stderr": sys.stderr, "locale": locale.setlocale(locale.LC_ALL),
    }

before = look()
import gradcam_cli
for module in pkgutil.walk_packages(gradcam_cli.__path__, "gradcam_cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = look()
print([name for name in before if before[name] != after[name]])
"""


def test_no_module_changes_its_host() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_first_import_of_keras_leaves_the_environment() -> None:
    code = (
        "import os\nos.environ['KERAS_BACKEND'] = 'jax'\n"
        "from gradcam_cli.models import keras_on_tensorflow\n"
        "with keras_on_tensorflow():\n    import keras\n"
        "print(keras.backend.backend(), os.environ['KERAS_BACKEND'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["tensorflow", "jax"]


def settings() -> tuple[Any, ...]:
    from threadpoolctl import threadpool_info

    pools = sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())
    return cv2.getNumThreads(), Image.MAX_IMAGE_PIXELS, pools


def test_a_run_gives_back_what_it_borrowed(tmp_path: Path) -> None:
    cv2.setNumThreads(2)
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(seed=i))
    before, during = settings(), []

    class Looking(RunObserver):
        def record(self, record: Any, *, before: bool) -> None:
            during.append(cv2.getNumThreads())

    explain_folder(tmp_path, tmp_path / "out", observer=Looking(), engines=FakeEngines())
    assert during == [1, 1, 1]
    assert settings() == before
    list(Explainer("fake.keras", engines=FakeEngines()).explain([jpeg(), b"bad"]))
    assert settings() == before
    with pytest.raises(KeyboardInterrupt), one_thread_each():
        raise KeyboardInterrupt
    assert settings() == before


def test_runs_beside_each_other_share_the_limits() -> None:
    cv2.setNumThreads(2)
    with one_thread_each():
        with one_thread_each():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == 2


def test_large_pictures_are_bounded_by_our_limit_alone() -> None:
    explainer = Explainer("fake.keras", engines=FakeEngines(), max_pixels=500)
    found = explainer.explain_one(np.zeros((30, 40, 3), np.uint8))
    assert found.error is not None
    assert found.error.reason == "too_many_pixels"


INTERRUPTED_LATER = """
import signal, threading
import numpy as np
from gradcam_cli.engines.compiled_network import CompiledNetwork
from gradcam_cli.engines.runtime import openvino

def network():
    x = openvino.opset15.parameter([1, 3], np.float32)
    return CompiledNetwork(openvino.Model([openvino.opset15.relu(x)], [x]))

kept = [network()]
thread = threading.Thread(target=kept.clear)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_handled_after_another_thread_released_the_last_network() -> None:
    """OpenVINO leaves the main thread without the stack of its signal handlers, where the last `Core` goes."""
    command = [sys.executable, "-c", INTERRUPTED_LATER]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
