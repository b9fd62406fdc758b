"""The only room with Keras: named models, loading, layer paths, the trace, the classifier."""
