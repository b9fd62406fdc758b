"""Typed errors with exit codes. Each message names the file or layer at fault and says what to do next."""

import re
from enum import StrEnum
from typing import Self

LONGEST_REASON = 300
# Keras writes this line before the cause, which it makes bold.
KERAS_HEADING = "Exception encountered when calling "
COLOUR = "\x1b\\[[0-9;]*m"
# The last sentence of messages about a run that was stopped by the machine.
STAYS = "Finished results stay valid."


class Reason(StrEnum):
    """The reasons why an image has no explanation: the values of `reason` in a sidecar. Each equals its value.

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
        exit_code: the exit code of the command line after this error.

    Example:
        >>> try:
        ...     raise UsageError("there are no pictures")
        ... except GradcamError as error:
        ...     print(error, error.exit_code)
        there are no pictures 2
    """

    exit_code = 1


class ImageError(GradcamError):
    """One image cannot be explained; the run continues with the others.

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
        """Make the error picklable, so that a worker can send it."""
        return type(self), (self.reason, str(self))


class UsageError(GradcamError):
    """The request cannot be served: an argument has a wrong value, there is nothing to do, the output is not writable.

    The message has arguments in backticks, with or without a value: `top_k=0`.

    Example:
        >>> UsageError.exit_code
        2
    """

    exit_code = 2


class MethodError(UsageError):
    """A method that the user defined failed, or did not return maps.

    Example:
        >>> issubclass(MethodError, UsageError)
        True
    """


class ModelError(GradcamError):
    """The model is refused, cannot be loaded, or has no such layer or class.

    Example:
        >>> ModelError.exit_code
        3
    """

    exit_code = 3


class DamagedPlanError(ModelError):
    """The weights of a plan in the cache are not there any more, or are not those that were compiled."""


class EnvironmentStop(GradcamError):
    """The machine stopped the run: the disk is full, the output folder was removed, or a library is missing.

    Example:
        >>> EnvironmentStop.exit_code
        4
    """

    exit_code = 4


class StorageError(EnvironmentStop):
    """A call of an object store failed: the object does not exist, access is refused, or all retries failed.

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
        """Make the error picklable, so that a worker can send it."""
        return type(self), (self.reason, str(self))

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later: the cause is not a wrong name or a missing permission."""
        return self.reason is Reason.UNREADABLE


def first_line(error: Exception) -> str:
    """Give the first line of the message of an error that names a cause, at most `LONGEST_REASON` characters."""
    lines = [line.strip() for line in re.sub(COLOUR, "", str(error)).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(KERAS_HEADING)] or lines
    return told[0][:LONGEST_REASON] if told else type(error).__name__
