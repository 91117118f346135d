"""`Translator`: every kind of picture in, the same kind out, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import img2img
from img2img.errors import PictureError, UsageError
from img2img.images import read_picture
from img2img.inference import Translator
from tests.conftest import picture, stargan


@pytest.fixture(scope="module")
def translator(onnx_file: Path) -> Translator:
    return Translator(onnx_file, device="cpu")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.asarray(picture(40, 32))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_three_lines_in_a_notebook(onnx_file: Path, tmp_path: Path) -> None:
    picture(40, 32).save(tmp_path / "photo.jpg")
    cell = (
        "import img2img\n"
        f"translator = img2img.load({str(onnx_file)!r})\n"
        "image = translator('photo.jpg')\n"
    )
    names: dict[str, object] = {}
    program = compile(cell.replace("photo.jpg", str(tmp_path / "photo.jpg")), "cell", "exec")
    exec(program, names)
    image = names["image"]
    assert isinstance(image, Image.Image) and (image.size, image.mode) == ((40, 32), "RGB")
    assert image._repr_png_()  # how a notebook shows it


def test_arrays_keep_type_and_shape(translator: Translator, pixels: np.ndarray) -> None:
    answer = translator(pixels)
    assert answer.dtype == np.uint8 and answer.shape == pixels.shape
    assert np.abs(answer.astype(int) - pixels.astype(int)).max() > 5  # it does something
    deep = translator(pixels.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - answer).max() <= 0.51
    assert np.array_equal(translator(np.asfortranarray(pixels)), answer)


def test_bytes_come_back_in_their_format(translator: Translator, pixels: np.ndarray) -> None:
    expected = translator(pixels)
    for format, written in (("PNG", "PNG"), ("BMP", "BMP"), ("JPEG", "JPEG"), ("GIF", "PNG")):
        answer = translator(encoded(Image.fromarray(pixels), format))
        assert isinstance(answer, bytes)
        with Image.open(io.BytesIO(answer)) as image:
            assert image.format == written and image.size == (40, 32)
            if format in ("PNG", "BMP"):
                assert np.array_equal(np.asarray(image), expected)
    see_through = Image.fromarray(pixels).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((40, 32)))
    with Image.open(io.BytesIO(translator(encoded(see_through, "PNG")))) as image:
        assert np.array_equal(np.asarray(image)[:, :, :3], expected)
        assert np.array_equal(np.asarray(image)[:, :, 3], np.asarray(see_through)[:, :, 3])


def test_a_path_gives_an_image(translator: Translator, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for given in (path, str(path)):
        image = translator(given)
        assert np.array_equal(np.asarray(image), translator(pixels))


def test_images_of_every_mode(translator: Translator, pixels: np.ndarray) -> None:
    expected = translator(pixels)
    image = Image.fromarray(pixels)
    assert np.array_equal(np.asarray(translator(image)), expected)
    clear = image.convert("RGBA")
    assert translator(clear).mode == "RGB"  # nothing of it is transparent
    clear.putalpha(77)
    answer = translator(clear)
    assert answer.mode == "RGBA" and set(np.asarray(answer)[:, :, 3].flat) == {77}
    for mode in ("L", "P", "CMYK", "1", "LA", "I;16"):
        assert translator(image.convert("I").convert("I;16") if mode == "I;16"
                          else image.convert(mode)).size == (40, 32)  # fmt: skip
    with pytest.raises(PictureError, match="floating point"):
        translator(image.convert("F"))


def test_an_image_is_turned_upright_and_stays_as_it_was(
    translator: Translator, pixels: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"
    lying = Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "PNG", exif=exif)))
    upright = np.rot90(pixels, -1)
    answer = translator(lying)
    assert np.array_equal(np.asarray(answer), translator(np.ascontiguousarray(upright)))
    assert lying.getexif()[0x0112] == 6
    reported = Image.Exif()
    reported.load(answer.info["exif"])
    assert reported[0x013B] == "somebody" and reported.get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_tensors(translator: Translator, pixels: np.ndarray, kind: torch.dtype) -> None:
    x = torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 127.5 - 1
    y = translator(x.to(kind))
    assert y.dtype == kind and y.shape == x.shape and y.abs().max() <= 1
    with torch.no_grad():
        expected = torch.from_numpy(translator(pixels).transpose(2, 0, 1).copy()) / 127.5 - 1
    assert (y.float() - expected).abs().max() < 1.3 / 127.5
    batch = translator(torch.stack([x, -x, x]))
    assert batch.shape == (3, 3, 32, 40) and torch.equal(batch[0], batch[2])
    assert (batch[0] - translator(x)).abs().max() < 1e-4
    assert translator(x[:1]).shape == (3, 32, 40)  # grey in, as three equal channels


def test_a_tensor_passes_through_16_bits_only(pixels: np.ndarray) -> None:
    x = torch.linspace(-1, 1, 3 * 32 * 40).reshape(3, 32, 40)
    with Translator("sketch2avatar", device="cpu", strength=0) as identity:
        assert (identity(x) - x).abs().max() < 2e-5


def test_lists_keep_their_order_and_kinds(
    translator: Translator, pixels: np.ndarray, tmp_path: Path
) -> None:
    others = [np.asarray(picture(40 + 8 * (k % 2), 32, k)) for k in range(5)]
    answers = translator(others)
    assert isinstance(answers, list)
    for each, answer in zip(others, answers, strict=True):
        assert np.abs(answer.astype(int) - translator(each).astype(int)).max() <= 1
    assert translator([]) == []
    mixed = translator((Image.fromarray(pixels), Image.fromarray(others[0])))
    assert [type(m) for m in mixed] == [Image.Image] * 2


def test_options_hold_for_one_call(translator: Translator, pixels: np.ndarray) -> None:
    assert np.array_equal(translator(pixels, strength=0.0), pixels)
    large = np.asarray(picture(160, 120))
    whole = translator(large)
    tiled = translator(large, tile=32)
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1
    assert not np.array_equal(translator(large, size=40), whole)
    assert np.array_equal(translator(large), whole)
    for options, words in (
        ({"size": 3}, "`size` 3"),
        ({"strength": 2}, "`strength` 2"),
        ({"tile": 0}, "0 pixels"),
        ({"domains": "Dark"}, "has no domains"),
    ):
        with pytest.raises(UsageError, match=words):
            translator(pixels, **options)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected option 'sise'"):
        translator(pixels, sise=40)  # type: ignore[call-overload]


def test_domains(tmp_path: Path, pixels: np.ndarray) -> None:
    path = stargan(tmp_path / "m.safetensors")
    with Translator(path, device="cpu", domains="Dark") as translator:
        dark = translator(pixels)
        assert np.array_equal(dark, translator(pixels, domains=[1, 0, 0]))
        assert np.array_equal(dark, translator(pixels, domains=np.array([1.0, 0.0, 0.0])))
        both = translator(pixels, domains="Dark+Glasses")
        assert np.array_equal(both, translator(pixels, domains=("Dark", "Glasses")))
        assert not np.array_equal(both, dark)
        for domains, words in (
            ("Drak", "Did you mean 'Dark'"),
            ("all", "one domain at a time"),
            ([1, 0], "takes 3 numbers from 0 to 1, for Dark"),
            ([1, 0, 2], "takes 3 numbers from 0 to 1"),
        ):
            with pytest.raises(UsageError, match=words):
                translator(pixels, domains=domains)  # type: ignore[call-overload]
    with (
        Translator(path, device="cpu") as translator,
        pytest.raises(UsageError, match="several domains: Dark, Fair, Glasses"),
    ):
        translator(pixels)
    with pytest.raises(UsageError, match="no domain 'Drak'"):
        Translator(path, device="cpu", domains="Drak")


def test_what_is_no_picture(translator: Translator, pixels: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    for given, words in (
        (3, "cannot use a value of type int as a picture; give bytes"),
        (None, "cannot use a value of type NoneType as a picture"),
        (pixels.astype(np.float32), "array of float32; pictures are uint8"),
        (pixels[:, :, 0], r"shape \(32, 40\); pictures are \(H, W, 3\)"),
        (pixels[:0], "shape"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "tensor of torch.uint8"),
        (torch.zeros(2, 8, 8), r"shape \(2, 8, 8\)"),
        (torch.full((3, 8, 8), 255.0), r"outside \[-1, 1\]"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (b"text", "not a picture"),
        (b"", "not a picture"),
        (encoded(Image.fromarray(pixels), "PNG")[:200], "truncated"),
        (tmp_path / "text.png", "text.png: cannot be decoded"),
        (tmp_path / "missing.png", "no such file"),
        ([pixels, 3], "cannot use a value of type int as a picture"),
    ):
        with pytest.raises((UsageError, PictureError), match=words):
            translator(given)  # type: ignore[call-overload]


def test_a_closed_one_says_so(onnx_file: Path, pixels: np.ndarray) -> None:
    with Translator(onnx_file, device="cpu") as translator:
        assert "test" in repr(translator) and translator.size == 0
    with pytest.raises(UsageError, match="Translator of model test is closed"):
        translator(pixels)
    translator.close()


@pytest.mark.parametrize("file", ["onnx_file", "model_file"])
def test_threads_may_share_it(file: str, request: pytest.FixtureRequest) -> None:
    pictures = [np.asarray(picture(96 + 8 * k, 64, k)) for k in range(4)]
    with Translator(request.getfixturevalue(file), device="cpu") as translator:
        expected = [translator(p) for p in pictures]
        wrong: list[int] = []

        def work(k: int) -> None:
            for n in range(6):
                options = {"tile": 32} if n % 2 else {}
                answer = translator(pictures[k], **options)  # type: ignore[call-overload]
                if np.abs(answer.astype(int) - expected[k].astype(int)).max() > 1:
                    wrong.append(k)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_it_gives_what_the_folder_gives(onnx_file: Path, photos: Path, tmp_path: Path) -> None:
    request = img2img.TranslateRequest(inputs=(photos,), out=tmp_path / "out", model=onnx_file)
    assert [*img2img.translate_folder(request)][-1].done == 3  # type: ignore[union-attr]
    with Translator(onnx_file) as translator:
        answer = np.asarray(translator(photos / "two.png"))
        data = translator((photos / "two.png").read_bytes())
    assert np.array_equal(answer, read_picture(tmp_path / "out" / "two.png").pixels)
    (tmp_path / "two.png").write_bytes(data)
    assert np.array_equal(answer, read_picture(tmp_path / "two.png").pixels)


def test_torch_is_not_imported_unless_the_model_needs_it(onnx_file: Path, photos: Path) -> None:
    program = (
        "import sys, img2img\n"
        "sys.modules.update(torch=None, onnx=None, pydantic=None)\n"
        "translator = img2img.load(sys.argv[1])\n"
        "print(translator(sys.argv[2]).size, len(translator([open(sys.argv[2], 'rb').read()])))\n"
    )
    command = [sys.executable, "-c", program, str(onnx_file), str(photos / "two.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "(33, 47) 1\n", done.stderr
