"""Walk a traced graph from the image, with the rules for all known operations."""

from typing import Any

from gradcam_cli.models.graph_walk import GraphWalk
from gradcam_cli.models.picture_ops import PICTURE_OPS
from gradcam_cli.models.token_ops import TOKEN_OPS


def walk_graph(picture: Any, *, channels_first: bool) -> GraphWalk:
    """Start a walk at the image, (N, H, W, channels) or (N, channels, H, W)."""
    return GraphWalk(picture, PICTURE_OPS | TOKEN_OPS, channels_first=channels_first)
