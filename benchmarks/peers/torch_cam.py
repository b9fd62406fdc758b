"""torch-cam, used as in the quick tour of its README and the section on batched inputs of its guide.

One `GradCAMpp` at `layer4` (from the guide's table) is used for all batches, with one class index for each image: the
most probable class. torchvision's `decode_image` reads the images, which are resized to 224 x 224. `overlay_mask`
paints the overlay at the size of the image.
"""

from pathlib import Path

import torch
from torchcam.methods import GradCAMpp
from torchcam.utils import overlay_mask
from torchvision.io import ImageReadMode, decode_image
from torchvision.models import resnet50
from torchvision.transforms.v2.functional import normalize, resize, to_pil_image

from benchmarks.peers.clock import overlay_path, run

torch.manual_seed(0)
model = resnet50(weights=None).eval()
extractor = GradCAMpp(model, target_layer="layer4")


def explain(photos: list[Path], out: Path) -> list[tuple[int, float]]:
    """Explain a batch of images."""
    images = [decode_image(str(p), mode=ImageReadMode.RGB) for p in photos]
    inputs = torch.stack(
        [normalize(resize(i, [224, 224]) / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) for i in images]
    )
    logits = model(inputs)
    scores, classes = logits.max(dim=1)
    maps = extractor(classes.tolist(), logits)[0]
    for photo, image, heat in zip(photos, images, maps, strict=True):
        overlay = overlay_mask(to_pil_image(image), to_pil_image(heat, mode="F"), alpha=0.5)
        overlay.save(overlay_path(photo, out))
    return list(zip(classes.tolist(), scores.tolist(), strict=True))


if __name__ == "__main__":
    run(explain, ("torchcam", "torch", "torchvision"))
