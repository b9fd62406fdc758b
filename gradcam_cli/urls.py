"""URLs of object stores: recognition, checks, and text without secrets."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gradcam_cli.errors import UsageError

# Stores that write objects atomically. File systems with URLs (sftp, hdfs) do not guarantee this.
SCHEMES: Final = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory")
_FILE: Final = "file://"
# One letter and a colon is a drive of Windows.
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Mistyped URLs that would create a folder `s3:`: one slash instead of two, or a chain of fsspec.
_MISTYPED: Final = re.compile(
    rf"(?:{'|'.join(SCHEMES)}|https?|ftp|file):(?:/|$)|(?:[a-z][a-z0-9+.-]*::)+[a-z][a-z0-9+.-]*://", re.IGNORECASE
)
_PASSWORD: Final = re.compile(r"(?<=:/)(/?)[^/@]*:[^/@]*@")
# Parameters of a URL that contain a signature or a token.
_SIGNED: Final = re.compile(
    r"([?&])(x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|googleaccessid|signature|sig|token|expires)=[^&]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Url:
    """A place in an object store, for arguments that may be a path or a URL; `/` gives a place below it."""

    text: str

    def __post_init__(self) -> None:
        """Remove slashes at the end."""
        object.__setattr__(self, "text", self.text.rstrip("/"))

    def __truediv__(self, relative: str) -> "Url":
        """Give the place below this one."""
        return Url(f"{self.text}/{relative}")

    def __str__(self) -> str:
        """Give the URL without secrets, for people."""
        return shown(self.text)

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.text.rsplit("/", 1)[-1]

    @property
    def parent(self) -> "Url":
        """The parent place; the parent of a bucket is the bucket itself."""
        above = self.text.rsplit("/", 1)[0]
        return self if above.endswith("/") else Url(above)


def is_url(text: str) -> bool:
    """Whether a text is a URL of any kind, also a mistyped one."""
    return _URL.match(text) is not None or _is_mistyped(text)


def _is_mistyped(text: str) -> bool:
    """Whether a text is a mistyped URL; if its first folder exists, it is a path."""
    return _MISTYPED.match(text) is not None and not os.path.lexists(text.split("/", 1)[0])


def is_stored(text: str) -> bool:
    """Whether a text is the URL of a place in an object store."""
    found = _URL.match(text)
    return found is not None and found[1].lower() in SCHEMES


def shown(text: str) -> str:
    """Write URLs without passwords, signatures and tokens."""
    return _SIGNED.sub(r"\1\2=...", _PASSWORD.sub(r"\1...@", text))


def check_url(text: str) -> None:
    """Refuse a URL that is not of an object store, and one with credentials: they would be recorded with the run.

    Raises:
        UsageError: the URL is refused.
    """
    if not is_url(text):
        return
    if text.lower().startswith(_FILE):
        raise UsageError(f"{shown(text)}: write a path on this machine without {_FILE}: {shown(text)[len(_FILE) :]}")
    if not _URL.match(text):
        raise UsageError(f"{shown(text)}: this is not a URL such as s3://bucket/photos, and there is no such path.")
    if not is_stored(text):
        raise UsageError(
            f"{shown(text)}: this kind of URL is not supported. Supported are: "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}. {_without_stores(text)}"
        )
    if shown(text) != text:
        raise UsageError(
            f"{shown(text)}: a URL must not contain credentials, because it is written to the records of the run. Give "
            "them by environment variables, a profile, or the role of the machine."
        )


def refuse_url(text: str) -> None:
    """Refuse a URL, because it would be taken for a path of folders.

    Raises:
        UsageError: the text is a URL.
    """
    if is_url(text):
        raise UsageError(f"{shown(text)}: URLs are not supported here. {_without_stores(text)}")


def _without_stores(text: str) -> str:
    """Give the advice for a URL that is not supported."""
    path = shown(text).replace("//", "/", 1)
    return f"Copy the files to this machine. If this is a local path, write ./{path}"


def written(given: Path | Url) -> str:
    """Give a place as the text that `place` reads."""
    return given.text if isinstance(given, Url) else os.fspath(given)


def place(given: str | os.PathLike[str] | Url) -> Path | Url:
    """Convert a text to a local path, or to the place in an object store if it is a URL.

    Raises:
        UsageError: the URL is not of an object store, or has credentials.
    """
    text = given.text if isinstance(given, Url) else os.fspath(given)
    if not is_url(text):
        return Path(text)
    check_url(text)
    return Url(text)
