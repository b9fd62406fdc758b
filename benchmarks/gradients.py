"""Measure heads and layers without a closed-form gradient: `python -m benchmarks.gradients`.

It measures a process that explains one image with its plan in the cache, and runs over a folder of images at a middle
layer, alternately with both engines. The weights are random. The results and the load of the machine are printed.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click

from benchmarks.photos import ROOT, SAMPLES, photographs, scratch
from benchmarks.programs import named, process, program_rate, weights_of

PHOTO = ROOT / "sample_images" / "chelsea.jpg"
MIDDLE = "block_12_add"
HEADS = ("GAP, Dense(128), Dense", "Flatten, Dense, Dense", "GAP, LayerNorm, Dense", "a middle layer")
FOLDERS = (("resnet50", "conv4_block6_out"), ("efficientnetb0", "block5c_add"))
ENGINES = ("tensorflow", "openvino")


def network(head: str) -> Any:
    """Make a MobileNetV2 with one of the heads in `HEADS`."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(224, 224, 3))
    x = layers.Flatten()(base.output) if head.startswith("Flatten") else layers.GlobalAveragePooling2D()(base.output)
    if head.endswith("Dense, Dense") or "128" in head:
        x = layers.Dense(128 if "128" in head else 64, "relu")(x)
    elif "LayerNorm" in head:
        x = layers.LayerNormalization()(x)
    return keras.Model(base.input, layers.Dense(10, "softmax")(x))


def one_photograph(head: str, repeats: int) -> dict[str, float]:
    """Measure the wall time and peak memory of a process with a cached plan: the fastest of several runs."""
    with scratch() as folder:
        model = Path(folder) / "model.keras"
        network(head).save(model)
        layer = MIDDLE if head == "a middle layer" else "auto"
        args = ["-m", "gradcam_cli", "explain", str(PHOTO), "-o", f"{folder}/out", "-q", "--overwrite"]
        args += ["--model", str(model), "--layer", layer, "--preprocess", "tf", "--engine", "openvino"]
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        process(args, environment)
        return min((process(args, environment) for _ in range(repeats)), key=lambda found: found["seconds"])


def folder_rates(model: str, layer: str, photos: Path, repeats: int) -> dict[str, float]:
    """Measure images per second of both engines, which run alternately; the best run of each is used."""
    with weights_of(model) as weights:
        options = [*named(model, weights), "--layer", layer, "--engine"]
        rounds = [{engine: program_rate(photos, [*options, engine]) for engine in ENGINES} for _ in range(repeats)]
    return {engine: max(rates[engine] for rates in rounds) for engine in ENGINES}


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, show_default=True)
@click.option("--count", type=int, default=100, show_default=True, help="Photographs of a folder.")
@click.option("--repeats", type=int, default=3, show_default=True)
def main(photos: Path, count: int, repeats: int) -> None:
    """Measure, and print a line for each figure."""
    for head in HEADS:
        found = one_photograph(head, repeats)
        click.echo(f"one photograph, MobileNetV2, {head}: {found['seconds']:.2f} s, {found['peak_mb']:.0f} MB")
    with photographs(photos, count) as folder:
        for model, layer in FOLDERS:
            rates = folder_rates(model, layer, folder, repeats)
            shown = ", ".join(f"{engine} {rate:.1f}" for engine, rate in rates.items())
            click.echo(f"{model} at {layer}, images/s: {shown}, ratio {rates['openvino'] / rates['tensorflow']:.2f}")
    click.echo(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
