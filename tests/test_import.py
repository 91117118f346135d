"""Weights of other projects become model files, and go back: what comes out is what they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from img2img.errors import Img2ImgError, ModelError, UsageError
from img2img.exporting.onnx import export_onnx
from img2img.exporting.reference import export_reference
from img2img.model_format.checkpoint import load_model, save_model
from img2img.model_format.importing import ImportOptions, import_model
from img2img.model_format.layouts import Hints
from img2img.runners import open_runner
from tests.conftest import Cli, Main, info_of, picture, small_generator
from tests.reference_nets import (
    TheirResNet,
    TheirStarGAN,
    TheirUNet,
    same,
    saved,
    shaken,
    without_dropout,
)

BLURRED = (True, True)
NETS: dict[str, Any] = {
    "cyclegan": lambda: TheirResNet(blocks=2),
    "cyclegan dropout": lambda: TheirResNet(blocks=1, dropout=True),
    "cyclegan batch": lambda: TheirResNet(blocks=1, norm="batch"),
    "cut": lambda: TheirResNet(blocks=1, blurred=BLURRED),
    "pix2pix": lambda: TheirUNet(depth=6),
    "pix2pix instance": lambda: TheirUNet(depth=5, norm="instance", dropout=False),
    "stargan": lambda: TheirStarGAN(blocks=1, domains=2),
}


def labels_of(net: nn.Module) -> list[torch.Tensor]:
    return [torch.tensor([[1.0, 0.0]])] if isinstance(net, TheirStarGAN) else []


@pytest.mark.parametrize("kind", NETS)
@torch.no_grad()
def test_an_imported_model_gives_what_the_reference_gives(tmp_path: Path, kind: str) -> None:
    net = without_dropout(shaken(NETS[kind]()))
    source = saved(tmp_path / "latest_net_G.pth", net.state_dict())
    imported = import_model(source, tmp_path / "m.safetensors")
    generator, info = load_model(tmp_path / "m.safetensors")
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    same(generator, net, x, *labels_of(net))
    assert info == imported.info and (info.name, info.method) == ("m", kind.split()[0])
    assert info.training["imported_from"] == "latest_net_G.pth" and info.licence == "unknown"
    assert info.training["assumed"] == [*imported.assumed]
    size = {"pix2pix": 64, "pix2pix instance": 32, "stargan": 128}.get(kind, 256)
    assert (info.size, info.long_side) == (size, size)
    assert f"working size: {size} pixels (`size`)" in imported.assumed
    # And back: the reference loads it strictly, and gives the same again.
    export_reference(tmp_path / "m.safetensors", tmp_path / "back.pth")
    state = torch.load(tmp_path / "back.pth", weights_only=True)
    again = without_dropout(NETS[kind]())
    again.load_state_dict(state)
    same(again, net, x, *labels_of(net))


@torch.no_grad()
def test_running_statistics_are_used_where_said(tmp_path: Path) -> None:
    net = shaken(TheirResNet(blocks=1, norm="batch")).eval()
    source = saved(tmp_path / "G.pth", net.state_dict())
    running = ImportOptions(statistics="running")
    assert import_model(source, tmp_path / "m.safetensors", running).info.tiling == "exact"
    same(load_model(tmp_path / "m.safetensors")[0], net, torch.rand(1, 3, 32, 32) * 2 - 1)


@pytest.mark.slow
def test_an_imported_model_is_exported_and_agrees_with_the_original(tmp_path: Path) -> None:
    net = without_dropout(shaken(NETS["cut"]()))
    source = saved(tmp_path / "G.pth", net.state_dict())
    import_model(source, tmp_path / "m.safetensors", ImportOptions(size=0))
    assert max(row.max_levels for row in export_onnx(
        tmp_path / "m.safetensors", tmp_path / "m.onnx"
    ).parity) <= 1  # fmt: skip
    pixels = np.asarray(picture(40, 32, 1))
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        wanted = ((net(x)[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).numpy()
    made = open_runner(tmp_path / "m.onnx", "cpu")(pixels)
    assert np.abs(made.astype(int) - wanted).max() <= 1


def test_what_is_reported_stands_in_the_file(tmp_path: Path) -> None:
    source = saved(tmp_path / "S.ckpt", TheirStarGAN(blocks=1, domains=3).state_dict())
    target = tmp_path / "face.safetensors"
    names = ("Black_Hair", "Blond_Hair", "Male")
    said = ImportOptions("faces", "face -> face", "CC0", 64, names)
    imported = import_model(source, target, said)
    info = imported.info
    assert (info.name, info.direction, info.licence) == ("faces", "face -> face", "CC0")
    assert (info.size, info.long_side, info.domains) == (64, 64, names)
    assert info.exclusive == (("Black_Hair", "Blond_Hair"),) and not info.one_hot
    assert imported.assumed == ("at most one applies of Black_Hair, Blond_Hair (`exclusive`)",)
    info = import_model(source, target, ImportOptions(domains=names, one_hot=True)).info
    assert info.one_hot and info.exclusive == ()
    info = import_model(source, target, ImportOptions(size=0)).info
    assert (info.size, info.long_side) == (128, 0)
    assert info.domains == ("domain1", "domain2", "domain3")


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("stargan", {"domains": ("a",)}, "`domains`: 1 names for 2 domains; name all"),
        ("stargan", {"domains": ("a", "a")}, "`domains`: duplicate name"),
        ("stargan", {"exclusive": (("a",),)}, "`exclusive`: no domain 'a'; there are domain1"),
        ("stargan", {"one_hot": True, "exclusive": (("domain1",),)}, "exclude each other"),
        ("stargan", {"statistics": "running"}, "`statistics` running: the network has no batch"),
        ("cyclegan", {"domains": ("a",)}, "`domains`: the network has no domains"),
        ("cyclegan", {"one_hot": True}, "`one_hot`: the network has no domains"),
        ("cyclegan batch", {"statistics": "all"}, "`statistics` all: give batch or running"),
        ("pix2pix", {"size": 63}, "`size` 63: give 0, or at least 64 pixels"),
        ("pix2pix", {"hints": Hints(padding="reflect")}, "a U-Net pads with zeros"),
    ],
)
def test_options_that_contradict_the_file_are_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], reason: str
) -> None:
    source = saved(tmp_path / "G.pth", NETS[kind]().state_dict())
    with pytest.raises(UsageError, match=reason) as caught:
        import_model(source, tmp_path / "m.safetensors", ImportOptions(**options))
    assert str(caught.value).startswith(f"{source}: ")
    assert not (tmp_path / "m.safetensors").exists()


def test_targets_and_networks_that_cannot_be(tmp_path: Path, model_file: Path) -> None:
    source = saved(tmp_path / "G.pth", TheirUNet(width=1, depth=5, channels=(1, 2)).state_dict())
    cases: list[tuple[Path, Path, str]] = [
        (source, tmp_path / "m.onnx", "needs the suffix .safetensors"),
        (source, tmp_path / "no" / "m.safetensors", "no such folder"),
        (source, tmp_path / "m.safetensors", "takes 1 and gives 2 channels"),
        (tmp_path / "none.pth", tmp_path / "m.safetensors", "no such file"),
        (model_file, model_file, "the file that is imported"),
    ]
    for file, target, reason in cases:
        with pytest.raises(Img2ImgError, match=reason):
            import_model(file, target)
    assert [p.name for p in tmp_path.iterdir()] == ["G.pth"]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("fast", {}, "no reference implementation has a 'fast' generator"),
        ("resnet", {"kernel": 4}, "no generator of CycleGAN has kernel 4 .not 3."),
        ("resnet", {"downsample_padding": "reflect"}, "has downsample_padding reflect .not zero."),
        ("resnet", {"upsample": "resize", "attention": True}, "attention True .not False., upsample"),
        ("resnet", {"norm": "none"}, "a bias if and only if the norm is instance"),
        ("unet", {"depth": 3}, "five levels or more"),
        ("unet", {"depth": 5, "affine": True}, "no generator of pix2pix has affine True"),
        ("unet", {"depth": 5, "output": "mask"}, "no generator of pix2pix has output mask"),
        ("resnet", {"domains": 2, "padding": "zero"}, "no generator of StarGAN has affine False"),
    ],
)  # fmt: skip
def test_networks_that_no_reference_has_are_not_written(
    tmp_path: Path, name: str, options: dict[str, object], reason: str
) -> None:
    generator = small_generator(name, **options)
    more = {"domains": ("a", "b")} if generator.domains else {}
    save_model(tmp_path / "m.safetensors", generator, info_of(generator, **more))
    with pytest.raises(ModelError, match=reason):
        export_reference(tmp_path / "m.safetensors", tmp_path / "G.pth")
    with pytest.raises(UsageError, match=r"suffix \.pth or \.pt or \.ckpt"):
        export_reference(tmp_path / "m.safetensors", tmp_path / "G.onnx")
    assert not (tmp_path / "G.pth").exists()


def test_a_trained_stargan_is_written_for_the_reference(tmp_path: Path) -> None:
    """Of ours, whose settings say the same in other words."""
    more = {"affine": True, "kernel": 4, "head_bias": False, "padding": "zero", "blocks": 1}
    generator = small_generator("resnet", domains=2, **more)
    info = info_of(generator, domains=("a", "b"), method="stargan")
    save_model(tmp_path / "m.safetensors", generator, info)
    assert export_reference(tmp_path / "m.safetensors", tmp_path / "G.ckpt") == "stargan"
    net = TheirStarGAN(blocks=1, domains=2)
    net.load_state_dict(torch.load(tmp_path / "G.ckpt", weights_only=True))
    same(generator, net, torch.rand(1, 3, 32, 32) * 2 - 1, *labels_of(net))


def test_the_command_line_imports_shows_and_exports(tmp_path: Path, main: Main) -> None:
    saved(tmp_path / "G.pth", shaken(NETS["cyclegan"]()).state_dict())
    done = main("models", "import", "G.pth", "-o", "m.safetensors", "--licence", "CC0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cyclegan resnet_2blocks: resnet generator, ")
    assert "G.pth: reflection padding assumed" in done.stderr
    assert "assumed direction: A -> B (--direction)" in done.stderr
    assert "licence" not in done.stderr
    done = main("models", "import", "G.pth", "-o", "m.safetensors", "--json")
    row = json.loads(done.stdout)
    assert row["layout"] == "cyclegan resnet_2blocks" and len(row["assumed"]) == 3
    shown = json.loads(main("models", "show", "m.safetensors", "--json").stdout)
    assert shown["method"] == "cyclegan" and shown["training"]["imported_from"] == "G.pth"
    assert "imported from: G.pth\n" in main("models", "show", "m.safetensors").stdout
    done = main("export", "m.safetensors", "--pth", "back.pth", "--json")
    assert json.loads(done.stdout)["layout"] == "cyclegan resnet_2blocks"
    first, back = (torch.load(tmp_path / f"{n}.pth", weights_only=True) for n in ("G", "back"))
    assert first.keys() == back.keys() and all(torch.equal(first[k], back[k]) for k in first)


def test_the_command_line_names_domains(tmp_path: Path, main: Main) -> None:
    saved(tmp_path / "S.ckpt", TheirStarGAN(blocks=1, domains=3).state_dict())
    names = [word for name in ("Red", "Blue", "Old") for word in ("--domain", name)]
    done = main(
        "models", "import", "S.ckpt", "-o", "m.safetensors", *names, "--exclusive", "Red+Blue"
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(main("models", "show", "m.safetensors", "--json").stdout)
    assert shown["domains"] == ["Red", "Blue", "Old"] and shown["exclusive"] == [["Red", "Blue"]]
    done = main("models", "import", "S.ckpt", "-o", "m.safetensors", *names, "--one-hot", "-q")
    assert done.returncode == 0 and not done.stderr
    assert json.loads(main("models", "show", "m.safetensors", "--json").stdout)["one_hot"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["G.pth", "-o", "m.safetensors", "--norm", "layer"], 2, "--norm layer: give instance or"),
        (["G.pth", "-o", "m.safetensors", "--dropout", "maybe"], 2, "--dropout maybe: give on or off"),
        (["G.pth", "-o", "m.safetensors", "--statistics", "x"], 2, "--statistics x: give batch or"),
        (["G.pth", "-o", "m.safetensors", "--entry", "x"], 2, "--entry x: not in the file"),
        (["G.pth", "-o", "m.safetensors", "--domain", "x"], 2, "--domain: the network has no domains"),
        (["G.pth", "-o", "m.pth"], 2, "needs the suffix .safetensors"),
        (["G.pth"], 2, "Missing option"),
        (["none.pth", "-o", "m.safetensors"], 3, "none.pth: no such file"),
        (["D.pth", "-o", "m.safetensors"], 3, "a PatchGAN discriminator, not a generator"),
        (["cut.pth", "-o", "m.safetensors"], 3, "damaged or cut short"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line(
    tmp_path: Path, main: Main, arguments: list[str], code: int, words: str
) -> None:
    saved(tmp_path / "G.pth", TheirResNet(width=2, blocks=1).state_dict())
    saved(tmp_path / "D.pth", {"model.0.weight": torch.zeros(2, 3, 4, 4)})
    (tmp_path / "cut.pth").write_bytes((tmp_path / "G.pth").read_bytes()[:-40])
    done = main("models", "import", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


def test_who_gives_weights_for_a_model_gets_the_hint_to_import_them(
    tmp_path: Path, main: Main
) -> None:
    from safetensors.torch import save_file

    saved(tmp_path / "G.pth", {"a": torch.zeros(1)})
    save_file({"a": torch.zeros(1)}, tmp_path / "G.safetensors")
    for name in ("G.pth", "G.safetensors"):
        done = main("export", name, "-o", "m.onnx")
        assert done.returncode == 3 and done.stderr.count("\n") == 1
        assert "img2img models import" in done.stderr


def test_options_of_the_group_stand_after_the_command(main: Main) -> None:
    assert main("models", "--json").stdout == main("models", "list", "--json").stdout != ""
    done = main("models", "--json", "show", "painting")
    assert done.returncode == 2 and "give options after show" in done.stderr


@pytest.mark.slow
def test_an_imported_model_translates_and_is_evaluated(
    tmp_path: Path, cli: Cli, pairs: Path, photos: Path
) -> None:
    saved(tmp_path / "U.pth", shaken(NETS["pix2pix"]()).state_dict())
    saved(tmp_path / "S.ckpt", shaken(NETS["stargan"]()).state_dict())
    for name in ("U.pth", "S.ckpt"):
        done = cli("models", "import", name, "-o", f"{name[0]}.safetensors", "-q")
        assert done.returncode == 0 and not done.stderr, done.stderr
    done = cli("translate", photos, "-o", "out", "-m", "U.safetensors")
    assert done.returncode == 0 and done.stdout.startswith("3 translated"), done.stderr
    done = cli("translate", photos, "-o", "star", "-m", "S.safetensors", "--domain", "all")
    assert done.returncode == 0 and (tmp_path / "star" / "domain2").is_dir(), done.stderr
    done = cli("evaluate", "U.safetensors", pairs, "-o", "report", "--features", "none")
    assert done.returncode == 0 and (tmp_path / "report").is_dir(), done.stderr
