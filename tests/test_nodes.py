"""Training on several nodes: here two groups of processes on one machine, which meet by TCP and have
folders of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from img2img.errors import ConfigError, DataError, EnvironmentFault, MissingExtra, UsageError
from img2img.methods import METHODS
from img2img.model_format.checkpoint import load_model, load_state
from img2img.training import TrainConfig, train
from img2img.training import processes as module
from img2img.training.agreement import check_same
from img2img.training.processes import Processes
from img2img.training.run_folder import states_of
from tests.conftest import into
from tests.test_loop import config_of, data, losses

__all__ = ["data"]  # a fixture

distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed"
)
# The command line, in which the second process gets a signal before its fifth step.
PROGRAM = """
import os, signal
from img2img.cli import main
from img2img.training.run import Run

learn = Run.learn

def hit(self):
    if self.step == 4 and os.environ["RANK"] == "1" and "HIT" in os.environ:
        os.kill(os.getpid(), getattr(signal, os.environ["HIT"]))
    learn(self)

Run.learn = hit
main()
"""
STEPS = 8


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Nodes:
    """Starts the program on two nodes, each with a copy of the data and a run folder of its own,
    `node0` and `node1`."""

    def __init__(self, data: Path, folder: Path):
        self.folder, self.started = folder, list[subprocess.Popen[str]]()
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.data = [data, Path(shutil.copytree(data, folder / "copy"))]

    def train(self, config: TrainConfig, by_torchrun: bool = False, hit: str = "") -> None:
        """Begin to train with `config` but for its folders; the second process is hit by a
        signal."""
        port, self.started = str(free_port()), []
        for rank in (0, 1):
            own = config.model_copy(update={"data": self.data[rank], "out": self.out(rank)})
            values = own.model_dump(mode="json", exclude_none=True)
            file = self.folder / f"config{rank}.toml"
            file.write_text("".join(f"{k} = {_toml(v)}\n" for k, v in values.items()))
            command = [str(self.program), "train", config.method, values["data"], "-o"]
            command += [values["out"], "--config", str(file), "--quiet"]
            env = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", **({"HIT": hit} if hit else {})}
            if by_torchrun:
                command = [
                    "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank),
                    "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port,
                    *command,
                ]  # fmt: skip
            else:  # as a scheduler may do it
                env |= {"RANK": str(rank), "WORLD_SIZE": "2"}
                env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            self.started.append(
                subprocess.Popen(
                    [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    text=True, errors="replace", env={**os.environ, **env},
                )
            )  # fmt: skip

    def out(self, rank: int) -> Path:
        return self.folder / f"node{rank}"

    def end(self, rank: int) -> tuple[int, list[str]]:
        """The exit code of a command, and the lines of its stderr."""
        said = self.started[rank].communicate(timeout=1200)[1]
        return self.started[rank].returncode, said.splitlines()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def nodes(data: dict[str, Path], tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes; what is left of their commands is killed."""
    found = Nodes(data["pix2pix"], tmp_path)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


# --- what needs no group


class _Pictures:
    def __init__(self, names: list[str], digest: str):
        self.names, self.digest = names, digest

    def fingerprint(self) -> str:
        return self.digest


class _Gathering(Processes):
    """The first of two processes; `others` are the answers of the second, in turn."""

    others: list[Any]

    def gather(self, value: Any) -> list[Any]:
        answer = self.others.pop(0)
        return [value, answer(value) if callable(answer) else answer]


def _pair(*others: Any) -> _Gathering:
    pair = _Gathering(0, 0, 2)
    object.__setattr__(pair, "others", list(others))
    return pair


def _same(value: Any) -> Any:
    return value


def test_other_pictures_or_settings_on_a_node_are_refused(
    data: dict[str, Path], tmp_path: Path
) -> None:
    config = config_of("pix2pix", data, tmp_path / "run")
    settings = METHODS["pix2pix"].Config.parse(config.settings)
    train_set, held_out = _Pictures(["a.png", "b.png"], "1"), _Pictures(["c.png"], "2")

    def check(*others: Any) -> None:
        check_same(_pair(*others), config, settings, train_set, held_out)  # type: ignore[arg-type]

    check(_same, _same, _same)
    for others, text in (
        ((["a.png"],), "1 instead of 2, b.png is missing there"),
        ((["a.png", "b.png", "x.png"],), "3 instead of 2, x.png only there"),
        ((["a.png", "b.png"],), "different names, file sizes or labels"),
    ):
        with pytest.raises(
            DataError, match=f"process 1 of 2 reads different training .*{text}"
        ) as e:
            check(_same, "other", *others)
        assert e.value.everywhere
    with pytest.raises(DataError, match="different held-out pictures"):
        check(_same, _same, "other", [])
    with pytest.raises(
        ConfigError, match="different settings from the first: seed 4, there 0; start"
    ):
        check(lambda reported: reported | {"seed": "4"})
    # Places and ways to compute may differ.
    moved = config.model_copy(update={"data": tmp_path, "out": tmp_path / "x", "workers": 2})
    reported: list[Any] = []
    check_same(
        _pair(lambda value: reported.append(value) or value, _same, _same), moved, settings,
        train_set, held_out,
    )  # type: ignore[arg-type]  # fmt: skip
    check(reported[0], _same, _same)


def test_an_error_of_one_process_is_raised_by_all() -> None:
    assert _pair(None).together(lambda: 5) == 5
    with pytest.raises(DataError, match=r"^process 1 of 2: no such folder") as error:
        _pair((DataError, "no such folder")).together(lambda: 5)
    assert error.value.everywhere

    def fail() -> None:
        raise MissingExtra("this", "train")

    with pytest.raises(EnvironmentFault, match=r"^this needs the 'train' extra"):
        _pair(_same).together(fail)  # all have the same: no number in front
    with pytest.raises(MissingExtra):  # alone it is what it was
        Processes().together(fail)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Read error: Connection reset by peer",
            "process 0 of 2 has lost contact with another process",
        ),
        (
            "Timed out waiting 5000ms for recv",
            "process 0 of 2 timed out waiting for another process",
        ),
    ],
)
def test_a_lost_process_is_one_line(said: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*arguments: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(module, "_message_device", lambda: "cpu")
    for name, answer in (("get_rank", 0), ("get_world_size", 2)):
        monkeypatch.setattr(module.dist, name, lambda answer=answer: answer)
    for name in ("all_reduce", "barrier", "all_gather_object", "broadcast_object_list"):
        monkeypatch.setattr(module.dist, name, lost)
    pair, x = Processes(0, 0, 2), torch.zeros(2, requires_grad=True)
    for work in (
        lambda: pair.agree(False), lambda: pair.average([torch.zeros(2)]), pair.wait,
        lambda: pair.gather(1), lambda: pair.from_first(lambda: 1), lambda: pair.total([1]),
        lambda: pair.mean(torch.zeros(())), lambda: pair.mean_through(x),
    ):  # fmt: skip
        with pytest.raises(EnvironmentFault, match=line) as error:
            work()
        assert "resumes from the last saved state" in str(error.value)


@distributed
@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_never_comes_is_one_line(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("RANK", rank), ("WORLD_SIZE", 2), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", free_port())
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))
    with pytest.raises(
        EnvironmentFault, match=f"process {rank} of 2 timed out after waiting 1 s for the oth"
    ):
        Processes.join(1)
    assert not torch.distributed.is_initialized()


@distributed
def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"WORLD_SIZE is 2, but .*RANK expected"):
        Processes.join(1)


# --- two nodes


def _config(data: dict[str, Path], out: Path, **more: Any) -> TrainConfig:
    usual = {"steps": STEPS, "save_every": 1, "sample_every": STEPS, "process_timeout": 600}
    return config_of("pix2pix", data, out, **usual | more)


def _lines(said: list[str]) -> list[str]:
    """Without what torch logs."""
    return [line for line in said if line.startswith("img2img: ")]


@distributed
@pytest.mark.slow
@pytest.mark.distributed
def test_two_nodes_learn_what_one_process_learns_and_outlive_a_lost_one(
    data: dict[str, Path], tmp_path: Path, nodes: Nodes
) -> None:
    """By torchrun. The second process is killed; the others end with a good state, which both or
    one process alone resume."""
    train(_config(data, tmp_path / "one"))
    config = _config(data, tmp_path / "node0")
    nodes.train(config, by_torchrun=True, hit="SIGKILL")
    code, said = nodes.end(0)
    (line,) = _lines(said)
    assert (
        "process 0 of 2 has lost contact with another process" in line
        and "the same command resumes" in line
    )
    assert code == 1 and any("exitcode  : 4" in row for row in said)  # torchrun's own is 1
    assert nodes.end(1)[0] == 1
    assert load_state(states_of(nodes.out(0))[0])["step"] == 4
    assert not nodes.out(1).exists()  # only the first writes

    alone = shutil.copytree(nodes.out(0), tmp_path / "alone")
    events: list[dict[str, Any]] = []
    train(config.model_copy(update={"out": alone}), into(events))
    warned = [e["text"] for e in events if e["event"] == "warning"]
    assert any("not bit-exact: " in w and "processes was 2, now 1" in w for w in warned)
    assert events[-1]["event"] == "done"

    # The second node has no state of its own.
    nodes.train(config, by_torchrun=True)
    for rank in (0, 1):
        code, said = nodes.end(rank)
        assert code == 0, said
    assert not nodes.out(1).exists() and (nodes.out(0) / "report.html").exists()
    for out in (alone, nodes.out(0)):
        pairs = list(zip(losses(tmp_path / "one"), losses(out), strict=True))
        assert len(pairs) == STEPS
        for step, (x, y) in enumerate(pairs):
            for name in x:
                assert x[name] == pytest.approx(y[name], rel=1e-5, abs=1e-5), (step, name)
        # Not weights: Adam moves a bias before instance norm, whose gradient is rounding noise, as
        # far as any other, and the picture does not depend on it.
        with torch.no_grad():
            models = (
                load_model(f / "model.safetensors")[0].eval() for f in (tmp_path / "one", out)
            )
            one, other = (model(torch.linspace(-1, 1, 3072).view(1, 3, 32, 32)) for model in models)
        assert torch.allclose(one, other, atol=1e-3)


@distributed
@pytest.mark.slow
@pytest.mark.distributed
def test_a_node_with_other_pictures_is_refused(
    data: dict[str, Path], tmp_path: Path, nodes: Nodes
) -> None:
    next((nodes.data[1] / "train").glob("*.png")).unlink()
    nodes.train(_config(data, tmp_path))
    for rank in (0, 1):
        code, said = nodes.end(rank)
        (line,) = said
        assert code == 2 and "process 1 of 2 reads different training pictures from" in line
    assert not nodes.out(0).exists() and not nodes.out(1).exists()


@distributed
@pytest.mark.slow
@pytest.mark.distributed
def test_a_process_that_hangs_ends_the_others(
    data: dict[str, Path], tmp_path: Path, nodes: Nodes
) -> None:
    nodes.train(_config(data, tmp_path, process_timeout=60), hit="SIGSTOP")
    code, said = nodes.end(0)
    (line,) = said
    assert code == 4 and "process 0 of 2 timed out waiting for another process" in line
    assert load_state(states_of(nodes.out(0))[0])["step"] == 4
