"""Broken folders of training data: each a function (folder) -> None that makes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96


def scene(seed: int, side: int = SIDE) -> Image.Image:
    """Rectangles and discs of random colours and places."""
    draws = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(draws.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for k in range(8):
        x, y, w, h = (draws.random(4) * side * (0.9, 0.9, 0.5, 0.5)).tolist()
        box = (x, y, x + 4 + w, y + 4 + h)
        shape = draw.ellipse if k % 2 else draw.rectangle
        shape(box, fill=tuple(draws.integers(0, 256, 3).tolist()))
    return image


def drawn(image: Image.Image) -> Image.Image:
    """The other side of a pair: other colours, the same places."""
    x = np.asarray(image.convert("L")).astype(int)
    return Image.fromarray(((x * 7) % 256).astype(np.uint8)).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def pairs(root: Path, count: int = 12, order: Callable[[int], int] = lambda k: k) -> None:
    """A/ and B/ with equal names; B of pair k is that of scene order(k)."""
    for k in range(count):
        save(scene(k), root / "A" / f"{k:02}.png")
        save(drawn(scene(order(k))), root / "B" / f"{k:02}.png")


def domains(root: Path, *names: str) -> None:
    for n, name in enumerate(names):
        for k in range(6):
            save(scene(100 * n + k), root / "train" / name / f"{k}.png")


def table(root: Path) -> None:
    for k in range(6):
        save(scene(k), root / "images" / f"{k}.png")
    rows = "\n".join(f"{k}.png {1 if k % 2 else -1} 1" for k in range(6))
    (root / "list_attr.txt").write_text(f"6\nSmiling Young\n{rows}\n")


def wrong_layout(root: Path) -> None:
    for k in range(6):
        save(scene(k), root / "photos" / f"{k}.png")
        save(drawn(scene(k)), root / "sketches" / f"{k}.png")


def foreign_file(root: Path) -> None:
    pairs(root)
    (root / "A" / "03.png").write_bytes(b"%PDF-1.4 no picture")


def grey_among_colour(root: Path) -> None:
    domains(root, "cat", "dog")
    path = root / "train" / "cat" / "2.png"
    Image.open(path).convert("L").save(path)


def one_pixel(root: Path) -> None:
    domains(root, "cat", "dog")
    save(scene(5).resize((1, 1)), root / "train" / "dog" / "5.png")


def sixteen_bits(root: Path) -> None:
    domains(root, "cat", "dog")
    deep = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE), np.uint16)
    Image.fromarray(deep).save(root / "train" / "cat" / "1.png")


def cmyk(root: Path) -> None:
    domains(root, "cat", "dog")
    scene(77).convert("CMYK").save(root / "train" / "dog" / "9.jpg")


def duplicated_test(root: Path) -> None:
    domains(root, "cat", "dog")
    for k in range(3):
        save(scene(k), root / "test" / "cat" / f"t{k}.png")
        save(scene(100 + k).resize((80, 80)), root / "test" / "dog" / f"t{k}.png")


def shuffled_pairs(root: Path) -> None:
    pairs(root, 16, lambda k: (k + 5) % 16)


def shifted_pairs(root: Path) -> None:
    for k in range(16):
        whole = scene(k, SIDE + 16)
        save(whole.crop((12, 0, 12 + SIDE, SIDE)), root / "A" / f"{k}.png")
        save(drawn(whole).crop((0, 0, SIDE, SIDE)), root / "B" / f"{k}.png")


def empty_domain(root: Path) -> None:
    domains(root, "cat", "dog")
    (root / "train" / "bird").mkdir()


def wrong_table(root: Path) -> None:
    table(root)
    path = root / "list_attr.txt"
    text = path.read_text().replace("1.png 1 1", "1.png 2 1").replace("3.png 1 1", "3.png 1")
    path.write_text(text + "gone.png 1 1\n")


def links_in_a_loop(root: Path) -> None:
    domains(root, "cat", "dog")
    (root / "train" / "cat" / "again").symlink_to(root, target_is_directory=True)
    (root / "train" / "dog" / "self.png").symlink_to(root / "train" / "dog" / "self.png")


def photographs_as_pairs(root: Path) -> None:
    for k in range(7):
        save(scene(k, 240).resize((192, 128), Image.Resampling.BICUBIC), root / f"{k}.png")


# name: (maker, kind of the finding, whether training refuses it, words of the finding)
def unequal_domains(root: Path) -> None:
    domains(root, "cat", "dog")
    for k in range(6, 40):
        save(scene(k), root / "train" / "cat" / f"{k}.png")


def rare_attribute(root: Path) -> None:
    for k in range(40):
        save(scene(k, 32), root / "images" / f"{k}.png")
    rows = "\n".join(f"{k}.png {1 if k % 2 else -1} {1 if k == 7 else -1}" for k in range(40))
    (root / "list_attr.txt").write_text(f"40\nSmiling Bald\n{rows}\n")


def two_labels(root: Path) -> None:
    domains(root, "cat", "dog")
    save(scene(3), root / "train" / "dog" / "9.png")  # also cat/3.png


def twice(root: Path) -> None:
    domains(root, "cat", "dog")
    save(scene(3), root / "train" / "cat" / "9.png")


def one_colour(root: Path) -> None:
    domains(root, "cat", "dog")
    save(Image.new("RGB", (SIDE, SIDE), (90, 60, 30)), root / "train" / "dog" / "4.png")


def another_shape(root: Path) -> None:
    domains(root, "cat", "dog")
    save(scene(50, 2 * SIDE).crop((0, 0, 2 * SIDE, SIDE)), root / "train" / "cat" / "1.png")


def raw_files(root: Path) -> None:
    domains(root, "cat", "dog")
    (root / "train" / "cat" / "IMG_7.CR2").write_bytes(b"II*\0")


def truncated(root: Path) -> None:
    domains(root, "cat", "dog")
    path = root / "train" / "cat" / "7.jpg"
    save(scene(60), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN: dict[str, tuple[Callable[[Path], None], str, bool, tuple[str, ...]]] = {
    "wrong layout": (wrong_layout, "layout", False, ("photos/", "sketches/", "A/", "data pair")),
    "another kind": (foreign_file, "unreadable", True, ("A/03.png", "not a picture")),
    "grey": (grey_among_colour, "mode", False, ("1 of 12", "grey", "cat/2.png")),
    "1 pixel": (one_pixel, "tiny", False, ("1 picture", "1x1", "dog/5.png")),
    "16 bits": (sixteen_bits, "mode", False, ("16 bits", "cat/1.png", "8 bits")),
    "CMYK": (cmyk, "mode", False, ("CMYK", "dog/9.jpg", "sRGB")),
    "test in train": (duplicated_test, "leak", False, ("6 pictures", "3 of them exactly")),
    "shuffled": (shuffled_pairs, "mispaired", False, ("16 pairs", "are not aligned", "cyclegan")),
    "shifted": (shifted_pairs, "shifted", False, ("16 pairs", "12 pixels to the right")),
    "empty domain": (empty_domain, "empty", True, ("bird has no pictures",)),
    "wrong table": (wrong_table, "table", True, ("2 bad rows", "value '2'", "1 values, not 2")),
    "unequal": (unequal_domains, "imbalance", False, ("cat: 40", "dog: 6", "balance")),
    "rare attribute": (rare_attribute, "imbalance", False, ("Bald (2.5% yes)",)),
    "two labels": (two_labels, "labels", False, ("in several domains", "dog/9.png")),
    "twice": (twice, "duplicates", False, ("several times", "cat/3.png = train/cat/9.png")),
    "one colour": (one_colour, "flat", False, ("1 picture of one colour", "dog/4.png")),
    "another shape": (another_shape, "aspect", False, ("cat/1.png (192x96)", "crop them")),
    "raw": (raw_files, "raw", False, ("IMG_7.CR2", "develop them")),
    "truncated": (truncated, "unreadable", True, ("cat/7.jpg", "skip_bad=true")),
    "loop": (links_in_a_loop, "links", False, ("2 entries", "linked folder", "broken link")),
}
