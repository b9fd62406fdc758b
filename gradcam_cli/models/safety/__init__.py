"""What a model file may not hold, found out before Keras reads it."""
