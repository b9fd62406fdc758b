"""Reports and comparisons of finished runs. They need only the sidecars, neither a model nor TensorFlow."""
