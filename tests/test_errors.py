"""What is shown of the errors of libraries."""

import keras
import pytest

from gradcam_cli.errors import LONGEST_REASON, first_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\n  the cause \nmore", "the cause"),
        ("", "ValueError"),
        ("\x1b[1mbold\x1b[0m", "bold"),
        ("Exception encountered when calling Dense.call().\n\n\x1b[1mthe cause\x1b[0m\n\nArguments: x", "the cause"),
        ("Exception encountered when calling Dense.call().", "Exception encountered when calling Dense.call()."),
        ("x" * 1000, "x" * LONGEST_REASON),
    ],
)
def test_the_first_line_that_says_something(text: str, shown: str) -> None:
    assert first_line(ValueError(text)) == shown


def test_the_cause_of_an_error_of_keras_is_shown() -> None:
    class Refusing(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: object) -> object:
            raise ValueError(f"only squares, not {x is None}")

    with pytest.raises(ValueError, match="calling") as caught:
        Refusing()(keras.ops.zeros((1, 2)))
    assert first_line(caught.value) == "only squares, not False"
