"""Groups of images for workers: order, bounds, and the image that ends workers, without any process."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from gradcam_cli.inputs.sources import Source
from gradcam_cli.runs.task_line import Task, TaskLine


def named(count: int) -> list[Source]:
    return [Source(f"{i:03}", f"/{i:03}") for i in range(count)]


def explain(line: TaskLine, task: Task, deadly: Sequence[str], log: list[str]) -> None:
    """Be a worker: record images in order, and end at a deadly one."""
    for source in task.sources:
        if source.relative in deadly:
            log.append(source.relative)
            alone = line.crashed(task)
            if alone:
                line.add(alone, {"place": alone.sources[0].relative, "status": "error"})
                line.finish(alone)
            return
        line.add(task, {"place": source.relative, "status": "ok"})
    line.finish(task)


def served(count: int, size: int, ahead: int, deadly: Sequence[str] = (), threads: int = 3) -> tuple[list[Any], Any]:
    line = TaskLine(named(count), size, ahead)
    log: list[str] = []

    def serve() -> None:
        line.join()
        while (task := line.take()) is not None:
            explain(line, task, deadly, log)

    pool = [threading.Thread(target=serve) for _ in range(threads)]
    for thread in pool:
        thread.start()
    records = list(line.records())
    for thread in pool:
        thread.join(5)
        assert not thread.is_alive()
    return records, log


@pytest.mark.parametrize(("count", "size", "ahead"), [(1, 1, 1), (17, 4, 2), (16, 4, 9), (5, 64, 8), (0, 4, 2)])
def test_every_image_has_one_record_in_order(count: int, size: int, ahead: int) -> None:
    records, _ = served(count, size, ahead)
    assert [record["place"] for record in records] == [f"{i:03}" for i in range(count)]


@pytest.mark.parametrize("deadly", [["000"], ["019"], ["007"], ["004", "005"], ["000", "001", "002"]])
@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_images_that_end_workers_are_found_and_the_others_explained(deadly: list[str], size: int) -> None:
    records, log = served(20, size, 3, deadly)
    assert [record["place"] for record in records] == [f"{i:03}" for i in range(20)]
    assert [record["place"] for record in records if record["status"] == "error"] == deadly
    # Each of them has ended two workers alone at the least, and all of them no more than halving takes.
    assert all(log.count(place) >= 2 for place in deadly)
    assert len(log) <= 3 + len(deadly) * (2 + size.bit_length())


def test_a_worker_that_ends_twice_by_chance_fails_no_image() -> None:
    line = TaskLine(named(1), 1, 1)
    line.join()
    for _ in range(2):
        task = line.take()
        assert task is not None
        assert line.crashed(task) is None
    task = line.take()
    assert task is not None
    explain(line, task, (), [])
    assert list(line.records()) == [{"place": "000", "status": "ok"}]


def test_images_with_a_record_are_not_given_to_another_worker() -> None:
    line = TaskLine(named(4), 4, 1)
    line.join()
    first = line.take()
    assert first is not None
    line.add(first, {"place": "000"})
    line.crashed(first)
    again = line.take()
    assert again is not None
    assert [source.relative for source in again.sources] == ["001", "002", "003"]


def test_no_more_groups_are_begun_than_may_wait() -> None:
    line = TaskLine(named(6), 2, 2)
    line.join()
    first, second = line.take(), line.take()
    assert first is not None
    assert second is not None
    explain(line, second, (), [])
    taken: list[Task | None] = []
    waiting = threading.Thread(target=lambda: taken.append(line.take()))
    waiting.start()
    waiting.join(0.05)
    # The first group is not reported, so the second one, which is explained, is kept.
    assert waiting.is_alive()
    explain(line, first, (), [])
    records = line.records()
    assert [next(records)["place"] for _ in range(2)] == ["000", "001"]
    waiting.join(5)
    assert [source.relative for source in taken[0].sources] == ["004", "005"]  # type: ignore[union-attr]
    records.close()


def test_nothing_begins_before_the_least_number_of_workers_is_ready() -> None:
    line = TaskLine(named(1), 1, 1, servers=2)
    line.join()
    taken: list[Task | None] = []
    waiting = threading.Thread(target=lambda: taken.append(line.take()))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    line.join()
    waiting.join(5)
    assert len(taken) == 1


def test_an_error_ends_the_run_and_a_closed_line_hands_out_nothing() -> None:
    line = TaskLine(named(3), 1, 3)
    line.join()
    line.stop(OSError("full"))
    with pytest.raises(OSError, match="full"):
        next(line.records())
    line.close()
    assert line.take() is None
