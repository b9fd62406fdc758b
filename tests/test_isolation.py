"""Decoding in other processes: the same pictures and errors, and a crash is one picture's, not the run's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, jpeg, picture
from fakes import FakeEngines

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.opencv import cv2
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.photo import Needed, at_once
from gradcam_cli.inputs.subprocess_decoder import Decoders, decoders
from gradcam_cli.requests import ExplainRequest
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.settings import InputSettings, Limits, RunSettings, SampleRange

LIMITS = Limits()
# A child whose decoder has one more format: the word says what becomes of the process.
ODD_CHILD = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from gradcam_cli.inputs import decoding, subprocess_decoder as isolation
true_decode = decoding.decode
def decode(data, limits, *more):
    if data.startswith(b"segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.startswith(b"exit"):
        os._exit(7)
    if data.startswith(b"lie"):
        os.write(4, b"\\0\\0\\0\\2[]" * 3)
    if data.startswith(b"endless"):
        time.sleep(100)
    if data.startswith(b"chatter"):
        print("to stdout"); os.write(1, b"from C")
        data = data[7:]
    if data.startswith(b"memory"):
        more[2](10**6)
        raise MemoryError
    return true_decode(data, limits, *more)
decoding.decode = decode
isolation.SECONDS = 1
isolation._serve()
"""


@pytest.fixture
def pool() -> Iterator[Decoders]:
    with decoders(2) as opened:
        yield opened


ODD_COMMAND = {"args": [sys.executable, "-c", ODD_CHILD], "stderr": subprocess.DEVNULL}


@pytest.fixture
def odd() -> Iterator[Decoders]:
    with decoders(1, ODD_COMMAND) as opened:
        yield opened


def test_a_decoder_that_dies_costs_that_image_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(7):
        (photos / f"{i}.jpg").write_bytes(jpeg(seed=i))
    (photos / "3.jpg").write_bytes(b"segfault")
    request = ExplainRequest(
        inputs=InputSettings((str(photos),)),
        output=tmp_path / "out",
        isolate_decoder=True,
        run=RunSettings(batch_size=4),
    )
    run = run_explain(request, engines=FakeEngines(), isolated=partial(decoders, command=ODD_COMMAND))
    assert run.counts["done"] == 6
    plain = replace(request, output=tmp_path / "plain", isolate_decoder=False)
    found = zip(run.records(), run_explain(plain, engines=FakeEngines()).records(), strict=True)
    for (record, same), number in zip(found, range(7), strict=True):
        if number == 3:
            assert (record["reason"], same["reason"]) == ("decoder_crashed", "not_an_image")
            assert "SIGSEGV" in record["message"]
        else:
            assert record == same


def outcome(function: Any, data: bytes, *more: Any) -> Any:
    try:
        photo = function(data, *more)
    except ImageError as error:
        return error.reason, str(error)
    rgba = None if photo.rgba is None else photo.rgba.tolist()
    return photo.pixels.tolist(), photo.header, photo.size, photo.reduction, rgba


def test_pictures_and_errors_are_the_same(pool: Decoders) -> None:
    rgba = np.dstack([picture(), picture(seed=1)[:, :, 0]])
    inputs = [
        jpeg(),
        jpeg()[:-50],
        b"hello",
        cv2.imencode(".png", picture())[1].tobytes(),
        cv2.imencode(".png", rgba)[1].tobytes(),
        jpeg(400, 300),
    ]
    for data in inputs:
        for more in [(LIMITS,), (Limits(max_pixels=1000),), (LIMITS, Needed(100, 10, 10))]:
            assert outcome(pool.decode, data, *more) == outcome(decode, data, *more)


def test_many_threads_get_their_own_pictures(pool: Decoders) -> None:
    inputs = [jpeg(20 + i, 10, seed=i) for i in range(40)]
    with ThreadPoolExecutor(8) as threads:
        photos = list(threads.map(lambda data: pool.decode(data, LIMITS), inputs))
    for photo, data in zip(photos, inputs, strict=True):
        assert np.array_equal(photo.pixels, decode(data, LIMITS).pixels)


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"segfault", "SIGSEGV"), (b"exit", "exit code 7"), (b"endless", "SIGALRM"), (b"lie", "crashed")],
)
def test_a_crash_is_one_pictures(odd: Decoders, data: bytes, told: str) -> None:
    for _ in range(2):
        assert odd.decode(jpeg(), LIMITS).size.width == 40
        with pytest.raises(ImageError, match=told) as caught:
            odd.decode(data, LIMITS)
        assert caught.value.reason is Reason.DECODER_CRASHED
    assert odd.decode(jpeg(), LIMITS).size.width == 40


def test_what_a_codec_prints_is_no_answer(odd: Decoders) -> None:
    assert np.array_equal(odd.decode(b"chatter" + jpeg(), LIMITS).pixels, decode(jpeg(), LIMITS).pixels)


def test_a_child_that_was_killed_while_idle_blames_nobody(pool: Decoders) -> None:
    pool.decode(jpeg(), LIMITS)
    for _ in range(2):
        child = pool._idle.get()
        if child:
            child._process.kill()
            child._process.wait()
        pool._idle.put(child)
    assert pool.decode(jpeg(), LIMITS).size.width == 40


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom gradcam_cli.inputs.subprocess_decoder import Decoders\n"
        "from gradcam_cli.settings import Limits\n"
        "pool = Decoders(1)\npool.decode(open(sys.argv[1], 'rb').read(), Limits())\n"
        "print(pool._idle.get()._process.pid, flush=True)\ntime.sleep(60)"
    )
    (tmp_path / "a.jpg").write_bytes(jpeg())
    command = [sys.executable, "-c", code, str(tmp_path / "a.jpg")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGINT)  # Ctrl-C reaches all processes of a terminal; it is the parent's affair
        time.sleep(0.2)
        os.kill(child, 0)
        parent.kill()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def test_a_child_is_light() -> None:
    code = "import gradcam_cli.inputs.subprocess_decoder, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "tensorflow", "h5py", "openvino", "click"} & set(done.stdout.split())


@pytest.mark.parametrize("kind", ["here", "there", "asking"])
def test_a_lack_of_memory_is_one_pictures(odd: Decoders, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Bytes that were not read of one picture would be taken for the next one's answer."""

    def lacking(*_: Any) -> Any:
        raise MemoryError

    for _ in range(2):
        with monkeypatch.context() as patched:
            if kind == "here":
                patched.setattr(np, "empty", lacking)
            admit = lacking if kind == "asking" else at_once
            with pytest.raises((MemoryError, ImageError)) as caught:
                odd.decode(b"memory" if kind == "there" else jpeg(), LIMITS, None, None, admit)
        assert kind != "there" or (isinstance(caught.value, ImageError) and caught.value.reason is Reason.OUT_OF_MEMORY)
        assert np.array_equal(odd.decode(jpeg(), LIMITS).pixels, decode(jpeg(), LIMITS).pixels)


def test_a_child_says_what_a_picture_costs(pool: Decoders) -> None:
    here: list[int] = []
    apart: list[int] = []
    decode(jpeg(400, 300), LIMITS, None, None, here.append)
    pool.decode(jpeg(400, 300), LIMITS, None, None, apart.append)
    assert here == apart
    assert here[0] >= 3 * 400 * 300


def test_a_range_is_the_same_apart(pool: Decoders) -> None:
    deep = cv2.imencode(".png", picture().astype(np.uint16) * 200)[1].tobytes()
    ranges: tuple[SampleRange, ...] = ((100.0, 30000.0), "minmax", "percentile")
    for asked in ranges:
        here, apart = decode(deep, LIMITS, None, asked), pool.decode(deep, LIMITS, None, asked)
        assert np.array_equal(here.pixels, apart.pixels)
        assert here.levels == apart.levels
        assert here.levels
