"""Scripts for maintainers; they are no part of the program."""
