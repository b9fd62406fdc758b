"""Arguments in the library's messages are options at a shell."""

import pytest

from gradcam_cli.cli.wording import as_options


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`score` needs `method=gradcam++-paper`.", "--score needs --method gradcam++-paper."),
        ("at most `top_k=5`, or `max_channels`", "at most --top-k 5, or --max-channels"),
        # The option is written in another way than its argument.
        ("`classes=3`", "--class 3"),
        ("`output_name`, `sample_range`, `trust_code`", "--output, --range, --trust-model-code"),
        ("`inputs=age=VALUE|FILE.npy`", "--input age=VALUE|FILE.npy"),
        # A flag takes no value.
        ("`custom_objects=own.py` `trust_code=True`", "--custom-objects own.py --trust-model-code"),
        ("left out by `recursive=False` (`hidden=True`)", "left out by --no-recursive (--hidden)"),
        # These are no arguments.
        ("`auto` chooses; run `pip install keras`", "`auto` chooses; run `pip install keras`"),
        ("nothing in backticks: method", "nothing in backticks: method"),
    ],
)
def test_arguments_become_options(message: str, shown: str) -> None:
    assert as_options(message) == shown
