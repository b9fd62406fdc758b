"""Models in exchange formats: ONNX, and the format of OpenVINO.

    reading.py    read the hashed files as a network of OpenVINO
    reading_subprocess.py  read them first in a subprocess, because OpenVINO may crash on a damaged file
    widening.py   convert a network in float16, bfloat16 or float64 to float32
    picture.py    the input: the shape of the image and the order of its axes
    outputs.py    the output: the logits, and how probabilities are computed from them
    places.py     the positions of the cells of every tensor in the image
    axis_places.py, sliding_places.py  the same for operations that rearrange axes, or slide over the image
    layers.py     the tensors that can be explained, their names, and `auto`
    head.py       the weights of a head that is global average pooling and one dense layer
    compiling.py  the plan, made with all of these modules

TensorFlow, Keras and the package onnx are not needed.
"""
