"""Typed errors: each carries its exit code, names the file or layer at fault, and says what to do next."""

from enum import StrEnum
from typing import Self

LONGEST_REASON = 300
# The end of messages about a run that the machine stopped.
STAYS = "Finished results stay valid."


class Reason(StrEnum):
    """Why one image has no explanation: the words of `reason` in a sidecar. Each compares equal to its word.

    Example:
        >>> Reason.TRUNCATED_OR_CORRUPT == "truncated_or_corrupt"
        True
    """

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED_OR_CORRUPT = "truncated_or_corrupt"
    UNSUPPORTED = "unsupported"
    DECODER_CRASHED = "decoder_crashed"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_REGULAR = "not_regular"
    PERMISSION = "permission"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_FINITE = "not_finite"
    OVERLAY_TOO_LARGE = "overlay_too_large"
    NAME_TOO_LONG = "name_too_long"
    NAME_REFUSED = "name_refused"
    NO_INPUT_VALUE = "no_input_value"
    OUTPUT_NOT_OURS = "output_not_ours"
    CRASHED = "crashed"


class GradcamError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        exit_code: what the command line ends with after such an error.

    Example:
        >>> try:
        ...     raise UsageError("there are no pictures")
        ... except GradcamError as error:
        ...     print(error, error.exit_code)
        there are no pictures 2
    """

    exit_code = 1


class ImageError(GradcamError):
    """One image cannot be explained; the others are.

    Attributes:
        reason: the kind of failure.

    Example:
        >>> error = ImageError(Reason.EMPTY, "the file is empty")
        >>> error.reason.value
        'empty'
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep the machine's word (`reason`) beside the sentence for people."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason, str]]:
        """Let a worker send it."""
        return type(self), (self.reason, str(self))


class UsageError(GradcamError):
    """The request cannot be served: an argument has a wrong value, there is nothing to do, the output is not writable.

    The message writes arguments between backticks: the argument and its value, such as `top_k=0`.

    Example:
        >>> UsageError.exit_code
        2
    """

    exit_code = 2


class MethodError(UsageError):
    """A method of the user's own failed, or what it returned are no maps.

    Example:
        >>> issubclass(MethodError, UsageError)
        True
    """


class ModelError(GradcamError):
    """The model is refused, cannot be loaded, or has no such layer or class. Nothing of it was run.

    Example:
        >>> ModelError.exit_code
        3
    """

    exit_code = 3


class DamagedPlanError(ModelError):
    """The weights of a plan in the cache are not there any more, or are not those that were compiled."""


class EnvironmentStop(GradcamError):
    """The machine stopped the run: disk full, output gone, a library missing. Finished results stay valid.

    Example:
        >>> EnvironmentStop.exit_code
        4
    """

    exit_code = 4


class StorageError(EnvironmentStop):
    """An object store does not serve a call: there is no such object, access is refused, or it failed again and again.

    Attributes:
        reason: the kind of failure.

    Example:
        >>> error = StorageError(Reason.PERMISSION, "s3://bucket/cat.jpg: the store refuses access (AccessDenied).")
        >>> error.reason.value, error.exit_code
        ('permission', 4)
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep the machine's word (`reason`) beside the sentence for people."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason, str]]:
        """Let a worker send it."""
        return type(self), (self.reason, str(self))

    @property
    def is_transient(self) -> bool:
        """Whether the same call may be served later: neither a wrong name nor a missing permission is the cause."""
        return self.reason is Reason.UNREADABLE


def first_line(error: Exception) -> str:
    """Give the first line of what a library has to say, and no more than people read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:LONGEST_REASON] if lines else type(error).__name__
