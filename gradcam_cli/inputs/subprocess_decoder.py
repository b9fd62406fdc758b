"""Decode in separate processes, so that an image that crashes a native decoder fails only that image.

A child reads requests from stdin and answers on stdout: a length, JSON, and raw bytes. Its answers are never executed
(no pickle), because an image that crashes a decoder may also take control of it. A child ends when its parent has
ended, and when one image takes too long.
"""

import json
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from queue import SimpleQueue
from typing import IO, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import ImageError, Reason
from gradcam_cli.imaging.geometry import Size
from gradcam_cli.inputs.photo import Admit, Header, Needed, Photo, at_once
from gradcam_cli.settings import Limits, SampleRange
from gradcam_cli.subprogram import subprogram
from gradcam_cli.system import end_after, ending, ignore_terminal, open_nowhere

LENGTH: Final = struct.Struct(">I")
MOST_JSON: Final = 65_536
SECONDS: Final = 60
SECONDS_TO_END: Final = 2


class Decoders:
    """A pool of decoding processes. Each starts when it is first needed, and again after it has ended."""

    def __init__(self, count: int, command: Mapping[str, Any] | None = None) -> None:
        """Allow `count` processes at a time; further threads wait. For `command` see `decoders`."""
        self._command = subprogram(__name__) if command is None else command
        self._idle: SimpleQueue[_Child | None] = SimpleQueue()
        self._count = count
        for _ in range(count):
            self._idle.put(None)

    def decode(
        self,
        data: bytes,
        limits: Limits,
        needed: Needed | None = None,
        sample_range: SampleRange | None = None,
        admit: Admit = at_once,
    ) -> Photo:
        """Decode like `decoding.decode`.

        Raises:
            ImageError: an error of `decoding.decode`, or `decoder_crashed`.
            MemoryError: this process has not enough memory for the image.
        """
        child = self._idle.get()
        try:
            if child is None or not child.is_alive():
                child = _Child(self._command)
            return child.decode(_request(data, limits, needed, sample_range), data, limits, admit)
        except ImageError:
            raise
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            ended = child.close() if child else None
            child = None
            raise ImageError(Reason.DECODER_CRASHED, f"the decoder crashed on this image ({ended})") from error
        except BaseException:
            # Unread bytes and unanswered requests would be taken as those of the next image.
            if child:
                child.close()
            child = None
            raise
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """Wait for running decodings, and end the processes."""
        for _ in range(self._count):
            if child := self._idle.get():
                child.close()


@contextmanager
def decoders(count: int, command: Mapping[str, Any] | None = None) -> Iterator[Decoders]:
    """Open a pool of `count` processes for the duration of a block.

    `command` has the arguments of `subprocess.Popen` for one process; None starts this module.
    """
    pool = Decoders(count, command)
    try:
        yield pool
    finally:
        pool.close()


class _Child:
    def __init__(self, command: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, request: dict[str, Any], data: bytes, limits: Limits, admit: Admit) -> Photo:
        _send(self._requests, request, data)
        answer = _receive(self._answers)
        if "cost" in answer:
            admit(int(answer["cost"]))
            _send(self._requests, {})
            answer = _receive(self._answers)
        if "reason" in answer:
            raise ImageError(Reason(answer["reason"]), str(answer["message"]))
        return _photo(answer, self._answers, limits)

    def close(self) -> str:
        """End the process, and say how it ended."""
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return ending(code)


def _request(data: bytes, limits: Limits, needed: Needed | None, sample_range: SampleRange | None) -> dict[str, Any]:
    asked = asdict(needed) if needed else None
    return {"bytes": len(data), "limits": asdict(limits), "needed": asked, "range": sample_range}


def _photo(answer: dict[str, Any], stream: IO[bytes], limits: Limits) -> Photo:
    height, width = (int(side) for side in answer["pixels"])
    if not 0 < height * width <= limits.max_pixels:
        raise ValueError("an image of this size was not requested")
    header = Header(**{**answer["header"], "size": Size(**answer["header"]["size"])})
    pixels = _pixels(stream, (height, width, 3))
    rgba = _pixels(stream, (height, width, 4)) if answer["rgba"] else None
    low_high = answer["levels"]
    levels = (float(low_high[0]), float(low_high[1])) if low_high else None
    return Photo(pixels, header, Size(**answer["size"]), rgba, int(answer["reduction"]), levels)


def _pixels(stream: IO[bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    pixels = np.empty(shape, np.uint8)
    if stream.readinto(pixels.data.cast("B")) != pixels.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return pixels


def _send(stream: IO[bytes], message: dict[str, Any], *content: Any) -> None:
    text = json.dumps(message).encode("ascii")
    stream.write(LENGTH.pack(len(text)) + text)
    for part in content:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> dict[str, Any]:
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    if length > MOST_JSON:
        raise ValueError("no answer has this length")
    message = json.loads(_exactly(stream, length))
    if not isinstance(message, dict):
        raise TypeError("no answer")
    return message


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _serve() -> None:
    """Run the child process: decode until stdin ends."""
    ignore_terminal()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = open_nowhere()
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)  # text that codecs print is not an answer
    with suppress(EOFError, OSError):
        while True:
            request = _receive(requests)
            _answer(request, _exactly(requests, request["bytes"]), requests, answers)


def _answer(request: dict[str, Any], data: bytes, requests: IO[bytes], answers: IO[bytes]) -> None:
    # Imported here because the parent of these processes decodes nothing.
    from gradcam_cli.inputs.decoding import decode

    needed = Needed(**request["needed"]) if request["needed"] else None
    asked = request["range"]
    sample_range = (float(asked[0]), float(asked[1])) if isinstance(asked, list) else asked

    def admit(cost: int) -> None:
        """Ask the parent, which divides the memory. The waiting time does not count as decoding time."""
        _pause_limit()
        _send(answers, {"cost": cost})
        _receive(requests)
        _start_limit()

    try:
        _start_limit()
        photo = decode(data, Limits(**request["limits"]), needed, sample_range, admit)
    except ImageError as error:
        _send(answers, {"reason": error.reason, "message": str(error)})
        return
    except MemoryError:
        _send(answers, {"reason": Reason.OUT_OF_MEMORY, "message": "there is not enough memory to decode it"})
        return
    finally:
        _pause_limit()
    described = {
        "pixels": photo.pixels.shape[:2],
        "rgba": photo.rgba is not None,
        "header": asdict(photo.header),
        "size": asdict(photo.size),
        "reduction": photo.reduction,
        "levels": photo.levels,
    }
    _send(answers, described, photo.pixels.data, b"" if photo.rgba is None else photo.rgba.data)


def _start_limit() -> None:
    """End this process if a decoder takes too long, even if nothing waits for it."""
    end_after(SECONDS)


def _pause_limit() -> None:
    end_after(None)


if __name__ == "__main__":
    from gradcam_cli.imaging.opencv import quiet_single_thread

    with quiet_single_thread():
        _serve()
