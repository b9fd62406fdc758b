"""--ray on a real cluster of two nodes on this machine: the results of one process, also where a node is killed."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deadly_engine import DeadlyEngines, RefusingEngines, SlowEngines
from fakes import FakeEngines
from listening import Listening, files, pictures_and_one_bad, white

from gradcam_cli.errors import ModelError
from gradcam_cli.options import explain_request
from gradcam_cli.results.sidecar import Record
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.runs.ray_pool import RayPool

ray: Any = pytest.importorskip("ray", reason="the extra `ray` is not installed")

pytestmark = [
    pytest.mark.ray,
    # Ray opens log files and sockets of its processes and leaves them to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Ray announces a change of its defaults for GPUs.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
]
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a head without CPUs and two nodes with one each."""
    from ray.cluster_utils import Cluster

    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.nodes = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return pictures_and_one_bad(tmp_path / "in", 24)


def explained(pictures: Path, out: Path, engines: FakeEngines, observer: Listening, **options: Any) -> dict[str, bytes]:
    run_explain(explain_request([pictures], out, {"batch_size": 1, **options}), observer, engines=engines)
    return files(out)


def test_actors_write_what_one_process_writes(cluster: Any, pictures: Path, tmp_path: Path) -> None:
    plain, actors = Listening(), Listening()
    expected = explained(pictures, tmp_path / "plain", FakeEngines(), plain)
    assert explained(pictures, tmp_path / "out", FakeEngines(), actors, ray=cluster.address, ray_min=2) == expected
    assert actors.records == plain.records


def test_a_refused_model_is_refused_by_an_actor(cluster: Any, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model is refused"):
        explained(pictures, tmp_path / "out", RefusingEngines(), Listening(), ray=cluster.address)


def test_a_picture_that_ends_its_actor_is_found(cluster: Any, pictures: Path, tmp_path: Path) -> None:
    for path in sorted(pictures.glob("*.jpg"))[4:]:
        path.unlink()
    white(pictures / "001.jpg")
    observer = Listening()
    explained(pictures, tmp_path / "out", DeadlyEngines(), observer, ray=cluster.address)
    assert [(record["input"]["path"], record["reason"]) for record in observer.records] == [
        ("000.jpg", None),
        ("001.jpg", "crashed"),
        ("002.jpg", None),
        ("003.jpg", None),
    ]


@dataclass
class Killing(Listening):
    """Kills a node after some records, while others are explained."""

    kill: Any = None
    killed: list[threading.Thread] = field(default_factory=list)

    def record(self, record: Record, *, before: bool) -> None:
        super().record(record, before=before)
        if len(self.records) == 5:
            self.kill()


def test_a_killed_node_costs_no_image(
    cluster: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: the cluster has one node less afterwards."""
    opened: list[RayPool] = []
    opens = RayPool.open

    def counted(pool: RayPool) -> Any:
        opened.append(pool)
        return opens(pool)

    monkeypatch.setattr(RayPool, "open", counted)
    expected = explained(pictures, tmp_path / "plain", FakeEngines(), Listening())
    observer = Killing(kill=lambda: cluster.remove_node(cluster.nodes[1], allow_graceful=False))
    found = explained(pictures, tmp_path / "out", SlowEngines(), observer, ray=cluster.address, workers=2, ray_min=2)
    places = [record["input"]["path"] for record in observer.records]
    assert len(places) == len(set(places)) == 25
    assert {record["reason"] for record in observer.records} == {None, "not_an_image"}
    assert found == expected
    assert json.loads(found["run.json"])["counts"]["failed"] == 1
    # One of the two actors went down with its node, and others were asked for.
    assert len(opened) > 2
