"""Checks that refuse a dangerous or damaged model file before Keras reads it."""
