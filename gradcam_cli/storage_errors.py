"""Classification of the errors of object stores: the reason, and whether the same call may succeed later.

The text of a store or its library is never part of a message, because it may contain credentials. A message has the URL
without secrets, and the code of the error.
"""

import errno
import re
from typing import Final

from gradcam_cli.errors import Reason, StorageError, UsageError

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,39}|\d{3}")
_TRANSIENT: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
        getattr(errno, "EREMOTEIO", 5),
    }
)
_LIBRARIES: Final = (
    "botocore",
    "aiobotocore",
    "aiohttp",
    "urllib3",
    "requests",
    "gcsfs",
    "google",
    "azure",
    "oci",
    "oss2",
)
_MESSAGES: Final = {
    Reason.VANISHED: "there is no such object",
    Reason.OUTPUT_NOT_OURS: "there is already an object with this name",
    Reason.PERMISSION: "the store refuses access, or no credentials for it were found",
    Reason.NAME_TOO_LONG: "the name is longer than the store allows",
    Reason.UNSUPPORTED: "the store does not support this call",
    Reason.UNREADABLE: "the store failed",
}


def refusal(error: StorageError) -> UsageError | StorageError:
    """Give the error for a failure that the user can correct: a wrong name, or missing access."""
    return error if error.is_transient else UsageError(str(error))


def failure_of(url: str, error: Exception, tries: int) -> tuple[StorageError, bool]:
    """Describe a failure without the library's message, and tell whether the same call may succeed later."""
    code = _code(error)
    reason = _reason(error, code)
    is_transient = reason is Reason.UNREADABLE and _is_transient(error)
    message = f"the store failed {tries} times" if is_transient and tries > 1 else _MESSAGES[reason]
    return StorageError(reason, f"{url}: {message} ({code})."), is_transient


def _reason(error: Exception, code: str) -> Reason:
    number = error.errno if isinstance(error, OSError) else None
    for fits, reason in (
        (isinstance(error, FileNotFoundError), Reason.VANISHED),
        (isinstance(error, FileExistsError) or code in {"PreconditionFailed", "412"}, Reason.OUTPUT_NOT_OURS),
        (isinstance(error, PermissionError) or code in {"401", "403"}, Reason.PERMISSION),
        ("Credentials" in type(error).__name__, Reason.PERMISSION),
        (number == errno.ENAMETOOLONG, Reason.NAME_TOO_LONG),
        (isinstance(error, NotImplementedError) or number == errno.ENOSYS, Reason.UNSUPPORTED),
    ):
        if fits:
            return reason
    return Reason.UNREADABLE


def _is_transient(error: Exception) -> bool:
    """Whether the network or a store under load caused the error."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status in {408, 429}
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError):
        return error.errno in _TRANSIENT
    if "Validation" in type(error).__name__:
        return False
    return type(error).__module__.split(".", 1)[0] in _LIBRARIES


def _status(error: Exception) -> int | None:
    """Give the HTTP status of a library's error."""
    for each in (error, error.__cause__):
        for name in ("status_code", "status", "code"):
            status = getattr(each, name, None)
            if isinstance(status, int):
                return status
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return status
    return None


def _code(error: Exception) -> str:
    """Give one word for an error: the store's own code, such as SlowDown, or else the HTTP status or its type."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        if code and _CODE.fullmatch(str(code)):
            return str(code)
    status = _status(error)
    return type(error).__name__ if status is None else str(status)
