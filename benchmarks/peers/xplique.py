"""xplique, used as in its documentation of Grad-CAM++.

`GradCAMPP(model, batch_size=16)` is used on a ResNet50 whose outputs are logits, as the documentation recommends. The
library chooses the layer: `conv5_block3_3_conv`, the last one with filters. It needs one-hot targets, so each batch is
predicted first, and the network runs twice. Keras's `load_img` reads the images at 224 x 224. `generate_heatmap` scales
the map as for `plot_attribution`; matplotlib's `cm.jet` and Pillow's `blend` make the overlay without a figure.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib import cm
from PIL import Image
from xplique.attributions import GradCAMPP
from xplique.plots.image import generate_heatmap

from benchmarks.peers.clock import BATCH, overlay_path, run

keras.utils.set_random_seed(0)
model = keras.applications.ResNet50(weights=None, classifier_activation=None)
explainer = GradCAMPP(model, batch_size=BATCH)


def explain(photos: list[Path], out: Path) -> list[tuple[int, float]]:
    """Explain a batch of images."""
    images = np.asarray([np.array(keras.utils.load_img(p, target_size=(224, 224))) for p in photos])
    inputs = keras.applications.resnet50.preprocess_input(images.astype(np.float32))
    logits = model.predict_on_batch(inputs)
    classes = logits.argmax(axis=1)
    maps = explainer.explain(inputs, keras.utils.to_categorical(classes, logits.shape[1])).numpy()
    for photo, image, heat in zip(photos, images, maps, strict=True):
        colours = np.uint8(cm.jet(generate_heatmap(heat[..., 0], None))[..., :3] * 255)
        overlay = Image.blend(Image.fromarray(image), Image.fromarray(colours), 0.5)
        overlay.save(overlay_path(photo, out))
    return list(zip(classes.tolist(), logits.max(axis=1).tolist(), strict=True))


if __name__ == "__main__":
    run(explain, ("xplique", "tensorflow", "keras"))
