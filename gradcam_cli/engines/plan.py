"""A compiled plan: one file with everything that is needed to explain one model at one layer with OpenVINO only.

The file is a zip archive of stored members: `plan.json` (the description of the model, and the SHA-256 hash of every
other member), the network in OpenVINO's format, and the weights of the head if it is GAP -> Dense. It contains no code.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np

from gradcam_cli.atomic import atomically
from gradcam_cli.engines.protocol import MOST_NUMBERS, Floats, Head, HeadKind, Linearity, TargetLayer
from gradcam_cli.errors import DamagedPlanError, ModelError, first_line
from gradcam_cli.imaging.geometry import CellLine, MapGeometry
from gradcam_cli.imaging.preprocessing import PREPROCESSINGS, Preprocessing
from gradcam_cli.labels.class_labels import Label, Labels
from gradcam_cli.settings import FIT_MODES, FitMode

SUFFIX = ".plan"
VERSION = 4
DESCRIPTION = "plan.json"
DEFINITION, WEIGHTS = NETWORK = ("network.xml", "network.bin")
# This member exists only if the head is GAP -> Dense.
DENSE = "head.npy"
LONGEST_DESCRIPTION = 1 << 26
# The hash of a larger member is checked before memory is allocated: a sparse file can declare any size.
LARGE = 1 << 28


@dataclass(frozen=True)
class KeptWeights:
    """The weights of a plan in the cache. They are read only when they are needed.

    If the compiled network is in the cache too, they are not needed.
    """

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Read the weights, and compare them with their hash.

        Raises:
            DamagedPlanError: the weights cannot be read, or have another hash.
            MemoryError: the weights are too large for this machine.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                return _member(archive, archive.getinfo(WEIGHTS), self.sha256)
        except MemoryError:
            raise
        except Exception as error:
            raise DamagedPlanError(f"{self.path}: its weights cannot be read ({first_line(error)}).") from error


@dataclass(frozen=True)
class SelfCheck:
    """The result of a comparison of a plan's gradient with another computation.

    Attributes:
        openvino: the version of OpenVINO.
        correlation: the lowest correlation of the test images, at most 1.
        ratio: the ratio of the norms of the two gradients, for the test image whose ratio is farthest from 1.
    """

    openvino: str
    correlation: float
    ratio: float


@dataclass(frozen=True, eq=False)
class Plan:
    """A network up to its logits, its target layer, and the description of its input and output.

    `head_weights` (K, C) are given if the head is GAP -> Dense, so that the gradient has a closed form. If not, `check`
    is the check of the gradient that OpenVINO computes.

    `network` is the XML part and `weights` the binary part of OpenVINO's format. The input of the network is
    (N, height, width, channels) float32; its outputs are `activations` (N, h, w, K) and `logits` (N, C).
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
    head_weights: Floats | None
    class_count: int
    network: bytes
    weights: bytes | KeptWeights
    preprocess_reason: str = ""
    preprocess_scores: Mapping[str, float] | None = None
    fit: FitMode = "squash"
    notes: tuple[str, ...] = ()
    head_reason: str = ""
    head_assumed: bool = False
    linearity: Linearity = "piecewise"
    check: SelfCheck | None = None

    def weight_bytes(self) -> bytes:
        """Give the weights; read them now if they are still in their file.

        Raises:
            DamagedPlanError: the weights cannot be read, or have another hash.
        """
        return self.weights.read() if isinstance(self.weights, KeptWeights) else self.weights

    @property
    def head(self) -> Head:
        """The head: the probabilities from the logits, and the closed-form gradient if there is one."""
        return Head(
            self.head_kind, self.class_count, self.head_weights, self.head_reason, self.head_assumed, self.linearity
        )


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan atomically.

    Raises:
        OSError: the file cannot be written.
        DamagedPlanError: the weights are still in another file, and cannot be read.
    """
    members = dict(zip(NETWORK, (plan.network, plan.weight_bytes()), strict=True))
    if plan.head_weights is not None:
        head = io.BytesIO()
        np.save(head, plan.head_weights, allow_pickle=False)
        members[DENSE] = head.getvalue()
    with atomically(path) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        archive.writestr(DESCRIPTION, json.dumps(_described(plan, members), sort_keys=True))
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
        "head_reason": plan.head_reason,
        "head_assumed": plan.head_assumed,
        "class_count": plan.class_count,
        "linearity": plan.linearity,
        "check": plan.check and asdict(plan.check),
        "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    }


def read_plan(path: Path, *, weights_later: bool = False) -> Plan:
    """Read a plan, and compare every member with its hash.

    Args:
        path: the file.
        weights_later: read and check the weights only when they are needed.

    Raises:
        ModelError: the file is not a plan, is damaged, or was written by another version of this program.
        MemoryError: the plan is too large for this machine.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, weights_later=weights_later)
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        # If one byte is changed, zipfile, json and NumPy can raise almost any error.
        reason = first_line(error)
        raise ModelError(f"{path}: this plan cannot be read ({reason}). Compile the model again.") from error


def _read(path: Path, file: BinaryIO, *, weights_later: bool) -> Plan:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        _check_members(archive, size)
        described = json.loads(archive.read(DESCRIPTION))
        if not isinstance(described, dict) or described.get("plan_version") != VERSION:
            raise ModelError(
                f"{path}: the plan was compiled by another version of gradcam-cli. Compile the model again."
            )
        hashes = described["members"]
        found = [member for member in archive.infolist() if member.filename != DESCRIPTION]
        _demand(set(hashes) == {member.filename for member in found}, "the list of its members")
        read = [member for member in found if not weights_later or member.filename != WEIGHTS]
        members = {member.filename: _member(archive, member, hashes[member.filename]) for member in read}
    weights = KeptWeights(path, str(hashes[WEIGHTS])) if weights_later else members[WEIGHTS]
    return _plan(described, members, weights)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, sha256: str) -> bytes:
    """Read a member, and compare it with its hash.

    Raises:
        ValueError: the member has another hash.
    """
    if member.file_size > LARGE:
        with archive.open(member) as stream:
            digest = hashlib.sha256()
            while data := stream.read(1 << 20):
                digest.update(data)
        _demand_undamaged(member, digest.hexdigest() == sha256)
        return archive.read(member)
    data = archive.read(member)
    _demand_undamaged(member, hashlib.sha256(data).hexdigest() == sha256)
    return data


def _demand_undamaged(member: zipfile.ZipInfo, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{member.filename} is damaged")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Check the names and sizes of the members; they are not compressed, so their sum is at most the file's size.

    Raises:
        ValueError: the members are not those of a plan, are compressed, or declare too many bytes.
    """
    found = archive.infolist()
    names = [member.filename for member in found if member.filename != DENSE]
    if sorted(names) != sorted((DESCRIPTION, *NETWORK)) or len(found) > len(names) + 1:
        raise ValueError("it does not have the members of a plan")
    if any(member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size for member in found):
        raise ValueError("its members are compressed")
    if sum(member.file_size for member in found) > size:
        raise ValueError("its members declare more bytes than the file has")
    if archive.getinfo(DESCRIPTION).file_size > LONGEST_DESCRIPTION:
        raise ValueError("its description is too long")


def _plan(described: dict[str, Any], members: dict[str, bytes], weights: bytes | KeptWeights) -> Plan:
    """Build the plan, and check the type of every value.

    Raises:
        ValueError, KeyError, TypeError: a value is missing or wrong.
    """
    height, width, channels = described["input_shape"]
    layer = _layer(described["layer"])
    class_count = described["class_count"]
    arrays = ((height, width, channels), (layer.height, layer.width, layer.channels), (layer.channels, class_count))
    _demand(all(type(side) is int and side > 0 for array in arrays for side in array), "its sizes")
    _demand(all(prod(array) <= MOST_NUMBERS for array in arrays), "its sizes")
    head = _dense(members, layer, class_count)
    check = described["check"]
    _demand((head is None) == (check is not None), "the check of its gradient")
    _demand(described["head_kind"] in get_args(HeadKind), "the kind of its head")
    _demand(described["linearity"] in get_args(Linearity), "the kind of its head")
    _demand(described["fit"] in FIT_MODES, "its fit")
    texts = (
        described["name"],
        described["preprocess_reason"],
        layer.path,
        layer.reason,
        described["head_reason"],
        *described["warnings"],
        *described["notes"],
        *layer.notes,
    )
    _demand(all(isinstance(text, str) for text in texts), "its texts")
    _demand(isinstance(described["sha256"], str | None), "the hash of its model")
    scores = described["preprocess_scores"]
    _demand(scores is None or _are_numbers(scores), "the scores of its preprocessing")
    return Plan(
        name=described["name"],
        sha256=described["sha256"],
        input_shape=(height, width, channels),
        preprocessing=PREPROCESSINGS[described["preprocess"]],
        preprocess_guessed=bool(described["preprocess_guessed"]),
        labels=Labels(tuple(Label(str(name), wnid) for name, wnid in described["labels"])),
        warnings=tuple(described["warnings"]),
        layer=layer,
        head_kind=described["head_kind"],
        head_weights=head,
        class_count=class_count,
        network=members[DEFINITION],
        weights=weights,
        preprocess_reason=described["preprocess_reason"],
        preprocess_scores=scores,
        fit=described["fit"],
        notes=tuple(described["notes"]),
        head_reason=described["head_reason"],
        head_assumed=bool(described["head_assumed"]),
        linearity=described["linearity"],
        check=None if check is None else _check(check),
    )


def _dense(members: dict[str, bytes], layer: TargetLayer, class_count: int) -> Floats | None:
    """Read the weights (K, C) of a GAP -> Dense head; None if the plan has none."""
    if DENSE not in members:
        return None
    stream = io.BytesIO(members[DENSE])
    # The header is checked first, because NumPy allocates memory for any declared shape.
    _demand(np.lib.format.read_magic(stream) == (1, 0), "the weights of its head")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    _demand(dtype == np.float32 and shape == (layer.channels, class_count), "the weights of its head")
    stream.seek(0)
    weights: Floats = np.load(stream, allow_pickle=False)
    return weights


def _check(described: dict[str, Any]) -> SelfCheck:
    found = SelfCheck(str(described["openvino"]), float(described["correlation"]), float(described["ratio"]))
    _demand(bool(np.isfinite((found.correlation, found.ratio)).all()), "the check of its gradient")
    return found


def _are_numbers(scores: object) -> bool:
    return isinstance(scores, dict) and all(type(score) in {int, float} for score in scores.values())


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be understood")


def _layer(described: dict[str, Any]) -> TargetLayer:
    placed = described.pop("geometry")
    notes = tuple(str(note) for note in described.pop("notes"))
    geometry = None if placed is None else MapGeometry(_line(placed["rows"]), _line(placed["columns"]))
    return TargetLayer(**described, geometry=geometry, notes=notes)


def _line(described: dict[str, Any]) -> CellLine:
    line = CellLine(**{name: float(value) for name, value in described.items()})
    numbers = (line.offset, line.stride, line.seen_from, line.seen_to)
    _demand(bool(np.isfinite(numbers).all()) and line.stride != 0 and line.seen_from < line.seen_to, "its geometry")
    return line
