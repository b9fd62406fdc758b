"""pytorch-grad-cam, used as in its README and its example program `cam.py`.

One `GradCAMPlusPlus` is used for all batches ("construct the CAM object once"), with `model.layer4[-1]` of a ResNet50
and `targets=None` (the most probable class of each image). The scores are those of `cam.outputs`. cv2 reads the images
and resizes them to 224 x 224. `preprocess_image` makes the input, and `show_cam_on_image` makes the overlay, which has
the size of the input.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from torchvision.models import resnet50

from benchmarks.peers.clock import overlay_path, run

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

torch.manual_seed(0)
model = resnet50(weights=None).eval()
cam = GradCAMPlusPlus(model=model, target_layers=[model.layer4[-1]])


def read(photo: Path) -> Any:
    """Read an image as (224, 224, 3) float32 RGB in [0, 1]."""
    bgr: Any = cv2.imread(str(photo), 1)
    return np.float32(cv2.resize(bgr[:, :, ::-1], (224, 224))) / 255


def explain(photos: list[Path], out: Path) -> list[tuple[int, float]]:
    """Explain a batch of images."""
    images = [read(p) for p in photos]
    inputs = torch.cat([preprocess_image(image, mean=MEAN, std=STD) for image in images])
    maps = cam(input_tensor=inputs, targets=None)
    for photo, image, heat in zip(photos, images, maps, strict=True):
        overlay = show_cam_on_image(image, heat, use_rgb=True)
        cv2.imwrite(str(overlay_path(photo, out)), cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
    scores, classes = cam.outputs.max(dim=1)
    return list(zip(classes.tolist(), scores.tolist(), strict=True))


if __name__ == "__main__":
    run(explain, ("grad-cam", "torch", "torchvision"))
