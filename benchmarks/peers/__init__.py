"""Measurements of other libraries on the same network and the same images."""
