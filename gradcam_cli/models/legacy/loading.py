"""Load a model file of any Keras version with the installed version."""

import json
import re
import tempfile
import warnings
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import keras
from keras.src.legacy.saving import saving_options, saving_utils
from keras.src.saving import serialization_lib

from gradcam_cli.errors import ModelError, first_line
from gradcam_cli.models.legacy.arguments import trimmed
from gradcam_cli.models.legacy.bare_operations import with_operations
from gradcam_cli.models.legacy.config import for_keras_3_config, is_keras_2
from gradcam_cli.models.legacy.h5_weights import attribute, load_h5_weights, refuse_theano_padding
from gradcam_cli.models.legacy.keras_weights import load_keras_2_archive
from gradcam_cli.models.legacy.layers import FORMER_OBJECTS
from gradcam_cli.models.safety.config import check_names, foreign
from gradcam_cli.models.subclasses import as_graphs

Node = dict[str, Any]

# An .h5 file of Keras 3 does not name modules.
IN_KERAS = {"module": "keras.layers"}
# Messages of Keras about a class or function that is neither part of Keras nor registered.
MISSING: Final = re.compile(
    r"Could not (?:locate|find|retrieve) (?:class|object|custom object) '?(?P<name>[\w>.]+)"
    r"|Could not (?:locate|find) function '?(?P<function>[\w>.]+)"
    r"|Could not interpret [\w ]+ identifier: (?:{.*'config': )?'?(?P<identifier>[\w>.]+)"
    r"|not a KerasSaveable subclass"
)
# The only other package whose classes may be loaded by name.
WITHOUT_HUB: Final = re.compile(r"class '(?P<name>\w+)' because its parent module keras_hub[\w.]* cannot be imported")


@dataclass(frozen=True)
class Source:
    """The content of a model file: its config, and the version and backend of Keras that wrote it."""

    config: Node
    version: str
    backend: str
    is_archive: bool


def load_network(path: Path, custom_objects: dict[str, Any] | None = None) -> keras.Model:
    """Load a .keras or .h5 file that has passed the preflight.

    If the installed Keras can read the file unchanged, Keras loads it. Otherwise Keras gets the translated config, and
    the weights are read from the file itself. The file is never copied.

    Args:
        path: the path of the file.
        custom_objects: classes and functions by their names, for files that need them.

    Raises:
        ModelError: Keras cannot make a layer of the model. The message has the layer, its class and the cause.
    """
    source = read_source(path)
    plain, replaced = as_graphs(source.config)
    config = trimmed(for_keras_3_config(path, plain, source.version))
    own = {**FORMER_OBJECTS, **(custom_objects or {})}
    if not source.is_archive and not is_keras_2(source.config, source.version):
        config, operations = with_operations(config)
        own |= operations
    try:
        if config == source.config:
            network = keras.models.load_model(path, custom_objects, compile=False, safe_mode=True)
        else:
            check_names(path, config, own=frozenset(custom_objects or ()))
            # Keras changes the config while it reads it.
            network = _made(config, own, is_h5=not source.is_archive)
            _refuse_unbuilt(path, network)
            _name_classes(network, replaced)
            _load_weights(path, source, network, config)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_why_not(path, config, own, error)) from error
    return network


def load_parts(
    architecture: Path, content: Node, weights: Path, custom_objects: dict[str, Any] | None = None
) -> keras.Model:
    """Make a network from its architecture, and load weights of any Keras version into it.

    Args:
        architecture: the JSON file, for messages.
        content: the content of the JSON file.
        weights: a .keras or HDF5 file.
        custom_objects: classes and functions by their names, for architectures that need them.

    Raises:
        ModelError: Keras cannot make a layer, or the weights do not fit.
    """
    version = str(content.get("keras_version", ""))
    plain, replaced = as_graphs(content)
    config = trimmed(for_keras_3_config(architecture, plain, version))
    own = {**FORMER_OBJECTS, **(custom_objects or {})}
    check_names(architecture, config, own=frozenset(custom_objects or ()))
    try:
        network = _made(config, own)
        _refuse_unbuilt(architecture, network)
        _name_classes(network, replaced)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_why_not(architecture, config, own, error)) from error
    try:
        _load_any_weights(weights, network, str(content.get("backend", "")), keras_2=is_keras_2(content, version))
    except (ModelError, ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise ModelError(
            f"{weights}: these weights do not fit the architecture {architecture.name} ({cause(error)}). Give the two "
            "files that were saved together: `model=JSON` `weights=FILE`"
        ) from error
    return network


def _load_any_weights(weights: Path, network: Any, backend: str, *, keras_2: bool) -> None:
    by_layer = False
    if not zipfile.is_zipfile(weights):
        with h5py.File(weights, "r") as file:
            by_layer = "layer_names" in file.attrs or "model_weights" in file
            if by_layer and keras_2:
                load_h5_weights(weights, file, network, backend)
                return
    suffix = ".keras" if zipfile.is_zipfile(weights) else ".h5" if by_layer else ".weights.h5"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras recognises the formats by their suffixes.
        named = Path(folder) / f"model{suffix}"
        named.symlink_to(weights.readlink() if weights.is_symlink() else weights.resolve())
        # Keras only warns about layers without stored weights, and leaves their random weights.
        warnings.filterwarnings("error", message="Skipping", category=UserWarning)
        network.load_weights(named)


def _refuse_unbuilt(path: Path, network: Any) -> None:
    """Refuse layers without a known input shape: Keras 2.0 to 2.3 did not save the InputLayer of a Sequential model."""
    if isinstance(network, keras.Sequential) and not network.built:
        raise ModelError(
            f"{path}: the file does not contain the shape of its input, so its weights cannot be "
            "loaded. In the original program, give the first layer input_shape=(height, width, "
            "channels) instead of an InputLayer,"
            f" model.load_weights('{path.name}'), and save it again."
        )


def _name_classes(network: Any, replaced: dict[str, str]) -> None:
    """Give models inside the network the class names of the file, because a .keras file names weights by classes."""
    for layer in network._flatten_layers(include_self=False) if replaced else ():  # noqa: SLF001 - no public walk
        if layer.name in replaced:
            layer.__class__ = type(replaced[layer.name], (type(layer),), {})


def _made(config: Node, own: Node, *, is_h5: bool = False) -> Any:
    """Make a network from a copy of a config, because Keras changes the config while it reads it."""
    if is_h5 and "module" not in config and not _names_modules(config):
        # An .h5 file of Keras 3 does not name modules.
        scope = saving_options.keras_option_scope(use_legacy_config=True)
        with scope, serialization_lib.SafeModeScope(safe_mode=True):
            return saving_utils.model_from_config(deepcopy(config), custom_objects=own)
    return keras.saving.deserialize_keras_object(deepcopy(config), custom_objects=own, safe_mode=True)


def _names_modules(config: Node) -> bool:
    inner = config.get("config")
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    return any("module" in layer for layer in layers)


def read_source(path: Path) -> Source:
    """Read the config of a model file. The content decides the format."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            names = archive.namelist()
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        config.pop("compile_config", None)  # the training configuration is never loaded
        return Source(config, str(metadata.get("keras_version", "")), "", is_archive=True)
    with h5py.File(path, "r") as file:
        config = json.loads(file.attrs["model_config"])
        return Source(config, attribute(file, "keras_version"), attribute(file, "backend"), is_archive=False)


def _load_weights(path: Path, source: Source, network: Any, config: Node) -> None:
    if not is_keras_2(source.config, source.version):
        network.load_weights(path)
    elif source.is_archive:
        load_keras_2_archive(path, network, config)
    else:
        if source.backend == "theano":
            refuse_theano_padding(path, network)
        with h5py.File(path, "r") as file:
            load_h5_weights(path, file, network, source.backend)


def _why_not(path: Path, config: Node, own: Node, error: Exception) -> str:
    """Name the layer that cannot be made and the cause, and say what to do."""
    if of_hub := WITHOUT_HUB.search(str(error)):
        return (
            f"{path}: the model has a {of_hub['name']} of keras_hub, which is not installed. Install "
            "it: pip install keras-hub"
        )
    culprit = _culprit(config, own)
    if culprit and (missing := MISSING.search(culprit[2])):
        function = missing["function"] or missing["identifier"]
        name = function or missing["name"] or culprit[1]
        return foreign(path, f"layer '{culprit[0]}'", name, is_function=function is not None)
    reason = f"layer '{culprit[0]}' ({culprit[1]}): {culprit[2]}" if culprit else cause(error)
    return (
        f"{path}: Keras {keras.__version__} cannot load this model: {reason}\n"
        "  If the layer is your own: `custom_objects=FILE.py` `trust_code=True`. Or, in the "
        "original program, replace it by a layer of Keras, copy its weights, and save it again."
    )


def _culprit(config: Node, own: Node) -> tuple[str, str, str] | None:
    """Find the first layer that cannot be made alone: its name, its class, and the cause."""
    inner = config.get("config")
    for layer in inner.get("layers", []) if isinstance(inner, dict) else []:
        if found := _culprit(layer, own):
            return found
        if isinstance(layer.get("config"), dict) and "layers" not in layer["config"]:
            try:
                module = {} if "module" in layer or not hasattr(keras.layers, str(layer["class_name"])) else IN_KERAS
                keras.saving.deserialize_keras_object({**layer, **module}, custom_objects=own, safe_mode=True)
            except Exception as error:  # noqa: BLE001 - whatever a constructor raises
                return str(layer["config"].get("name")), str(layer["class_name"]), cause(error)
    return None


def cause(error: Exception) -> str:
    """Give the sentence with the cause. Keras writes it after the whole config of a layer."""
    text = str(error)
    marker = "Exception encountered: "
    if marker in text:
        return first_line(ValueError(text.rsplit(marker, 1)[1]))
    return first_line(error)
