"""A mutational fuzzer: a child process runs the target, so that a crash, a hang or a flood of memory is seen and kept.

A target takes bytes and gives a word for what became of them; an exception that leaves it is a finding. So are death by
a signal, ten seconds without an answer, and MemoryError under the child's limit on address space.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path

Target = Callable[[bytes], str]
Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

SECONDS_TO_HANG = 10.0
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def flip(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Change single bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def edge(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Put a number at the edge of its type over a field, most often in the header."""
    width = rng.choice((1, 2, 4, 8))
    value = (rng.choice(EDGES) % (1 << 8 * width)).to_bytes(width, "big")
    at = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
    return data[:at] + rng.choice((value, value[::-1])) + data[at + width :]


def cut(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Leave the end away."""
    return data[: rng.randrange(len(data))]


def drop(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Leave a piece out of the middle."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 256)) :]


def repeat(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Put a piece in again, some times over."""
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice((1, 4, 12, 64, 1024))]
    return data[:at] + piece * rng.choice((2, 3, 100)) + data[at + len(piece) :]


def splice(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Begin as one file and go on as another."""
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def noise(rng: random.Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Overwrite a piece with random bytes."""
    length = rng.choice((1, 3, 8, 64))
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(length) + data[at + length :]


MUTATIONS: tuple[Mutation, ...] = (flip, flip, edge, edge, cut, drop, repeat, splice, noise)


def mutated(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Mutate once to four times; never empty."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(MUTATIONS)(rng, data, seeds) or b"\0"
    return data


class Child:
    """The process that runs the target; started anew whenever it died."""

    def __init__(self, target: Target, memory: int) -> None:
        """Start it; `memory` is what it may add to its address space, in bytes."""
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_serve, args=(other, target, memory), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def run(self, data: bytes) -> str:
        """Give the target's word, or `CRASH signal`, `HANG`, `ERROR ...` for a finding."""
        began = self._seconds()
        try:
            self.pipe.send_bytes(data)
            while not self.pipe.poll(SECONDS_TO_HANG):
                # On a busy machine others may have had the time.
                if self._seconds() - began > SECONDS_TO_HANG / 2:
                    self.process.kill()
                    self.process.join()
                    return "HANG"
            return str(self.pipe.recv())
        except (EOFError, OSError):
            self.process.join()
            return f"CRASH {self.process.exitcode}"

    def _seconds(self) -> float:
        """Processor time the child has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(pipe: Connection, target: Target, memory: int) -> None:
    target(b"\0" * 16)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    pipe.send("ready")
    while True:
        data = pipe.recv_bytes()
        try:
            answer = target(data)
        except BaseException as error:  # noqa: BLE001 - whatever leaves the target is a finding
            answer = f"ERROR {type(error).__name__}: {str(error)[:100]}"
        pipe.send(answer)


def fuzz(
    target: Target,
    seeds: Mapping[str, bytes],
    change: Callable[[random.Random, bytes, Sequence[bytes]], bytes],
    *,
    memory: int,
    description: str | None,
) -> None:
    """Run until the time is over, print counts, keep the inputs of findings; exits 1 if there were any."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"), help="folder for inputs of findings")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
    outcomes: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    child, started, slowest = Child(target, memory), time.monotonic(), 0.0
    for name, data in seeds.items():
        print(f"{name}: {child.run(data)}")
    while time.monotonic() - started < options.minutes * 60:
        name = rng.choice(list(seeds))
        data = change(rng, seeds[name], list(seeds.values()))
        began = time.monotonic()
        answer = child.run(data)
        slowest = max(slowest, time.monotonic() - began)
        outcomes[answer.split(":")[0] if answer.startswith("ERROR") else answer] += 1
        if answer.startswith(("CRASH", "HANG", "ERROR")):
            findings[answer] += 1
            if findings[answer] <= 3:
                options.keep.mkdir(exist_ok=True)
                path = options.keep / f"{name}-{sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"FOUND {answer}: {path}", flush=True)
        if not child.process.is_alive():
            child = Child(target, memory)
    print(f"{sum(outcomes.values()):,} inputs in {options.minutes} minutes, slowest {slowest:.1f} s")
    for answer, number in outcomes.most_common():
        print(f"{number:10,}  {answer}")
    sys.exit(1 if findings else 0)
