"""Model files of older Keras versions: their configs translated for Keras 3, and their weights assigned by name.

`config` translates a config without importing Keras, so that the preflight can judge what Keras will be given.
`rules` holds what changes in single layers, `nodes` the calls between layers, `operations` the TensorFlow calls.
`arguments` drops constructor arguments, `h5_weights` and `keras_weights` read weights, `loading` puts it all together.
"""
