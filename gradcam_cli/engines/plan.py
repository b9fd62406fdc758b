"""A compiled plan: all that explaining one model at one layer takes, in one file, without Keras or TensorFlow.

The file is a zip archive of stored members: `plan.json` (what the model is, and the sha256 of every other member), the
network in OpenVINO's format, and the weights of its dense head. Nothing in it is code.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradcam_cli.atomic import atomically
from gradcam_cli.errors import ModelError
from gradcam_cli.labels import Label, Labels
from gradcam_cli.network import Floats, Head, HeadKind, TargetLayer
from gradcam_cli.preprocessing import PREPROCESSINGS, Preprocessing
from gradcam_cli.settings import FitMode

SUFFIX = ".plan"
VERSION = 2
MEMBERS = ("network.xml", "network.bin", "head.npy")


@dataclass(frozen=True, eq=False)
class Plan:
    """A network up to its logits, its target layer, its dense head's weights (K, C), and what surrounds them.

    `network` is the XML and `weights` the binary part of OpenVINO's format; the network takes (N, height, width,
    channels) float32 and gives `activations` (N, h, w, K) and `logits` (N, C).
    """

    name: str
    sha256: str | None
    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing
    preprocess_guessed: bool
    labels: Labels
    warnings: tuple[str, ...]
    layer: TargetLayer
    head_kind: HeadKind
    head_weights: Floats
    network: bytes
    weights: bytes
    preprocess_reason: str = ""
    preprocess_scores: Mapping[str, float] | None = None
    fit: FitMode = "squash"
    notes: tuple[str, ...] = ()

    @property
    def head(self) -> Head:
        """From logits to probabilities, and the closed-form gradient."""
        return Head(self.head_kind, self.head_weights.shape[1], self.head_weights)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    head = io.BytesIO()
    np.save(head, plan.head_weights, allow_pickle=False)
    members = dict(zip(MEMBERS, (plan.network, plan.weights, head.getvalue()), strict=True))
    with atomically(path) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        archive.writestr("plan.json", json.dumps(_described(plan, members), sort_keys=True))
        for name, data in members.items():
            archive.writestr(name, data)


def _described(plan: Plan, members: dict[str, bytes]) -> dict[str, Any]:
    return {
        "plan_version": VERSION,
        "name": plan.name,
        "sha256": plan.sha256,
        "input_shape": plan.input_shape,
        "preprocess": plan.preprocessing.name,
        "preprocess_guessed": plan.preprocess_guessed,
        "preprocess_reason": plan.preprocess_reason,
        "preprocess_scores": plan.preprocess_scores and dict(plan.preprocess_scores),
        "fit": plan.fit,
        "notes": plan.notes,
        "labels": [[label.name, label.wnid] for label in plan.labels.entries],
        "warnings": plan.warnings,
        "layer": asdict(plan.layer),
        "head_kind": plan.head_kind,
        "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    }


def read_plan(path: Path) -> Plan:
    """Read a plan, and compare every member with its hash.

    Raises:
        ModelError: it is no plan, damaged, or of another version of this program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("plan.json"))
            members = {name: archive.read(name) for name in MEMBERS}
        if described["plan_version"] != VERSION:
            raise ModelError(f"{path}: compiled by another version of gradcam-cli. Compile the model again.")
        for name, data in members.items():
            if hashlib.sha256(data).hexdigest() != described["members"][name]:
                raise ModelError(f"{path}: {name} is damaged. Compile the model again.")
        return _plan(described, members)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError) as error:
        raise ModelError(f"{path}: no plan that can be read ({error}). Compile the model again.") from error


def _plan(described: dict[str, Any], members: dict[str, bytes]) -> Plan:
    height, width, channels = described["input_shape"]
    return Plan(
        name=described["name"],
        sha256=described["sha256"],
        input_shape=(height, width, channels),
        preprocessing=PREPROCESSINGS[described["preprocess"]],
        preprocess_guessed=described["preprocess_guessed"],
        labels=Labels(tuple(Label(name, wnid) for name, wnid in described["labels"])),
        warnings=tuple(described["warnings"]),
        layer=TargetLayer(**described["layer"]),
        head_kind=described["head_kind"],
        head_weights=np.load(io.BytesIO(members["head.npy"]), allow_pickle=False),
        network=members["network.xml"],
        weights=members["network.bin"],
        preprocess_reason=described["preprocess_reason"],
        preprocess_scores=described["preprocess_scores"],
        fit=described["fit"],
        notes=tuple(described["notes"]),
    )
