"""The only constants that a TensorFlow call may have here: numbers, and lists of them."""

import math
from typing import Any


def number(value: Any) -> int | float:
    """A number. Infinity is one: some functions clip to it.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{str(value)[:40]} is not a number")
    return value


def integers(value: Any) -> Any:
    """A whole number, or a list of them.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, list):
        return [integers(item) for item in value]
    if math.isinf(number(value)) or value != int(value):
        raise ValueError(f"{value} is not an integer")
    return int(value)


def constant(value: Any) -> Any:
    """Leave a tensor as it is, and check a number or write a list of numbers as an array in Keras 3's notation.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return value
    if isinstance(value, list):
        return {"class_name": "__numpy__", "config": {"value": _checked(value), "dtype": "float32"}}
    return number(value)


def _checked(values: list[Any]) -> list[Any]:
    return [_checked(value) if isinstance(value, list) else number(value) for value in values]
