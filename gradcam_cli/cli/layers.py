"""`gradcam-cli layers MODEL`."""

from typing import Any

from gradcam_cli.cli.command import argument, command
from gradcam_cli.cli.console import download_bar, show_list
from gradcam_cli.cli.options import examples, list_option, setting_options, verbose_option
from gradcam_cli.process.streams import quiet_libraries
from gradcam_cli.settings import ModelSettings


@command(
    epilog=examples(
        "gradcam-cli layers resnet50",
        "gradcam-cli layers my.keras --json | jq -r '.[] | select(.auto) | .path'",
        head="Example",
    )
)
@argument("model")
@setting_options(ModelSettings, "input_size", "output_name", "image_input")
@setting_options(ModelSettings, "custom_objects", "trust_code", "token_grid")
@list_option()
@verbose_option
def layers(as_json: bool, verbose: bool, **options: Any) -> None:
    """List the layers of MODEL that can be explained, and the layer that `auto` chooses.

    MODEL is a name (see `gradcam-cli models`) or a .keras, .h5, .onnx or OpenVINO .xml file. Weights are not
    downloaded.
    """
    with quiet_libraries(verbose=verbose):
        from gradcam_cli.engines.layer_list import list_model_layers
        from gradcam_cli.engines.layer_names import remember_layers
        from gradcam_cli.models.listed import layers_table

        found = list_model_layers(ModelSettings(**options), download_bar)
        remember_layers(options["model"], (layer.path for layer in found))
    show_list(found, layers_table, as_json=as_json)
