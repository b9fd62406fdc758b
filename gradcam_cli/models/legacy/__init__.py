"""Model files of older Keras versions: their configs are translated for Keras 3, and weights are assigned by name.

`config` translates a config without importing Keras, so the preflight can check the config that Keras will get.
`rules` has the changes of single layers, `nodes` the calls between layers, `operations` the TensorFlow calls.
`arguments` drops constructor arguments, `h5_weights` and `keras_weights` read weights, `loading` combines all of them.
"""
