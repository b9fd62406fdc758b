"""The only constants that a TensorFlow call may have in this package: numbers, and lists of numbers."""

import math
from typing import Any


def number(value: Any) -> int | float:
    """Check that a value is a number, and give it. Infinity is allowed, because some functions clip to it.

    Raises:
        ValueError: it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{str(value)[:40]} is not a number")
    return value


def integers(value: Any) -> Any:
    """Read an integer, or a list of integers.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, list):
        return [integers(item) for item in value]
    if math.isinf(number(value)) or value != int(value):
        raise ValueError(f"{value} is not an integer")
    return int(value)


def constant(value: Any) -> Any:
    """Give a tensor unchanged, check a number, or write a list of numbers as an array in the notation of Keras 3.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return value
    if isinstance(value, list):
        return {"class_name": "__numpy__", "config": {"value": _checked(value), "dtype": "float32"}}
    return number(value)


def _checked(values: list[Any]) -> list[Any]:
    return [_checked(value) if isinstance(value, list) else number(value) for value in values]
