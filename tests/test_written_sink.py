"""The records that were written and not reported yet, which a run that is interrupted still counts."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

from gradcam_cli.inputs.sources import Source
from gradcam_cli.results.output import Names
from gradcam_cli.runs.explain import NoFiles, WrittenSink


def test_images_are_written_while_others_are_reported() -> None:
    """Both happen in threads of their own; once in a million images they met."""
    written = WrittenSink(NoFiles())
    records = [{"input": {"path": f"{i}.jpg"}} for i in range(3_000)]

    def write() -> None:
        for record in records:
            place = record["input"]["path"]
            written.write_image(Names(Source(place, place), several=False), {}, record)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            for record in itertools.cycle(records):
                written.reported(record)
                if writing.done():
                    break
        writing.result()
    finally:
        sys.setswitchinterval(before)
    for record in records:
        written.reported(record)
    assert written.unreported() == []
