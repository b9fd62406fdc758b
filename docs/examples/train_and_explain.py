"""Train a small classifier, explain it in memory, show and save the explanations.

It runs as a script (`python docs/examples/train_and_explain.py FOLDER`), and cell by cell in a notebook: each block
between two `# %%` lines is one cell.
"""

# %% A data set of discs: red ones on the left are class 0, on the right class 1.
import sys
from pathlib import Path

import keras
import numpy as np

from gradcam_cli import Explainer

SIDE = 48
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "explained")
keras.utils.set_random_seed(7)
random = np.random.default_rng(7)


def picture(column: int) -> np.ndarray:
    """Draw a red disc on grey noise; its centre is in this column."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = random.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
    disc = (rows - random.integers(12, SIDE - 12)) ** 2 + (columns - column) ** 2 < 64
    pixels[disc] = (230, 40, 30)
    return pixels


classes = random.integers(0, 2, 256)
pictures = np.stack([picture(12 if c == 0 else SIDE - 12) for c in classes])

# %% A network whose last map keeps the place of what it sees.
model = keras.Sequential(
    [
        keras.Input((SIDE, SIDE, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="features"),
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(pictures, classes, epochs=6, verbose=0)

# %% Explain the model as it is in memory.
explainer = Explainer(model, labels=["left", "right"])
explanation = explainer.explain_one(pictures[0])
explanation  # in a notebook, this shows the overlay

# %% What a program takes from it.
best = explanation.best
print(f"{best.label}: probability {best.probability:.3f}, hottest pixel {best.peak}, heat on {best.area:.0%}")

# %% Save the same files that the command line writes.
for each in explainer.explain(list(pictures[:4]), top_k=2):
    each.save(folder)

# %% Train on: the explainer follows the model.
model.fit(pictures, classes, epochs=1, verbose=0)
print(explainer.explain_one(pictures[0]))
