"""Every runner in every precision gives the same picture, says truly what it is, and fails in words."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from img2img.errors import (
    EnvironmentFault,
    MemoryFault,
    MissingExtra,
    ModelError,
    UsageError,
)
from img2img.exporting.onnx import export_onnx
from img2img.model_format.checkpoint import load_model, save_model
from img2img.model_format.find import find_model, shipped
from img2img.onnx_format import session as onnx_session
from img2img.onnx_format.reading import DIGEST_KEY, NO_DIGEST, digest_of
from img2img.onnx_format.validation import parse
from img2img.runners import RUNNERS, Runner, choice, open_runner, suffixes_for
from img2img.runners.trial import decibels, made_batch, made_pictures, max_levels
from img2img.system import cpu
from img2img.system.cuda import cuda_device_count
from img2img.system.out_of_memory import is_memory_error
from img2img.tiling.tiles import translate_tiled
from tests.conftest import info_of, small_generator, stargan

CASES = [(name, p) for name, kind in RUNNERS.items() for p in kind.precisions]
SHAPES = ((1, 64, 64), (3, 33, 47), (1, 9, 1), (3, 40, 24))
# Against torch fp32, on the small random models of these tests: levels anywhere, and dB.
STATED = {"fp32": (1, 60.0), "fp16": (4, 50.0), "bf16": (32, 36.0)}


def opened(name: str, precision: str, model: Path, device: str = "cpu") -> Runner:
    """The runner on `model` (.safetensors, an .onnx beside it), or a skip saying what is not available."""
    path = model.with_suffix(RUNNERS[name].suffix)
    if name == "tensorrt" and cuda_device_count() == 0:
        pytest.skip("TensorRT needs a CUDA device")
    if name == "onnxruntime" and precision == "fp16":
        pytest.skip("onnxruntime computes fp16 only of files exported so")
    if name.startswith("torch") and precision == "fp16" and device == "cpu":
        pytest.skip("torch's fp16 needs CUDA or MPS")
    if name == "torch-compile" and precision != "fp32":
        pytest.skip("compiling takes long; fp32 stands for it")
    try:
        return open_runner(path, device, name, precision)
    except EnvironmentFault as error:
        if precision != "fp32" and "arithmetic" in str(error):
            pytest.skip(str(error))
        raise


COMPILED = "torch-compile"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of every kind, as .safetensors and .onnx."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "unet": small_generator(norm="batch"),
        "resnet": small_generator("resnet"),
        "grey": small_generator(in_channels=1, out_channels=1),
    }
    for name, generator in made.items():
        save_model(folder / f"{name}.safetensors", generator, info_of(generator, name=name))
    stargan(folder / "domains.safetensors")
    paths = {p.stem: p for p in folder.glob("*.safetensors")}
    for path in paths.values():
        export_onnx(path, path.with_suffix(".onnx"))
    return paths


@pytest.mark.parametrize(
    ("kind", "name", "precision"),
    [
        # One compilation takes fifteen seconds.
        pytest.param(k, *case, marks=pytest.mark.slow if case[0] == COMPILED else [])
        for k in ("unet", "resnet", "grey", "domains")
        for case in CASES
    ],
)
def test_every_runner_gives_the_same_picture(
    name: str, precision: str, kind: str, models: dict[str, Path]
) -> None:
    runner = opened(name, precision, models[kind])
    generator, info = load_model(models[kind])
    assert runner.info == info
    assert runner.description == f"{name} cpu {precision}" and runner.precision == precision
    worst, near = STATED[precision]
    for batch, height, width in SHAPES[:1] if name == "torch-compile" else SHAPES:
        x, domain = made_batch(info, height, width, batch)
        y = runner.infer(x, domain)
        with torch.inference_mode():
            given = (torch.from_numpy(v) for v in (x, domain) if v is not None)
            truth = generator(*given).numpy()
        assert y.dtype == np.float32 and y.shape == truth.shape
        assert max_levels(y, truth) <= worst and decibels(y, truth) >= near, (batch, height, width)
        if precision != "fp32":
            assert not np.array_equal(y, truth)  # that it really computes in less
    x, domain = made_batch(info, 33, 47, 3)
    first = runner.infer(x, domain)
    kept = first.copy()
    alone = runner.infer(x[1:2], None if domain is None else domain[1:2])
    assert np.array_equal(first, kept)  # a later picture writes into no earlier one
    assert max_levels(first[1:2], alone) <= (1 if precision == "fp32" else worst)
    deep = (made_pictures(20, 30, 1)[0].astype(np.uint16) * 257) | 1
    vector = None if domain is None else [[1, 0, 0]]
    (picture,) = runner.batch([deep], vector)
    assert picture.dtype == np.uint16 and picture.shape == (20, 30, info.out_channels)
    eight = runner.batch([(deep >> 8).astype(np.uint8)], vector)[0]
    assert eight.dtype == np.uint8
    assert np.abs((picture / 257) - eight).max() <= (1.1 if precision == "fp32" else worst + 1)
    for wrong in ([(1,)], [(1, 0)]):
        with pytest.raises(UsageError, match=r"needs (no domain|a domain vector of shape)"):
            runner.batch([picture[:, :, [0, 0, 0]]], wrong)
    runner.close()
    with pytest.raises(UsageError, match="closed"):
        runner.infer(x, domain)
    runner.close()


@pytest.mark.parametrize("name", RUNNERS)
def test_an_option_that_cannot_be_honoured_is_an_error(name: str, models: dict[str, Path]) -> None:
    path = models["unet"].with_suffix(RUNNERS[name].suffix)
    other = models["unet"].with_suffix(".onnx" if path.suffix != ".onnx" else ".safetensors")
    with pytest.raises(UsageError, match=f"runner {name} takes {path.suffix} files"):
        open_runner(other, "cpu", name)
    with pytest.raises((UsageError, EnvironmentFault)) as caught:
        open_runner(path, "cuda:63", name)
    assert "cuda:63" in str(caught.value)
    with pytest.raises(UsageError, match="quantum"):
        open_runner(path, "quantum", name)
    with pytest.raises(UsageError, match=r"unknown precision 'fp23'. Did you mean 'fp32'"):
        open_runner(path, "cpu", name, "fp23")


def test_precisions_that_are_not_computed_are_refused(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models["unet"].with_suffix(".onnx")
    words = "bf16 is computed by openvino and torch and torch-compile"
    with pytest.raises(UsageError, match=words):
        open_runner(path, "cpu", "onnxruntime", "bf16")
    with pytest.raises(UsageError, match="holds fp32 weights"):
        open_runner(path, "cpu", "onnxruntime", "fp16")
    with pytest.raises(UsageError, match="fp16 on cuda and mps"):
        open_runner(models["unet"], "cpu", "torch", "fp16")
    with pytest.raises(UsageError, match="`runner` torch"):
        open_runner(path, "cuda", "auto", "bf16")
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"avx512f", "avx512_vnni"}))
    for runner, file in (("openvino", path), ("torch", models["unet"]), ("auto", path)):
        with pytest.raises(EnvironmentFault, match="no bf16 arithmetic"):
            open_runner(file, "cpu", runner, "bf16")


def test_what_the_processor_is_reported_to_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    for line, bf16, fp16 in (
        ("flags\t\t: fpu avx512_bf16 amx_bf16 avx512_fp16", "AMX", "AVX-512 FP16"),
        ("flags\t\t: fpu avx512_bf16", "AVX-512 BF16", ""),
        ("Features\t: fp asimdhp bf16", "ARM BF16", "ARM FP16"),
        ("flags\t\t: fpu avx2", "", ""),
    ):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
        assert (cpu.bf16_arithmetic(), cpu.fp16_arithmetic()) == (bf16, fp16)
    (tmp_path / "cpuinfo").unlink()
    assert cpu.bf16_arithmetic() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cpu.flags() is None


def test_a_missing_package_is_named(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models["unet"].with_suffix(".onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(choice, "openvino_is_installed", lambda: False)
    for runner, precision in (("openvino", "auto"), ("auto", "bf16")):
        with pytest.raises(MissingExtra, match=r"'openvino' extra: .*install .*\[openvino\]"):
            open_runner(path, "cpu", runner, precision)
    assert open_runner(path, "cpu", pixels=10**9).reason == "OpenVINO is not installed"
    monkeypatch.setitem(sys.modules, "torch", None)
    for runner in ("torch", "torch-compile"):
        with pytest.raises(MissingExtra, match=r"'train' extra: .*install .*\[train\]"):
            open_runner(models["unet"], "cpu", runner)


def test_openvino_that_computes_in_another_precision_is_refused(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    real = openvino.Core

    class Lax:
        """Compiles in fp32 whatever precision is requested."""

        def __init__(self) -> None:
            self.core = real()

        def get_property(self, *names: str) -> Any:
            return ["BF16", "FP32"]

        def read_model(self, data: bytes) -> Any:
            return self.core.read_model(data)

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            return self.core.compile_model(model, device, {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino, "Core", Lax)
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"amx_bf16"}))
    with pytest.raises(EnvironmentFault, match="computes in f32 instead of bf16"):
        open_runner(models["unet"].with_suffix(".onnx"), "cpu", "openvino", "bf16")


class FakeSession:
    """Stands in for onnxruntime's session on a machine with a GPU."""

    def __init__(self, real: Any, loaded: list[str]):
        self.real, self.loaded, self.bound = real, loaded, []
        self.options: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return self.loaded

    def io_binding(self) -> Any:
        session = self

        class Binding:
            def bind_cpu_input(self, name: str, value: NDArray[Any]) -> None:
                self.given = {**getattr(self, "given", {}), name: value}

            def bind_output(self, name: str, device: str, number: int) -> None:
                session.bound.append((device, number))

            def copy_outputs_to_cpu(self) -> list[NDArray[Any]]:
                return session.real.run(None, self.given)

        return Binding()

    def run_with_iobinding(self, binding: Any) -> None:
        self.bound.append(sorted(binding.given))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with two CUDA devices, as far as the runner can see; `loaded` is what the session
    says it loaded."""
    import onnxruntime

    state: dict[str, Any] = {"loaded": [], "preloaded": 0, "sessions": [], "providers": []}
    real = onnxruntime.InferenceSession

    def session(data: bytes, options: Any, providers: list[Any]) -> FakeSession:
        state["providers"].append(providers)
        made = FakeSession(real(data, options, providers=["CPUExecutionProvider"]), state["loaded"])
        state["sessions"].append(made)
        return made

    def preload() -> None:
        state["preloaded"] += 1

    monkeypatch.setattr(onnx_session, "cuda_device_count", lambda: 2)
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return state


def test_cuda_is_preloaded_verified_and_bound(models: dict[str, Path], gpu: dict[str, Any]) -> None:
    path = models["domains"].with_suffix(".onnx")
    gpu["loaded"] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    runner = open_runner(path, "cuda:1", "onnxruntime")
    assert runner.description == "onnxruntime cuda:1 fp32" and gpu["preloaded"] == 1
    assert gpu["providers"][0][0] == (
        "CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"},
    )  # fmt: skip
    x, domain = made_batch(runner.info, 20, 24, 2)
    y = runner.infer(x, domain)
    (session,) = gpu["sessions"]
    assert session.bound == [("cuda", 1), ["domain", "img2img_x"]]
    assert np.array_equal(y, session.real.run(None, {"img2img_x": x, "domain": domain})[0])
    chosen = open_runner(path, "auto", pixels=10**9)
    assert chosen.description == "onnxruntime cuda fp32" and "CUDA" in chosen.reason


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    models: dict[str, Path], gpu: dict[str, Any]
) -> None:
    path = models["unet"].with_suffix(".onnx")
    gpu["loaded"] = ["CPUExecutionProvider"]
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EnvironmentFault, match="loaded CPUExecutionProvider instead of CUDA"):
            open_runner(path, device, "onnxruntime")
    gpu["loaded"] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(EnvironmentFault, match="instead of Tensorrt"):
        open_runner(path, "cuda", "tensorrt")
    gpu["loaded"] = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    runner = open_runner(path, "cuda", "tensorrt", "fp16")
    assert runner.description == "tensorrt cuda fp16"
    assert gpu["providers"][-1][0][1]["trt_fp16_enable"] == "1"
    with pytest.raises(UsageError, match="tensorrt runs on auto, cuda or cuda:N, not on 'cpu'"):
        open_runner(path, "cpu", "tensorrt")


@pytest.mark.skipif(cuda_device_count() > 0, reason="only where there is no CUDA device")
def test_an_absent_device_is_reported(models: dict[str, Path]) -> None:
    path = models["unet"].with_suffix(".onnx")
    for runner, device, words in (
        ("onnxruntime", "cuda", "device 'cuda' is not available"),
        ("tensorrt", "auto", "runner 'tensorrt' is not available"),
        ("auto", "cuda:0", "device 'cuda:0' is not available"),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            open_runner(path, device, runner)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_device_count() == 0, reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_real_cuda_device_gives_the_same_picture(name: str, models: dict[str, Path]) -> None:
    runner = opened(name, "fp32", models["resnet"], "cuda")
    x, _ = made_batch(runner.info, 65, 70, 3)
    truth = opened("torch", "fp32", models["resnet"]).infer(x)
    assert max_levels(runner.infer(x), truth) <= 1


def tried(monkeypatch: pytest.MonkeyPatch, **rows: tuple[float, float]) -> None:
    """Let the trial of each precision give (seconds, noise), onnxruntime's 1 s and none."""
    real = choice._tried

    def fake(runner: Runner) -> Any:
        done = real(runner)
        base = runner.description.startswith("onnxruntime")
        seconds, noise = (1.0, 0.0) if base else rows[runner.precision]
        reference = made_batch(runner.info, 256, 256, 2)[0]
        output = np.clip(reference + noise * np.sign(np.sin(1000 * reference)), -1, 1)
        return choice._Tried(runner, output.astype(np.float32), seconds or done.seconds)

    monkeypatch.setattr(choice, "_tried", fake)


@pytest.mark.parametrize(
    ("precision", "rows", "expected", "words"),
    [
        ("auto", {"bf16": (0.2, 0.004)}, "openvino cpu bf16", r"AMX; bf16 is 48\.2 dB .*5.0 times"),
        ("auto", {"bf16": (0.2, 0.02), "fp32": (0.5, 0)}, "openvino cpu fp32", r"2.0 times.*below 48"),
        ("auto", {"bf16": (0.2, 0.02), "fp32": (0.95, 0)}, "onnxruntime cpu fp32", "not faster in fp32; bf16 is 38.7 dB"),
        ("auto", {"bf16": (0.95, 0.004), "fp32": (0.5, 0)}, "openvino cpu fp32", "and not faster"),
        ("fp32", {"fp32": (0.5, 0)}, "openvino cpu fp32", "2.0 times as fast as onnxruntime"),
        ("fp32", {"fp32": (0.5, 0.02)}, "onnxruntime cpu fp32", "gives a different picture"),
    ],
)  # fmt: skip
def test_auto_takes_the_fastest_that_is_honest(
    precision: str,
    rows: dict[str, tuple[float, float]],
    expected: str,
    words: str,
    models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    from img2img.runners import openvino

    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setattr(openvino, "_check_precision", lambda precision, core: None)
    tried(monkeypatch, **rows)
    if "bf16" in rows and not _openvino_has("BF16"):
        pytest.skip("OpenVINO has no bf16 on this CPU")
    runner = open_runner(models["unet"].with_suffix(".onnx"), "cpu", "auto", precision, 10**8)
    assert runner.description == expected
    assert re.search(words, runner.reason), runner.reason


def _openvino_has(precision: str) -> bool:
    import openvino

    return precision in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_without_bf16_arithmetic_auto_does_not_imitate_it(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"avx512f"}))
    tried(monkeypatch, fp32=(0.5, 0))
    runner = open_runner(models["unet"].with_suffix(".onnx"), "auto", pixels=10**8)
    assert runner.description == "openvino cpu fp32" and "bf16" not in runner.reason


def test_a_small_job_never_imports_openvino(models: dict[str, Path]) -> None:
    program = (
        "import sys; from img2img.runners import choice, open_runner\n"
        "choice._MIN_SECONDS = 1e9  # however slow this machine is now\n"
        "for pixels in (None, 200_000, 2_100_000):\n"
        "    r = open_runner(sys.argv[1], 'auto', 'auto', 'auto', pixels)\n"
        "    print(r.description, '|', r.reason)\n"
        "print([m for m in ('openvino', 'torch', 'onnx') if m in sys.modules])"
    )
    path = models["unet"].with_suffix(".onnx")
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[3] == "[]"
    assert all(line.startswith("onnxruntime c") for line in lines[:3])
    if cuda_device_count() == 0:
        assert "unknown" in lines[0] and "too small" in lines[1]
        assert "would not pay off" in lines[2]


def test_a_refused_openvino_leaves_onnxruntime(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.runners import openvino

    def broken() -> Any:
        raise EnvironmentFault("OpenVINO cannot be loaded: no such library")

    monkeypatch.setattr(openvino, "_core", broken)
    monkeypatch.setattr(choice, "_MIN_SECONDS", 0.0)
    runner = open_runner(models["unet"].with_suffix(".onnx"), "cpu", pixels=10**8)
    assert runner.description == "onnxruntime cpu fp32"
    assert "OpenVINO cannot be loaded: no such library" in runner.reason


CLOSED_ELSEWHERE = """
import gc, signal, sys, threading
from pathlib import Path
from img2img.runners.openvino import OpenVinoRunner

got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
held = [OpenVinoRunner(Path(sys.argv[1]), "cpu")]

def close():
    held.pop().close()
    gc.collect()

thread = threading.Thread(target=close)
thread.start()
thread.join()
signal.raise_signal(signal.SIGINT)
assert got == [1]
"""


@pytest.mark.skipif(os.name != "posix", reason="a stack for signals is a thing of POSIX")
def test_a_signal_after_openvino_was_closed_in_another_thread(models: dict[str, Path]) -> None:
    pytest.importorskip("openvino")
    path = models["unet"].with_suffix(".onnx")
    program = [sys.executable, "-c", CLOSED_ELSEWHERE, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_suffixes_of_runners() -> None:
    assert suffixes_for("auto") == (".onnx", ".safetensors")
    assert suffixes_for("openvino") == (".onnx",)
    with pytest.raises(UsageError, match="Did you mean 'openvino'"):
        suffixes_for("openvin")


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
def test_a_damaged_file_is_refused_before_it_is_parsed(
    runner: str, models: dict[str, Path], tmp_path: Path
) -> None:
    data = bytearray(models["unet"].with_suffix(".onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        open_runner(tmp_path / "x.onnx", "cpu", runner)
    # A digest that fits proves nothing about what it stands over.
    entry = DIGEST_KEY.encode() + b"\x12\x40"
    fake = b"\xff" * 9 + entry + NO_DIGEST
    digest, place = digest_of(fake)
    (tmp_path / "x.onnx").write_bytes(fake[:place] + digest.encode())
    assert hashlib.sha256(fake).hexdigest() == digest
    with pytest.raises(ModelError, match="not an ONNX file"):
        open_runner(tmp_path / "x.onnx", "cpu", runner)


def test_the_file_is_read_as_onnx_reads_it(models: dict[str, Path]) -> None:
    import onnx

    path = models["unet"].with_suffix(".onnx")
    model = onnx.load(str(path))
    assert parse(path.read_bytes()).metadata == {p.key: p.value for p in model.metadata_props}
    assert parse(path.read_bytes()).weight_precision == "fp32"
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    assert parse(model.SerializeToString()).weight_precision == "fp16"
    with pytest.raises(ValueError):
        parse(b"\x3a\xff")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc Failed to allocate memory for requested buffer of size 99"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("Check 'data' failed at src/plugins/intel_cpu: Failed to allocate 123 bytes of memory"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_memory_errors_of_every_library_are_memory_faults(
    name: str, error: Exception, models: dict[str, Path]
) -> None:
    runner: Any = opened(name, "fp32", models["unet"])

    class Full:
        def __call__(self, *given: Any) -> Any:
            raise error

        run = infer = __call__

    if name == "onnxruntime":
        runner._sessions = dict.fromkeys(runner._sessions, Full())
    else:
        setattr(runner, {"openvino": "_request", "torch": "_generator"}[name], Full())
    with pytest.raises(MemoryFault, match=r"3 pictures of 47x33 do not fit in memory \("):
        runner.infer(np.zeros((3, 3, 33, 47), np.float32))
    with pytest.raises(MemoryFault, match="47x33 does not fit"):
        runner.infer(np.zeros((1, 3, 33, 47), np.float32))


@pytest.mark.parametrize("kind", ["resnet", "unet", "domains"])
def test_openvino_translates_in_tiles(kind: str, models: dict[str, Path]) -> None:
    pixels = made_pictures(70, 150, 1)[0]
    runner = opened("openvino", "fp32", models[kind])
    vector = (1.0, 0.0, 0.0) if kind == "domains" else None
    whole = runner(pixels, vector)
    tiled = translate_tiled(runner, pixels, vector, 32)
    assert tiled is not None
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    runner.close()
    with pytest.raises(UsageError, match="closed"):
        runner.tiled_model()


@pytest.mark.slow
def test_a_missing_compiler_is_reported_in_one_line(
    models: dict[str, Path], tmp_path: Path
) -> None:
    program = (
        "import sys, numpy as np; from img2img.runners import open_runner\n"
        "from img2img.errors import EnvironmentFault\n"
        "runner = open_runner(sys.argv[1], 'cpu', 'torch-compile')\n"
        "try: runner.infer(np.zeros((1, 3, 64, 64), np.float32))\n"
        "except EnvironmentFault as error: print('fault:', error)"
    )
    environment = {
        **os.environ,
        "CXX": "/nonexistent/g++",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, models["unet"]],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.stdout.startswith("fault: torch.compile does not work here: "), done.stderr[-500:]
    assert done.stdout.count("\n") == 1


def test_other_errors_stay_what_they_are() -> None:
    assert not is_memory_error(RuntimeError("could not create a primitive descriptor for a pool"))
    assert not is_memory_error(RuntimeError("shape mismatch"))
    assert not is_memory_error(ValueError("the memory format is wrong"))


LIMITED = """
import resource, sys
import numpy as np
from img2img.errors import MemoryFault
from img2img.runners import open_runner
runner = open_runner(sys.argv[1], "cpu", sys.argv[2])
x = np.zeros((1, 3, 64, 64), np.float32)
runner.infer(x)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
big = np.zeros((1, 3, 3000, 3000), np.float32)
limit = used + big.nbytes + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    runner.infer(big)
except MemoryFault as error:
    print("fault:", error)
print("then", runner.infer(x).shape)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is kept on Linux only")
@pytest.mark.parametrize(
    "name", ["onnxruntime", "openvino", pytest.param("torch", marks=pytest.mark.slow)]
)
def test_a_full_memory_is_a_memory_fault_and_the_runner_goes_on(
    name: str, models: dict[str, Path]
) -> None:
    path = models["resnet"].with_suffix(RUNNERS[name].suffix)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path, name], capture_output=True, text=True, timeout=300
    )
    assert "fault: 3000x3000 does not fit in memory" in done.stdout, done.stdout + done.stderr
    assert "then (1, 3, 64, 64)" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_shipped_models_in_every_precision_of_this_machine() -> None:
    """On made pictures, the figures that the documentation names."""
    for model in shipped():
        reference = open_runner(find_model(model, (".safetensors",)), "cpu", "torch")
        x, domain = made_batch(reference.info, 128, 160, 2)
        truth = reference.infer(x, domain)
        for name, precision in CASES:
            if name in ("tensorrt", "torch-compile", "torch") and precision == "fp32":
                continue
            try:
                runner = open_runner(find_model(model, suffixes_for(name)), "cpu", name, precision)
            except (UsageError, EnvironmentFault):
                continue
            near = decibels(runner.infer(x, domain), truth)
            print(f"{model}: {runner.description} {near:.1f} dB")
            assert near >= (80 if precision == "fp32" else 45)
