"""Models in exchange formats: ONNX, and the format of OpenVINO.

    reading.py    the file as OpenVINO's network, of the bytes that were hashed
    reading_subprocess.py  the same in a process of its own, before: OpenVINO may crash on a damaged file
    widening.py   a network in float16, bfloat16 or float64 as one in float32
    picture.py    its input: the shape of the picture, the order of its axes
    outputs.py    its output: the logits, how probabilities follow from them
    places.py     where the cells of every tensor lie in the picture
    axis_places.py, sliding_places.py  the same behind operations that rearrange axes, or slide over the picture
    layers.py     the tensors that can be explained, their names, and `auto`
    head.py       the weights of a head that is global average pooling and one dense layer
    compiling.py  the plan, made from all of these

Nothing here needs TensorFlow, Keras, or the package onnx.
"""
