"""The only room with Keras: named models, loading, layer paths, the trace, the classifier."""

import os

# Whatever ~/.keras/keras.json says: the trace is made of TensorFlow's graphs. The first import of Keras decides.
os.environ["KERAS_BACKEND"] = "tensorflow"
