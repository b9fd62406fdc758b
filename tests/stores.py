"""A server of S3 on this machine, and a proxy before it that answers late, or with errors that a test asks for."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


@dataclass(frozen=True)
class Asked:
    """One request that came to the proxy."""

    method: str
    path: str
    headers: dict[str, str]


# Answers a request in the server's place: status and code of the error; 0 closes the connection without an answer.
Fault = Callable[[Asked], tuple[int, str] | None]


def no_fault(_: Asked) -> None:
    """Let every request pass."""


@dataclass
class Proxy:
    """What a test may change, and what it may count."""

    url: str
    fault: Fault = no_fault
    latency: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Let every request pass at once, and forget what came."""
        self.fault, self.latency, self.most_at_once = no_fault, 0.0, 0
        self.asked.clear()

    @contextmanager
    def counted(self, asked: Asked) -> Iterator[None]:
        with self._counting:
            self.asked.append(asked)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._counting:
                self._now -= 1


def _handler(port: int, proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            with proxy.counted(asked):
                time.sleep(proxy.latency)
                fault = proxy.fault(asked)
                if fault is None:
                    self.answer(*_forwarded(port, asked, body))
                elif fault[0] == 0:
                    self.close_connection = True
                else:
                    text = f"<Error><Code>{fault[1]}</Code><Message>AKIAEXAMPLE said so</Message></Error>"
                    self.answer(fault[0], {"Content-Type": "application/xml"}, text.encode("ascii"))

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = serve  # noqa: N815 - the names of the base class

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            length = headers.pop("Content-Length", str(len(body)))
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Say nothing."""

    return Handler


def _forwarded(port: int, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(asked.method, asked.path, body or None, asked.headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@contextmanager
def s3_server() -> Iterator[int]:
    """Start moto's server on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@contextmanager
def proxy_before(port: int) -> Iterator[Proxy]:
    """Start a proxy before a server."""
    proxy = Proxy("")
    server = ThreadingHTTPServer((HOST, 0), _handler(port, proxy))
    server.daemon_threads = True
    proxy.url = f"http://{HOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
