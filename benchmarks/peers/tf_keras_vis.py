"""tf-keras-vis, used as in its notebook "Attentions".

`GradcamPlusPlus` is used with `ReplaceToLinear` and `penultimate_layer=-1`, which finds `conv5_block3_3_conv`, the last
convolution of Keras's ResNet50. Keras's `load_img` reads the images at 224 x 224. In this library, a score is a
function of the outputs. The score here selects the most probable class of each image. With `CategoricalScore`, another
pass would be needed to find this class. The library does not paint overlays. As in the notebook, matplotlib's `cm.jet`
converts heat to colours. Pillow blends image and colours with equal weights, without a figure; the notebook uses two
calls of `imshow`.
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
    """The highest logit of each image; it stores the classes and their scores."""

    def __call__(self, output: Any) -> Any:
        """Give the highest logit of each row."""
        self.classes = tf.argmax(output, axis=1).numpy()
        highest = tf.reduce_max(output, axis=1)
        self.scores = highest.numpy()
        return highest


keras.utils.set_random_seed(0)
model = keras.applications.ResNet50(weights=None)
gradcam = GradcamPlusPlus(model, model_modifier=ReplaceToLinear(), clone=True)


def explain(photos: list[Path], out: Path) -> list[tuple[int, float]]:
    """Explain a batch of images."""
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
