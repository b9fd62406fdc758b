"""Real requests to a server of S3 on this machine, with a proxy before it that throttles, fails and is late."""

import io
import json
import logging
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from conftest import Invoke, jpeg
from fakes import FakeEngines
from stores import Asked, Proxy, proxy_before, s3_server

from gradcam_cli.cli import program
from gradcam_cli.errors import UsageError
from gradcam_cli.options import explain_request
from gradcam_cli.results.stored_lock import FOLDER
from gradcam_cli.runs.explain import run_explain
from gradcam_cli.storage import Stat, Store, Stores

pytest.importorskip("s3fs", reason="the extra gradcam-cli[remote] is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

# A server, real requests, and faults that are injected into them take about a minute.
pytestmark = pytest.mark.slow

SECRET = "secret-that-nobody-must-see"  # noqa: S105 - it is looked for, and opens nothing
BUCKETS = count()
TESTS = Path(__file__).parent


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Proxy, Store]]:
    """A server, a proxy before it, and a client: to start them for each test takes seconds."""
    with s3_server() as port, proxy_before(port) as before, pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": before.url}.items():
            patch.setenv(name, value)
        patch.setattr("gradcam_cli.storage.Backoff.__init__.__defaults__", (5, 0.001, 0.01))
        yield before, Stores().of("s3://any")


@pytest.fixture
def proxy(started: tuple[Proxy, Store]) -> Proxy:
    started[0].reset()
    return started[0]


@pytest.fixture
def store(started: tuple[Proxy, Store]) -> Store:
    return started[1]


@pytest.fixture
def bucket(proxy: Proxy, store: Store) -> str:
    # All names have one length, so that a run is moved to another bucket by writing the other name into it.
    url = f"s3://bucket-{next(BUCKETS):03}"
    store.files.call_s3("create_bucket", Bucket=url.removeprefix("s3://"))
    return url


@pytest.fixture
def inside(bucket: str, photos: Path, proxy: Proxy, store: Store) -> str:
    for path in sorted(photos.rglob("*.jpg")):
        store.put(f"{bucket}/in/{path.relative_to(photos).as_posix()}", path.read_bytes())
    proxy.asked.clear()
    return f"{bucket}/in"


@pytest.fixture
def contents(store: Store) -> Callable[[str], dict[str, bytes]]:
    """Gives every object below a prefix but run.json, whose rate differs from run to run."""

    def read(url: str) -> dict[str, bytes]:
        return {name: stored.read() for name, stored in store.list(url) if name != "run.json"}

    return read


Contents = Callable[[str], dict[str, bytes]]


def test_the_calls_of_a_store(bucket: str, store: Store) -> None:
    store.put(f"{bucket}/a b/é?#+.jpg", b"0123456789")
    ((name, stored),) = store.list(bucket)
    assert name == "a b/é?#+.jpg"
    assert stored.read() == b"0123456789"
    assert store.read(stored.url, 2, 5) == b"234"
    assert stored.listed == store.stat(stored.url)
    # The ETag of an object that was put at once is the MD5 of its bytes.
    assert stored.listed == Stat(10, "781e5e245d69b566979b86e28d23f2c7")
    assert not store.put_if_absent(stored.url, b"other")
    assert store.put_if_absent(f"{bucket}/new", b"new")
    store.remove(f"{bucket}/new")
    store.remove(f"{bucket}/new")
    assert not store.has(f"{bucket}/new")
    assert not store.has(f"{bucket}/a b")


def test_a_listing_is_asked_for_page_by_page(bucket: str, proxy: Proxy, store: Store) -> None:
    """Of 1,003 objects, the first thousand are given before the second page is asked for."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    for i in range(1003):
        # The server runs in this process: without requests it is quicker.
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket.removeprefix("s3://"), f"in/{i:04}.jpg", b"x")
    proxy.asked.clear()
    names = store.list(f"{bucket}/in")
    first = [next(names)[0] for _ in range(1000)]
    assert len(proxy.asked) == 1
    assert [*first, *(name for name, _ in names)] == [f"{i:04}.jpg" for i in range(1003)]
    assert len(proxy.asked) == 2


def test_objects_are_explained_as_files_are(
    inside: str, bucket: str, contents: Contents, invoke: Invoke, tmp_path: Path
) -> None:
    invoke("explain", "photos", "-o", "out")
    invoke("explain", inside, "-o", f"{bucket}/out")
    there = contents(f"{bucket}/out")
    for name, data in there.items():
        here = (tmp_path / "out" / name).read_bytes()
        if name.endswith(".json"):
            one, other = json.loads(here), json.loads(data)
            assert isinstance(one["input"].pop("mtime_ns"), int)
            assert other["input"].pop("mtime_ns") is None
            assert len(other["input"].pop("etag")) == 32
            assert one == other
        else:
            assert here == data
    assert len(there) == 6
    assert "all were done before" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    # Also where the input was copied meanwhile, and where the output was.
    assert "all were done before" in invoke("explain", "photos", "-o", f"{bucket}/out").stderr
    assert "all were done before" in invoke("explain", inside, "-o", "out").stderr


def test_the_requests_of_a_run(inside: str, bucket: str, invoke: Invoke, proxy: Proxy) -> None:
    """Each object is got once, and each output put once: no request more for each image."""
    invoke("explain", inside, "-o", f"{bucket}/out")
    paths = [(each.method, unquote(each.path.split("?")[0])) for each in proxy.asked if FOLDER not in each.path]
    root = bucket.removeprefix("s3:/")
    assert sorted(path for method, path in paths if method == "GET" and path.endswith(".jpg")) == [
        *(f"{root}/in/a.jpg", f"{root}/in/b.jpg", f"{root}/in/sub/a.jpg")
    ]
    assert len([path for method, path in paths if method == "PUT"]) == 3 * 2 + 1
    # Is the INPUT one object?
    assert [path for method, path in paths if method == "HEAD"] == [f"{root}/in"]
    conditions = [each for each in proxy.asked if each.headers.get("if-none-match") == "*"]
    assert all(FOLDER in each.path for each in conditions)
    assert conditions


def failing_four_times(proxy: Proxy) -> dict[tuple[str, str], int]:
    """Let each request fail four times, each time in another way; count how often each has failed."""
    answers = [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (0, ""), None]
    seen: dict[tuple[str, str], int] = {}

    def fault(asked: Asked) -> tuple[int, str] | None:
        key = (asked.method, asked.path)
        seen[key] = seen.get(key, -1) + 1
        return answers[seen[key] % len(answers)]

    proxy.fault = fault
    return seen


def test_a_store_that_fails_for_a_while(
    inside: str, bucket: str, contents: Contents, invoke: Invoke, proxy: Proxy
) -> None:
    """Every request fails four times, each time in another way: the run is the one that nothing disturbs."""
    invoke("explain", inside, "-o", f"{bucket}/calm")
    seen = failing_four_times(proxy)
    invoke("explain", inside, "-o", f"{bucket}/out")
    proxy.reset()
    assert min(seen.values()) >= 4
    assert contents(f"{bucket}/out") == contents(f"{bucket}/calm")


def test_a_store_that_does_not_answer_in_time(
    inside: str, bucket: str, invoke: Invoke, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        __import__("gradcam_cli.storage").storage._OPTIONS["s3"], "config_kwargs", {"read_timeout": 0.3}
    )
    late: list[Asked] = []

    def once(asked: Asked) -> None:
        if asked.path.endswith("b.jpg") and not late:
            late.append(asked)
            time.sleep(1)

    proxy.fault = once
    assert "3 images: 3 ok" in invoke("explain", inside, "-o", f"{bucket}/out").stderr
    assert late


def failing(proxy: Proxy, method: str, part: str, status: int = 503, code: str = "SlowDown") -> None:
    def fault(asked: Asked) -> tuple[int, str] | None:
        return (status, code) if asked.method == method and part in asked.path else None

    proxy.fault = fault


def test_what_the_store_never_gives_is_a_failed_image(inside: str, bucket: str, invoke: Invoke, proxy: Proxy) -> None:
    failing(proxy, "GET", "/in/b.jpg")
    result = invoke("explain", inside, "-o", f"{bucket}/out", "--jsonl", "-", code=1)
    record = json.loads(result.stdout.splitlines()[1])
    assert (record["status"], record["reason"]) == ("error", "unreadable")
    assert record["message"] == f"{inside}/b.jpg: the store failed 5 times (SlowDown)."
    failing(proxy, "GET", "/in/b.jpg", 403, "AccessDenied")
    result = invoke("explain", inside, "-o", f"{bucket}/out", "--jsonl", "-", code=1)
    assert json.loads(result.stdout.splitlines()[1])["reason"] == "permission"


def test_what_the_store_never_takes_stops_the_run(
    inside: str, bucket: str, contents: Contents, invoke: Invoke, proxy: Proxy
) -> None:
    failing(proxy, "PUT", "b.jpg.overlay.jpg")
    result = invoke("explain", inside, "-o", f"{bucket}/out", code=4)
    assert (
        f"{bucket}/out/b.jpg.overlay.jpg: the store failed 5 times (SlowDown). Finished results stay valid"
        in result.stderr
    )
    failing(proxy, "GET", "list-type=2", 500, "InternalError")
    assert "the store failed 5 times (InternalError)" in invoke("explain", inside, "-o", "out", code=4).stderr
    proxy.reset()
    invoke("explain", inside, "-o", f"{bucket}/out")
    invoke("explain", inside, "-o", f"{bucket}/whole")
    assert contents(f"{bucket}/out") == contents(f"{bucket}/whole")


def test_wrong_names_and_no_access_are_usage(inside: str, bucket: str, invoke: Invoke, proxy: Proxy) -> None:
    result = invoke("explain", "s3://no-such-bucket-here/in", "-o", "out", code=2)
    assert "there is no such object" in result.stderr
    result = invoke("explain", inside, "-o", "s3://no-such-bucket-here/out", code=2)
    assert "there is no such object (NoSuchBucket)" in result.stderr
    failing(proxy, "GET", "list-type=2", 403, "AccessDenied")
    assert "the store refuses access" in invoke("explain", inside, "-o", "out", code=2).stderr


def test_credentials_are_never_told(
    inside: str, bucket: str, invoke: Invoke, proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in messages, records, sidecars or the log, whatever the store says."""
    told = ""
    cases = [
        ("GET", (403, "SignatureDoesNotMatch"), (inside, "-o", "out")),
        ("GET", (400, "AKIAEXAMPLE rotten"), (inside, "-o", "out", "--overwrite")),
        ("PUT", (403, "InvalidAccessKeyId"), ("photos", "-o", f"{bucket}/out")),
        ("PUT", (400, "AKIAEXAMPLE rotten"), ("photos", "-o", f"{bucket}/out")),
        ("HEAD", (0, ""), (inside, "-o", "out")),
    ]
    with caplog.at_level(logging.DEBUG, logger="gradcam_cli"):
        for method, answer, args in cases:
            failing(proxy, method, ".jp" if method == "GET" else "/", *answer)
            result = CliRunner().invoke(program, ["explain", *args, "--jsonl", "-"], obj=FakeEngines())
            assert result.exit_code == {"GET": 1, "PUT": 2 if answer[0] == 403 else 4, "HEAD": 4}[method]
            assert "the store" in result.output
            told += result.output + repr(result.exception)
    told += "".join(caplog.messages)
    told += "".join(path.read_text("utf-8") for path in (tmp_path / "out").rglob("*.json"))
    assert told.count("the store") > len(cases)
    assert SECRET not in told
    assert "AKIAEXAMPLE" not in told


def test_no_credentials_at_all(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    from gradcam_cli.inputs.discovery import find_sources
    from gradcam_cli.inputs.walk import Rules

    with pytest.raises(UsageError, match="no credentials for it were found"):
        find_sources([f"{bucket}/in"], rules=Rules(frozenset({".jpg"})))


def test_latency_is_hidden_by_reading_ahead(bucket: str, store: Store, invoke: Invoke, proxy: Proxy) -> None:
    """32 objects, each answer 0.2 s late: one after the other they would take 6.4 s to read, and 12.8 s to write."""
    for i in range(32):
        store.put(f"{bucket}/in/{i:03}.jpg", jpeg(30, 24, seed=i))
    proxy.reset()
    proxy.latency = 0.2
    begun = time.monotonic()
    invoke("explain", f"{bucket}/in", "-o", f"{bucket}/out")
    seconds = time.monotonic() - begun
    assert len(proxy.asked) >= 3 * 32
    assert proxy.most_at_once >= 12
    assert seconds < 0.6 * len(proxy.asked) * proxy.latency


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning")
def test_actors_read_objects_and_the_run_writes_them_as_one_process_does(
    inside: str, bucket: str, contents: Contents, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
    found: dict[str, dict[str, bytes]] = {}
    for name, options in (("plain", {}), ("ray", {"ray": "local", "workers": 2})):
        given: dict[str, Any] = {"batch_size": 1, **options}
        run = run_explain(explain_request([inside], f"{bucket}/{name}", given), engines=FakeEngines())
        assert run.counts["ok"] == 3
        found[name] = contents(f"{bucket}/{name}")
    assert found["ray"] == found["plain"]
    # Each object was read once by each run, by an actor or by this process.
    read = [asked.path for asked in proxy.asked if asked.method == "GET" and asked.path.endswith(".jpg")]
    assert len([path for path in read if "/in/" in path]) == 6


# Each with the options that go before the run: where it is, and where its results go.
COMMANDS: dict[str, tuple[str, ...]] = {
    "verify": ("verify", "{}/out", "--json"),
    "report": ("report", "{}/out"),
    "compare": ("compare", "{}/out", "{}/out", "-o", "{}/compared"),
    "snapshot": ("snapshot", "{}/out", "-o", "{}/golden.json"),
    "merge": ("merge", "{}/1", "{}/2", "-o", "{}/merged"),
    "prune": ("verify", "{}/out", "--inputs", "{}/fewer", "--prune", "--json"),
    "jsonl": ("explain", "{}/in", "-o", "{}/out", "--jsonl", "{}/rows.jsonl"),
    "tars": ("explain", "{}/tars", "-o", "{}/of-tars"),
}


@pytest.fixture(scope="module")
def prepared() -> dict[str, tuple[str, dict[str, bytes]]]:
    """The bucket where the runs of a packing were made, and all that was in it then."""
    return {}


@pytest.fixture
def runs(
    inside: str,
    bucket: str,
    invoke: Invoke,
    store: Store,
    proxy: Proxy,
    prepared: dict[str, tuple[str, dict[str, bytes]]],
) -> Callable[[str], None]:
    """Gives a bucket what a command reads: a run, two shards, a tar, and fewer inputs than the run had."""

    def prepare(packing: str) -> None:
        if packing not in prepared:
            make(packing)
            prepared[packing] = bucket, {name: stored.read() for name, stored in store.list(bucket)}
        made_in, objects = prepared[packing]
        for name, data in objects.items():
            store.put(f"{bucket}/{name}", data.replace(made_in.encode(), bucket.encode()))
        proxy.asked.clear()

    def make(packing: str) -> None:
        invoke("explain", inside, "-o", f"{bucket}/out", "--format", packing)
        for index in (1, 2):
            invoke("explain", inside, "-o", f"{bucket}/{index}", "--format", packing, "--shard", f"{index}/2")
        store.put(f"{bucket}/fewer/a.jpg", store.read(f"{inside}/a.jpg"))
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for name in ("a.jpg", "sub/a.jpg"):
                    data = store.read(f"{inside}/{name}")
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            store.put(f"{bucket}/tars/0.tar", buffer.getvalue())

    return prepare


def ran(command: str, bucket: str) -> tuple[int, str]:
    args = [part.format(bucket) for part in COMMANDS[command]]
    args += ["--format", "webdataset"] if command == "jsonl" else []
    result = CliRunner().invoke(program, args, obj=FakeEngines())
    return result.exit_code, result.stdout + result.stderr + repr(result.exception)


@pytest.mark.parametrize("command", ["report", "merge", "prune", "jsonl", "tars"])
def test_commands_outlast_a_store_that_fails_for_a_while(
    command: str, bucket: str, runs: Callable[[str], None], contents: Contents, proxy: Proxy, store: Store
) -> None:
    """Each request fails four times, each time in another way, and every object is the one of a calm store."""
    runs("webdataset")
    calm = ran(command, bucket)
    written = contents(bucket)
    for name in written:
        store.remove(f"{bucket}/{name}")
    runs("webdataset")
    seen = failing_four_times(proxy)
    assert ran(command, bucket)[0] == calm[0] == 0
    proxy.reset()
    # A lock that is renewed may have been asked for at the very end.
    assert min(count for (_, path), count in seen.items() if FOLDER not in path) >= 4
    own = {"run.json", "index.html", "rows.jsonl", "1/run.1-of-2.json", "2/run.2-of-2.json"}
    stable = {name for name in written if not (set(name.split("/")) & own or name in own)}
    again = contents(bucket)
    assert written.keys() == again.keys()
    assert [name for name in sorted(stable) if again[name] != written[name]] == []


@pytest.mark.parametrize(
    ("command", "answer"), [*((name, (503, "SlowDown")) for name in COMMANDS), ("verify", (0, "")), ("merge", (0, ""))]
)
def test_every_command_ends_with_4_where_the_store_fails(
    command: str, answer: tuple[int, str], bucket: str, runs: Callable[[str], None], proxy: Proxy
) -> None:
    runs("webdataset")
    proxy.fault = lambda _: answer
    code, told = ran(command, bucket)
    assert code == 4
    assert "the store failed 5 times" in told
    # Retries end with the command: none is left to a thread.
    proxy.reset()
    time.sleep(0.1)
    assert proxy.asked == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_may_not_do_and_tells_no_credentials(
    command: str,
    bucket: str,
    runs: Callable[[str], None],
    proxy: Proxy,
    contents: Contents,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Access is refused to everything, to reading, and to writing; and what the store says names the key."""
    runs("webdataset")
    told = ""
    with caplog.at_level(logging.DEBUG, logger="gradcam_cli"):
        for methods in ({"GET", "HEAD", "PUT", "DELETE"}, {"PUT", "DELETE"}):
            proxy.fault = lambda asked, methods=methods: (  # type: ignore[misc]
                (403, "AccessDenied") if asked.method in methods else None
            )
            code, text = ran(command, bucket)
            assert code == (0 if command == "verify" and "GET" not in methods else 2), text
            assert code == 0 or "the store refuses access" in text
            told += text
        proxy.fault = lambda _: (400, "AKIAEXAMPLE rotten")
        code, text = ran(command, bucket)
        assert code == 4
        told += text
    proxy.reset()
    told += "".join(caplog.messages)
    assert SECRET not in told
    assert "AKIAEXAMPLE" not in told
    assert not [name for name, data in contents(bucket).items() if SECRET.encode() in data or b"AKIAEXAMPLE" in data]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_bucket_that_is_missing(command: str, proxy: Proxy) -> None:
    code, told = ran(command, "s3://no-such-bucket-here")
    assert code == 2
    assert "s3://no-such-bucket-here/" in told
    assert "there is no" in told


@pytest.mark.parametrize("packing", ["files", "webdataset"])
def test_commands_on_objects_are_those_on_files(
    packing: str, bucket: str, runs: Callable[[str], None], contents: Contents, invoke: Invoke
) -> None:
    runs(packing)
    for root in ("out", "1", "2"):
        for name, data in {**contents(f"{bucket}/{root}"), **records_of_runs(f"{bucket}/{root}")}.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    invoke("merge", "1", "2", "-o", "merged")
    invoke("merge", f"{bucket}/1", f"{bucket}/2", "-o", f"{bucket}/merged")
    here = {path.relative_to("merged").as_posix(): path.read_bytes() for path in Path("merged").rglob("*.*")}
    assert contents(f"{bucket}/merged") == {name: data for name, data in here.items() if name != "run.json"}
    assert records_of_runs(f"{bucket}/merged")["run.json"] == here["run.json"]
    told = invoke("verify", f"{bucket}/merged", "--json").stdout
    assert told == invoke("verify", "merged", "--json").stdout
    assert json.loads(told)["problems"] == json.loads(told)["unchecked"] == []
    invoke("report", f"{bucket}/out")
    invoke("snapshot", f"{bucket}/out", "-o", "golden.json")
    invoke("compare", f"{bucket}/merged", "--snapshot", "golden.json")
    invoke("compare", "out", f"{bucket}/out", "-q")


def records_of_runs(url: str) -> dict[str, bytes]:
    return {name: stored.read() for name, stored in Stores().of(url).list(url) if name == "run.json"}
