"""The results of a run: writing them, and reading them back."""
