"""What is made of finished runs, from their sidecars alone: neither a model nor TensorFlow is needed."""
