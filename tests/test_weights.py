"""Downloads from a server on this machine: whole, cut off, changed on the way, or not to be had."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gradcam_cli.errors import ModelError
from gradcam_cli.models.named import NamedModel, WeightsFile
from gradcam_cli.models.weights import ensure_weights, weights_at_hand, weights_folder

CONTENT = bytes(range(256)) * 20_000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        body = CONTENT[:-1] + b"!" if self.path == "/changed" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/short" else body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    listener = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


def model(url: str, digest: str | None) -> NamedModel:
    return NamedModel("Some", 224, "tf", WeightsFile("some.h5", url, digest))


class Shown:
    """Keeps what a progress bar would have been told."""

    def __init__(self) -> None:
        self.size = self.received = 0

    @contextmanager
    def __call__(self, _name: str, size: int) -> Iterator[Any]:
        self.size = size
        yield self.advance

    def advance(self, count: int) -> None:
        self.received += count


@pytest.mark.parametrize("algorithm", ["md5", "sha256", None])
def test_a_whole_download_is_kept_and_used_again(server: str, algorithm: str | None) -> None:
    digest = hashlib.new(algorithm, CONTENT).hexdigest() if algorithm else None
    shown = Shown()
    wanted = model(f"{server}/weights", digest)
    assert not weights_at_hand(wanted)
    path = ensure_weights(wanted, shown)
    assert path.read_bytes() == CONTENT
    assert (shown.size, shown.received) == (len(CONTENT), len(CONTENT))
    assert weights_at_hand(wanted)
    assert list(weights_folder().iterdir()) == [path]
    again = Shown()
    assert ensure_weights(wanted, again) == path
    assert again.size == 0


@pytest.mark.parametrize(
    ("page", "message"), [("/short", "ended after"), ("/changed", "published hash"), ("/missing", "404")]
)
def test_half_a_download_is_never_used(server: str, page: str, message: str) -> None:
    wanted = model(server + page, hashlib.md5(CONTENT).hexdigest())  # noqa: S324 - Keras publishes md5
    with pytest.raises(ModelError, match=message):
        ensure_weights(wanted, Shown())
    assert not weights_at_hand(wanted)
    assert not weights_folder().exists() or not list(weights_folder().iterdir())


def test_a_damaged_file_is_fetched_again(server: str) -> None:
    wanted = model(f"{server}/weights", hashlib.sha256(CONTENT).hexdigest())
    weights_folder().mkdir()
    damaged = weights_folder() / "some.h5"
    damaged.write_bytes(CONTENT[:1000])
    assert ensure_weights(wanted, Shown()).read_bytes() == CONTENT


def test_no_network_names_every_way_out() -> None:
    with pytest.raises(ModelError) as caught:
        ensure_weights(model("http://127.0.0.1:9/weights", None), Shown())
    message = str(caught.value)
    assert str(weights_folder() / "some.h5") in message
    assert "http://127.0.0.1:9/weights" in message
    assert "`weights=FILE`" in message
    assert "`model=efficientnetlite0`" in message
    assert caught.value.exit_code == 3
