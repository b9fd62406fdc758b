"""Names of classes, and the files that have them."""
