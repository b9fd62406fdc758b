"""The CAM family: one registry that feeds the command line, the documentation and the tests.

A method has a file of its own, which says how its maps are made; to add one is to add its file and a line here.
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
