"""`make bench`: compare the speed of the program, from files to files, with an upper bound for this machine.

The upper bound in images per second is `1 / (t_forward + (t_decode + t_fit + t_overlay + t_encode + t_write) / cores)`.
Each term is the time in seconds for one image. It is measured alone, on one core; the forward pass is measured on all
cores. The program runs three times, once before and twice after the measurement of the terms. The best run and the best
of three forward passes are used. The results are printed as a table and written as JSON.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from benchmarks.gradients import FOLDERS as MIDDLE_LAYERS
from benchmarks.gradients import HEADS, folder_rates, one_photograph
from benchmarks.photos import ROOT, SAMPLES, photographs, scratch
from benchmarks.programs import BATCH, named, process, program_rate, weights_of
from gradcam_cli.cores import available_cores
from gradcam_cli.settings import Precision

ENGINES: tuple[tuple[str, Precision], ...] = (
    ("tensorflow", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
# The numbers of images in each run. In a short run with few batches, the cores are less busy.
FOLDERS = (("resnet50", (200,)), ("efficientnetlite0", (1000, 100)))
# The number of images in a run at a middle layer, which needs a gradient pass for each image.
MIDDLE_COUNT = 100
VERSIONED = ("gradcam-cli", "tensorflow", "keras", "openvino", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Result:
    """One row: images per second of the program, of a forward pass alone, and of the upper bound."""

    model: str
    engine: str
    precision: str
    images: int
    program: float
    bare_forward: float
    bound: float
    terms_ms: dict[str, float]

    def row(self) -> str:
        """Give the row as text."""
        engine = f"{self.engine} {self.precision}"
        rates = f"{self.program:>9.1f} {self.bare_forward:>9.1f} {self.bound:>9.1f}"
        ratios = f"{self.program / self.bare_forward:>8.2f} {self.program / self.bound:>9.2f}"
        return f"{self.model:<18} {engine:<20} {self.images:>6} {rates} {ratios}"


COLUMNS = (("program", 9), ("forward", 9), ("bound", 9), ("/forward", 8), ("/bound", 9))
HEADER = f"{'model':<18} {'engine':<20} {'images':>6} " + " ".join(f"{name:>{width}}" for name, width in COLUMNS)


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """Give the mean wall time of one call in seconds, after one call that is not measured."""
    function()
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - started) / repeats


def tensorflow_forward_seconds(network: Any, shape: tuple[int, ...]) -> float:
    """Give the seconds for one image of a forward pass in TensorFlow, for a batch in memory, on all cores."""
    import numpy as np
    import tensorflow as tf

    signature = tf.TensorSpec((BATCH, *shape), tf.float32)
    bare = tf.function(lambda x: network(x, training=False), input_signature=[signature], autograph=False)
    batch = tf.constant(np.random.default_rng(0).normal(size=(BATCH, *shape)).astype(np.float32))
    return min(seconds(lambda: bare(batch), 8) for _ in range(3)) / BATCH


def openvino_forward_seconds(plan: Any, precision: Precision) -> float:
    """Give the seconds for one image of a forward pass in OpenVINO, with one simultaneous pass for each core."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from gradcam_cli.engines.compiled_network import CompiledNetwork
    from gradcam_cli.engines.openvino import read_network

    cores = available_cores()
    model = read_network(plan)
    model.reshape([BATCH, *plan.input_shape])
    network = CompiledNetwork(model, streams=cores, precision=precision)
    batch = np.random.default_rng(0).normal(size=(BATCH, *plan.input_shape)).astype(np.float32)
    with ThreadPoolExecutor(cores) as pool:

        def side_by_side() -> None:
            list(pool.map(lambda _: network([batch]), range(cores)))

        return min(seconds(side_by_side, 8) for _ in range(3)) / (BATCH * cores)


def terms(photos: Path, side: int) -> dict[str, float]:
    """Give the seconds for one image in each stage except the network, measured alone on one core."""
    import numpy as np

    from gradcam_cli.imaging.geometry import Size, apply_fit, map_to_source, plan_fit, seen_box
    from gradcam_cli.imaging.heatmap import summarise
    from gradcam_cli.imaging.overlay import paint
    from gradcam_cli.imaging.preprocessing import PREPROCESSINGS
    from gradcam_cli.inputs.decoding import decode, encode_jpeg
    from gradcam_cli.inputs.files import read_file, sha256
    from gradcam_cli.settings import Limits, OverlaySettings

    limits, style = Limits(), OverlaySettings()
    data = [read_file(str(p), limits) for p in sorted(photos.iterdir())[:40]]
    decoded = [decode(d, limits) for d in data]
    fits = [plan_fit(photo.size, Size(side, side), "squash") for photo in decoded]
    raw = np.random.default_rng(0).random((7, 7)).astype(np.float32)

    def heat(i: int) -> Any:
        found = map_to_source(raw, fits[i])
        summarise(found, flat=False)
        return paint(decoded[i].pixels, found, seen_box(fits[i], decoded[i].size), style)

    painted = [heat(i) for i in range(len(data))]
    encoded = [encode_jpeg(p, style.quality) for p in painted]
    with scratch() as folder:

        def write(i: int) -> None:
            for name in ("a.jpg", "a.json"):
                (Path(folder) / f"{name}.tmp").write_bytes(encoded[i])
                (Path(folder) / f"{name}.tmp").replace(Path(folder) / name)

        rooms: dict[str, Callable[[int], Any]] = {
            "decode": lambda i: (sha256(data[i]), decode(data[i], limits)),
            "fit": lambda i: PREPROCESSINGS["tf"](apply_fit(decoded[i].pixels, fits[i])),
            "overlay": heat,
            "encode": lambda i: encode_jpeg(painted[i], style.quality),
            "write": write,
        }
        return {name: _each(work, len(data)) for name, work in rooms.items()}


def _each(work: Callable[[int], Any], count: int) -> float:
    return seconds(lambda: [work(i) for i in range(count)], 3) / count


def measure(
    model: str, counts: tuple[int, ...], folder: Path, engines: tuple[tuple[str, Precision], ...] = ENGINES
) -> Iterator[Result]:
    """Measure one model with every engine, for each number of images; weights that would be downloaded are random."""
    from gradcam_cli.engines.compiling import compile_plan
    from gradcam_cli.models.loading import load_classifier
    from gradcam_cli.models.request import locate_model
    from gradcam_cli.settings import ModelSettings

    with ExitStack() as stack:
        photos = {count: stack.enter_context(photographs(folder, count)) for count in counts}
        weights = stack.enter_context(weights_of(model))
        classifier = load_classifier(locate_model(ModelSettings(model=model, weights=weights), lambda *_: None))
        plan = compile_plan(classifier, "auto")
        for engine, precision in engines:
            options = [*named(model, weights), "--engine", engine, "--precision", precision]
            rates = {count: [program_rate(photos[count], options)] for count in counts}
            if engine == "tensorflow":
                forward = tensorflow_forward_seconds(classifier.network, classifier.input_shape)
            else:
                forward = openvino_forward_seconds(plan, precision)
            rooms = terms(photos[counts[0]], classifier.input_shape[0])
            for count in counts:
                rates[count] += [program_rate(photos[count], options) for _ in range(2)]
            bound = 1 / (forward + sum(rooms.values()) / available_cores())
            milliseconds = {name: round(t * 1e3, 3) for name, t in {"forward": forward, **rooms}.items()}
            for count in counts:
                yield Result(model, engine, precision, count, max(rates[count]), 1 / forward, bound, milliseconds)


def whole_process() -> dict[str, dict[str, float]]:
    """Measure the wall time and peak memory of processes: one image without a plan, one image with a plan, and --help.

    The first use is compared with a process that imports TensorFlow, builds the same network and traces it.
    """
    photo = ROOT / "sample_images" / "chelsea.jpg"
    program = ["-m", "gradcam_cli"]
    found: dict[str, dict[str, float]] = {}
    with scratch() as folder:
        explain = [*program, "explain", str(photo), "-o", f"{folder}/out", "-q", "--overwrite"]
        explain += ["--model", "efficientnetlite0"]
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        for _ in range(3):
            shutil.rmtree(Path(folder) / "gradcam-cli", ignore_errors=True)
            _keep_best(found, "import, build, trace", ["-c", BUILT_AND_TRACED], environment)
            _keep_best(found, "first use", explain, environment)
        for _ in range(5):
            _keep_best(found, "plan in the cache", explain, environment)
            _keep_best(found, "--help", [*program, "--help"], environment)
    return found


BUILT_AND_TRACED = """
import tensorflow as tf
from gradcam_cli.models.loading import load_classifier
from gradcam_cli.models.request import locate_model
from gradcam_cli.settings import ModelSettings
network = load_classifier(locate_model(ModelSettings(model="efficientnetlite0"), print)).network
signature = [tf.TensorSpec((1, 224, 224, 3), tf.float32)]
tf.function(lambda x: network(x, training=False), input_signature=signature, autograph=False).get_concrete_function()
"""


def _keep_best(found: dict[str, dict[str, float]], name: str, args: list[str], environment: dict[str, str]) -> None:
    result = process(args, environment)
    found[name] = min(found.get(name, result), result, key=lambda r: r["seconds"])


def several_classes(model: str, engine: str, folder: Path, count: int) -> dict[str, float]:
    """Measure images per second with one overlay for each image, and with five; the runs alternate."""
    with photographs(folder, count) as photos, weights_of(model) as weights:
        base = [*named(model, weights), "--engine", engine, "--top-k"]
        rounds = [[program_rate(photos, [*base, k]) for k in ("1", "5")] for _ in range(2)]
    one, five = (max(rates) for rates in zip(*rounds, strict=True))
    return {"one": one, "five": five}


def middle_layers(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Measure images per second at a middle layer with both engines."""
    with photographs(folder, count) as photos:
        return {f"{model} at {layer}": folder_rates(model, layer, photos, 2) for model, layer in MIDDLE_LAYERS}


def memory(folder: Path, count: int) -> dict[str, float]:
    """Measure the peak memory in MB with `count` images, and with ten times as many."""
    found = {}
    for images in (count, 10 * count):
        with photographs(folder, images) as photos, scratch() as out:
            args = ["-m", "gradcam_cli", "explain", str(photos), "-o", out, "-q", "--model", "efficientnetlite0"]
            found[f"{images} photographs"] = process([*args, "--precision", "bfloat16"], dict(os.environ))["peak_mb"]
    return found


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results.json")
@click.option("--quick", is_flag=True, help="A tenth of the images.")
def main(photos: Path, target: Path, quick: bool) -> None:
    """Measure the program against the bound, and print a table."""
    share = 10 if quick else 1
    click.echo(HEADER)
    results = []
    for model, counts in FOLDERS:
        for result in measure(model, tuple(count // share for count in counts), photos):
            results.append(result)
            click.echo(result.row())
    processes = whole_process()
    for name, figures in processes.items():
        click.echo(f"one process, {name}: {figures['seconds']:.2f} s, {figures['peak_mb']:.0f} MB")
    first, traced = processes["first use"]["seconds"], processes["import, build, trace"]["seconds"]
    click.echo(f"first use against import, build and trace: {first / traced:.2f}")
    heads = {head: one_photograph(head, 5) for head in HEADS}
    for head, figures in heads.items():
        click.echo(f"one process, MobileNetV2, {head}: {figures['seconds']:.2f} s, {figures['peak_mb']:.0f} MB")
    classes = {}
    for model, counts in FOLDERS:
        for engine in ("tensorflow", "openvino"):
            rates = several_classes(model, engine, photos, counts[0] // share)
            classes[f"{model} {engine}"] = rates
            click.echo(f"{model} {engine}: five classes take {rates['one'] / rates['five']:.2f} times as long as one")
    middles = middle_layers(photos, MIDDLE_COUNT // share)
    for where, rates in middles.items():
        click.echo(f"{where}: openvino {rates['openvino'] / rates['tensorflow']:.2f} times as fast as tensorflow")
    peaks = memory(photos, 1000 // share)
    click.echo("memory: " + ", ".join(f"{peak:.0f} MB at {name}" for name, peak in peaks.items()))
    machine = {
        "cores": available_cores(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONED},
    }
    record = {
        "machine": machine,
        "results": [vars(result) for result in results],
        "processes": processes,
        "heads": heads,
        "middle_layers": middles,
        "classes": classes,
        "memory": peaks,
    }
    target.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
