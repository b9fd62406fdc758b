"""The text of captions: fonts for characters, the width of a text, and its drawing.

Only this module draws letters with Pillow; OpenCV has only ASCII letters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unicodedata import bidirectional, category, name, normalize

import numpy as np
from numpy.typing import NDArray

from gradcam_cli.errors import UsageError
from gradcam_cli.text import UNSAFE

if TYPE_CHECKING:
    # Most overlays have no captions.
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# The packages of the extra `fonts`: Noto Sans for all scripts except those of East Asia, and Noto Sans CJK.
FONTS: Final = "manimgx_fonts"
FONTS_CJK: Final = "manimgx_fonts_cjk"
ELLIPSIS: Final = "…"
# Characters that every caption may need besides its label.
FIGURES: Final = "0123456789.,%<>-+e class" + ELLIPSIS
# These join or separate letters in Arabic and Indic scripts; other invisible characters are ignored.
JOINERS: Final = "\u200c\u200d"
INVISIBLE: Final = frozenset(f" {JOINERS}")
# No font has this character, so it is drawn as a missing character.
NONCHARACTER: Final = "\U0010ffff"
# Faces of the collection of Noto Sans CJK by language.
JAPANESE, KOREAN, CHINESE = 0, 1, 2


@dataclass(frozen=True)
class Face:
    """One face of a font file; without a path, the font inside Pillow, which has few characters besides ASCII."""

    path: Path | None = None
    index: int = 0

    def at(self, size: int, *, shaped: bool = True) -> "Font":
        """Load the face with an em of `size` pixels; `shaped` joins letters and places marks as a script wants it.

        Raises:
            OSError: the file cannot be read, or is not a font.
        """
        from PIL import ImageFont

        layout = None if shaped else ImageFont.Layout.BASIC
        if self.path is None:
            own = ImageFont.load_default(size)
            return own if shaped or isinstance(own, ImageFont.ImageFont) else own.font_variant(layout_engine=layout)
        font = ImageFont.truetype(self.path, size, self.index, layout_engine=layout)
        try:
            names = font.get_variation_names()
        except OSError:
            # One weight only.
            return font
        if b"Regular" in names:
            font.set_variation_by_name("Regular")
        return font

    def having(self, characters: Iterable[str]) -> frozenset[str]:
        """Give the characters that the face has: those that are not drawn as a missing character."""
        font = self.at(16, shaped=False)
        nothing = _picture(font, NONCHARACTER)
        return frozenset(each for each in characters if _picture(font, each) != nothing)


def _picture(font: "Font", character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@dataclass(frozen=True)
class Lettering:
    """Faces in the order of preference, and the characters that each of them has; others cannot be written."""

    faces: tuple[Face, ...] = (Face(),)
    characters: tuple[frozenset[str], ...] = (frozenset(FIGURES),)

    def writes(self, text: str) -> bool:
        """Whether there is a face for each character of a text."""
        return all(self._face(cluster) is not None for cluster in _clusters(plain(text)))

    def _face(self, cluster: str, current: int = 0) -> int | None:
        """Give the face for a letter and its marks, if possible the `current` one; None if no face has them."""
        needed = set(cluster) - INVISIBLE
        if needed <= self.characters[current]:
            return current
        return next((i for i, known in enumerate(self.characters) if needed <= known), None)

    def width(self, text: str, size: int) -> int:
        """Width in pixels of a text with an em of `size` pixels."""
        return round(sum(self.faces[face].at(size).getlength(part) for face, part in self._runs(text)))

    def shortened(self, text: str, size: int, width: int) -> str:
        """Give the text, or its longest beginning that fits in `width` pixels with an ellipsis, or ''."""
        text = plain(text)
        if self.width(text, size) <= width:
            return text
        fits, beyond = 0, len(text)
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            if self.width(_cut(text, middle), size) <= width:
                fits = middle
            else:
                beyond = middle
        return _cut(text, fits) if fits else ""

    def draw(
        self, pixels: NDArray[np.uint8], text: str, size: int, at: tuple[int, int], ink: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        """Draw a text on a part of a picture.

        Args:
            pixels: (H, W, 3) uint8.
            text: one line.
            size: pixels of an em.
            at: left end of the baseline, x and y.
            ink: colour, in the order of the picture's channels.

        Returns:
            (H, W, 3) uint8, a new array.
        """
        from PIL import Image, ImageDraw

        picture = Image.fromarray(pixels)
        canvas = ImageDraw.Draw(picture)
        left, baseline = float(at[0]), at[1]
        runs = list(self._runs(text))
        if _begins_right(text):
            runs.reverse()
        for face, part in runs:
            font = self.faces[face].at(size)
            canvas.text((left, baseline), part, ink, font, anchor="ls")
            left += font.getlength(part)
        return np.array(picture)

    def _runs(self, text: str) -> Iterator[tuple[int, str]]:
        """Split a text into parts of one face each; spaces belong to the part before them."""
        part, current = "", 0
        for cluster in _clusters(plain(text)):
            face = self._face(cluster, current) or 0
            if part and face != current:
                yield current, part
                part = ""
            part, current = part + cluster, face
        if part:
            yield current, part


def _clusters(text: str) -> Iterator[str]:
    """Split a text into letters, each with the marks that are drawn on it."""
    cluster = ""
    for each in text:
        if cluster and not category(each).startswith("M") and each not in JOINERS:
            yield cluster
            cluster = ""
        cluster += each
    if cluster:
        yield cluster


def plain(text: str) -> str:
    """Give a text in one line and composed form, without control characters."""
    kept = (
        each for each in normalize("NFC", " ".join(text.split())) if category(each) not in UNSAFE or each in JOINERS
    )
    return "".join(kept)


def _cut(text: str, count: int) -> str:
    return text[:count].rstrip() + ELLIPSIS


def _begins_right(text: str) -> bool:
    """Whether a text is written from right to left, by its first letter."""
    strong = (bidirectional(each) for each in text)
    return next((each for each in strong if each in {"L", "R", "AL"}), "L") != "L"


def lettering_of(labels: Iterable[str], font: Path | None = None) -> Lettering:
    """Choose faces that have as many characters of the labels as possible.

    A face that has all of them is first, so that all captions of a run look the same.

    Args:
        labels: all texts that may be written.
        font: the one font to use; without it Pillow's own, then those of the extra `fonts`.

    Raises:
        UsageError: `font` cannot be read as a font.
    """
    wanted = {each for label in labels for each in plain(label)} - INVISIBLE
    faces = faces_at_hand(wanted) if font is None else (Face(font),)
    characters = (wanted | set(FIGURES)) - INVISIBLE
    try:
        known = [face.having(characters) for face in faces]
    except OSError as error:
        raise UsageError(f"`font={font}`: the font cannot be read ({error}).") from error
    order = sorted(range(len(faces)), key=lambda i: known[i] != characters)
    return Lettering(tuple(faces[i] for i in order), tuple(known[i] for i in order))


def faces_at_hand(wanted: set[str]) -> tuple[Face, ...]:
    """Give the face inside Pillow and those of the extra `fonts`, if it is installed.

    Fonts of the operating system are not used, so that a run looks the same on every machine.
    """
    faces = [Face()]
    files = sorted(path for path in _files(FONTS, "*.ttf") if "Italic" not in path.name)
    # Noto Sans is the first: it has Latin, Cyrillic and Greek.
    faces += [Face(path) for path in sorted(files, key=lambda path: not path.name.startswith("NotoSans["))]
    faces += [Face(path, _language(wanted)) for path in _files(FONTS_CJK, "*.ttc")]
    return tuple(faces)


def _files(package: str, pattern: str) -> Iterator[Path]:
    """Find files of a package without running its code."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from Path(folder).glob(pattern)


def _language(characters: set[str]) -> int:
    """Choose the face of a CJK collection: the languages share characters, but draw some of them differently."""
    scripts = {name(each, "").partition(" ")[0] for each in characters}
    if scripts & {"HIRAGANA", "KATAKANA"}:
        return JAPANESE
    return KOREAN if "HANGUL" in scripts else CHINESE
