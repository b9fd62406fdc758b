"""tf-keras-vis, as its notebook "Attentions" uses it.

`GradcamPlusPlus` with `ReplaceToLinear` at `penultimate_layer=-1`, which finds `conv5_block3_3_conv`, the last
convolution of Keras's ResNet50. Pictures are read by Keras's `load_img` at 224 x 224. Scores are functions of the
outputs: this one takes each image's first class, and saves the pass that `CategoricalScore` would cost to know it.
The library paints nothing: heat becomes colours by matplotlib's `cm.jet` as in the notebook, and Pillow blends them
half and half as the notebook's two `imshow` do, without a figure.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from matplotlib import cm
from PIL import Image
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import Score

from benchmarks.peers.clock import overlay_path, run


class FirstClass(Score):  # type: ignore[misc]
    """Each image's highest logit; keeps the classes and their scores."""

    def __call__(self, output: Any) -> Any:
        """Give the highest of each row of logits."""
        self.classes = tf.argmax(output, axis=1).numpy()
        highest = tf.reduce_max(output, axis=1)
        self.scores = highest.numpy()
        return highest


keras.utils.set_random_seed(0)
model = keras.applications.ResNet50(weights=None)
gradcam = GradcamPlusPlus(model, model_modifier=ReplaceToLinear(), clone=True)


def explain(photos: list[Path], out: Path) -> list[tuple[int, float]]:
    """Explain a batch."""
    images = np.asarray([np.array(keras.utils.load_img(p, target_size=(224, 224))) for p in photos])
    inputs = keras.applications.resnet50.preprocess_input(images)
    score = FirstClass()
    maps = gradcam(score, inputs, penultimate_layer=-1)
    for photo, image, heat in zip(photos, images, maps, strict=True):
        colours = np.uint8(cm.jet(heat)[..., :3] * 255)
        overlay = Image.blend(Image.fromarray(image), Image.fromarray(colours), 0.5)
        overlay.save(overlay_path(photo, out))
    return list(zip(score.classes.tolist(), score.scores.tolist(), strict=True))


if __name__ == "__main__":
    run(explain, ("tf-keras-vis", "tensorflow", "keras"))
