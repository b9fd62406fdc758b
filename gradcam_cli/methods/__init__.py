"""The CAM methods: one registry for the command line, the documentation and the tests.

Each method has its own file. To add a method, add its file and a line here.
"""

from gradcam_cli.methods import (
    ablationcam,
    cam,
    eigen,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    scorecam,
    softmax,
    xgradcam,
)
from gradcam_cli.methods.method import Method

__all__ = ["METHODS", "Method"]

# The best known first.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        gradcam.METHOD,
        *gradcam_plus_plus.METHODS,
        softmax.METHOD,
        cam.METHOD,
        layercam.METHOD,
        hirescam.METHOD,
        xgradcam.METHOD,
        scorecam.METHOD,
        ablationcam.METHOD,
        *eigen.METHODS,
    )
}
