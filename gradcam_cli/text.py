"""Small pieces of text for people."""


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: `1 image`, `3 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
