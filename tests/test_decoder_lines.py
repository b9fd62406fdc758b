"""What native decoders print is silenced, or shown with the picture's name."""

import os
import threading
import time
from pathlib import Path

import pytest
from conftest import jpeg
from fakes import job

from gradcam_cli.cli.console import say
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.decoding import decode
from gradcam_cli.inputs.sources import Source
from gradcam_cli.process.decoder_lines import MOST_LINES, DecoderLines
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.runs.job import Fitted
from gradcam_cli.runs.memory_budget import MemoryBudget
from gradcam_cli.runs.preparing import prepare
from gradcam_cli.settings import Limits

WHOLE = jpeg()
# libjpeg prints lines about bytes that belong to nothing, and decodes the picture.
PLACE = len(WHOLE) * 3 // 4
ODD = WHOLE[:PLACE] + bytes(range(60, 90)) + WHOLE[PLACE + 30 :]
PRINTED = "Corrupt JPEG data"


def test_libjpeg_prints_here(capfd: pytest.CaptureFixture[str]) -> None:
    """The picture of the other tests makes a decoder print."""
    decode(ODD, Limits())
    assert PRINTED in capfd.readouterr().err


def test_with_verbose_each_line_has_the_name(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(ODD if i % 2 else jpeg())
    with quiet_libraries(verbose=True):
        listening = DecoderLines(say)
        the_job = job()
        object.__setattr__(the_job, "listen", listening.listen)

        def some(numbers: range) -> None:
            for i in numbers:
                source = Source(f"{i}.jpg", str(tmp_path / f"{i}.jpg"))
                assert isinstance(prepare(source, the_job, Size(8, 8)), Fitted)

        threads = [threading.Thread(target=some, args=(range(start, 8, 2),)) for start in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.write(2, b"of another library\n")
    lines = capfd.readouterr().err.splitlines()
    printed = [line.partition(": while it was decoded: ") for line in lines[:-1]]
    assert {name for name, _, _ in printed} == {f"'{i}.jpg'" for i in (1, 3, 5, 7)}
    assert all(line.startswith(PRINTED) for _, _, line in printed)
    assert lines[-1] == "of another library"


def test_without_verbose_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries(verbose=False):
        decode(ODD, Limits())
    assert capfd.readouterr().err == ""


def test_many_lines_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    with DecoderLines(say).listen("a\x1b[2J.tif", lambda _: None) as admit:
        admit(1)
        os.write(2, b"TIFFFillStrip: \x1b[31mread error\n" * 100)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == MOST_LINES + 1
    assert lines[0] == r"'a\x1b[2J.tif': while it was decoded: TIFFFillStrip: \x1b[31mread error"
    assert lines[-1].endswith(f"{100 - MOST_LINES} more lines")


def test_who_waits_for_memory_keeps_nobody_from_decoding() -> None:
    """Memory is waited for without the lock, also when a picture asks for more while it is decoded."""
    budget, listening = MemoryBudget(at_work=10), DecoderLines(say)
    holds, asked_again = threading.Event(), threading.Event()

    def first() -> None:
        with budget.lease() as lease, listening.listen("first", lease.take) as admit:
            admit(5)
            holds.wait(10)
            asked_again.set()
            admit(10)

    def second() -> None:
        with budget.lease() as lease:
            lease.take(5)
            holds.set()
            asked_again.wait(10)
            time.sleep(0.05)
            with listening.listen("second", lease.take) as admit:
                admit(5)

    threads = [threading.Thread(target=each, daemon=True) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
