"""Translating on a Ray cluster of two nodes, from and into an S3 server: processes of this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import local_cluster
from img2img.inference import TranslateRequest, translate_folder
from tests.conftest import ROOT, picture
from tests.test_at_scale import here, run

if importlib.util.find_spec("ray") is None or not sys.platform.startswith("linux"):
    pytest.skip("Ray is not installed, or this is not Linux", allow_module_level=True)
if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
    pytest.skip("moto or s3fs is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.distributed]
COUNT = 24


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch, local_cluster.s3_server() as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="module")
def nodes(s3: dict[str, str]) -> Iterator[local_cluster.Nodes]:
    with local_cluster.two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "photos"
    (root / "sub").mkdir(parents=True)
    for number in range(COUNT - 2):
        name = f"{'sub/' if number % 3 else ''}p{number:02}.{('jpg', 'png')[number % 2]}"
        picture(40 + number % 3, 48, number).save(root / name)
    picture(40, 48, 90).save(root / "p00.png")  # meets p00.jpg where all become PNG
    (root / "bad.jpg").write_bytes((root / "p00.jpg").read_bytes()[:300])
    return root


def upload(s3: dict[str, str], folder: Path, prefix: str) -> None:
    there = local_cluster.client("s3", s3)
    for path in folder.rglob("*.*"):
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        there.put_object(Bucket="museum", Key=key, Body=path.read_bytes())


def objects(s3: dict[str, str], prefix: str) -> dict[str, bytes]:
    there = local_cluster.client("s3", s3)
    pages = there.get_paginator("list_objects_v2").paginate(Bucket="museum", Prefix=prefix + "/")
    keys = [row["Key"] for page in pages for row in page.get("Contents", ())]
    return {
        key[len(prefix) + 1 :]: there.get_object(Bucket="museum", Key=key)["Body"].read()
        for key in keys
        if "/.img2img/" not in key
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "img2img.cli", "translate", *arguments]


def rows_of(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = subprocess.run(
        command(*arguments, "--json"), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def wanted(photos: Path, onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one machine makes of the photographs."""
    out = tmp_path_factory.mktemp("one") / "out"
    request = TranslateRequest(
        inputs=(photos,), out=out, model=onnx_file, format="png", runner="onnxruntime"
    )
    list(translate_folder(request))
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*.*")
        if p.is_file() and ".img2img" not in p.parts
    }


def options(onnx_file: Path, nodes: local_cluster.Nodes) -> list[str]:
    return ["-m", str(onnx_file), "--format", "png", "--runner", "onnxruntime", "--ray",
            nodes.address, "--actors", "1-2"]  # fmt: skip


def test_from_bucket_to_bucket_as_on_one_machine(
    s3: dict[str, str], nodes: local_cluster.Nodes, photos: Path, onnx_file: Path, wanted: Any
) -> None:
    upload(s3, photos, "scans")
    arguments = ["s3://museum/scans/", "-o", "s3://museum/out/", *options(onnx_file, nodes)]
    rows = rows_of(*arguments, code=1)
    assert objects(s3, "out") == wanted and len(wanted) == COUNT - 1
    assert rows[0]["event"] == "start" and rows[0]["inputs"] == COUNT
    summary = rows[-1]
    assert (summary["done"], summary["failed"], summary["not_reached"]) == (COUNT - 1, 1, 0)
    assert sum(actor["pictures"] for actor in summary["actors"]) == COUNT - 1
    failed = [row for row in rows if row.get("status") == "failed"]
    assert [row["input"] for row in failed] == ["s3://museum/scans/bad.jpg"]
    # The same request does exactly the rest, wherever.
    there = local_cluster.client("s3", s3)
    there.delete_object(Bucket="museum", Key="out/p00.png")
    body = (photos / "p00.png").read_bytes()
    there.put_object(Bucket="museum", Key="scans/new.png", Body=body)
    _, again = run(request(onnx_file, "scans", "out"))
    assert (again.done, again.skipped, len(again.failed)) == (2, COUNT - 2, 1)
    assert objects(s3, "out")["new.png"] == objects(s3, "out")["p00.png"] == wanted["p00.png"]


def request(onnx_file: Path, scans: str, out: str) -> TranslateRequest:
    """What the commands of these tests ask for."""
    return TranslateRequest(
        inputs=(f"s3://museum/{scans}",), out=f"s3://museum/{out}", model=onnx_file, format="png",
        runner="onnxruntime",
    )  # fmt: skip


def test_killed_workers_and_a_killed_node_lose_and_double_nothing(
    s3: dict[str, str], nodes: local_cluster.Nodes, photos: Path, onnx_file: Path, wanted: Any
) -> None:
    upload(s3, photos, "more")
    arguments = ["s3://museum/more", "-o", "s3://museum/killed", *options(onnx_file, nodes)]
    rows = killing(nodes, arguments, random.Random(0))
    summary = rows[-1]
    assert (summary["done"], summary["failed"], summary["not_reached"]) == (COUNT - 1, 1, 0)
    pictures = [row["input"] for row in rows if row["event"] == "picture"]
    assert len(pictures) == len(set(pictures)) == COUNT
    assert objects(s3, "killed") == wanted
    _, again = run(request(onnx_file, "more", "killed"))
    assert (again.done, again.skipped) == (0, COUNT - 1)


def killing(
    nodes: local_cluster.Nodes, arguments: list[str], choose: random.Random
) -> list[dict[str, Any]]:
    """The rows of a command amid which an actor, a worker of a task and a node are killed."""
    rows = []
    process = subprocess.Popen(
        command(*arguments, "--json"), stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    killed = set[str]()
    for line in process.stdout:
        rows.append(json.loads(line))
        if rows[-1]["event"] == "summary":
            break
        for kind in ("actor", "task"):
            if kind not in killed and nodes.kill_worker(kind, choose):
                killed.add(kind)
                break
        else:
            if "node" not in killed:
                nodes.kill_node()
                killed.add("node")
    process.stdout.close()
    assert process.wait(240) == 1 and killed == {"actor", "task", "node"}
    nodes.add_node()
    return rows


def test_an_object_that_vanishes_or_changes_is_one_row(
    s3: dict[str, str], photos: Path, onnx_file: Path
) -> None:
    upload(s3, photos / "sub", "moving")
    there = local_cluster.client("s3", s3)
    names = sorted(p.name for p in (photos / "sub").iterdir())

    def meddled(*given: Any) -> Iterator[dict[str, Any]]:
        there.delete_object(Bucket="museum", Key=f"moving/{names[0]}")
        body = (photos / "p03.png").read_bytes()
        there.put_object(Bucket="museum", Key=f"moving/{names[1]}", Body=body)
        yield from here(*given)

    _, summary = run(request(onnx_file, "moving", "moved"), meddled)
    assert [reason for _, reason in summary.failed] == ["no longer there"]
    assert summary.done == len(names) - 1
    # What was read is what is recorded, so that nothing is done twice.
    _, again = run(request(onnx_file, "moving", "moved"))
    assert (again.done, again.skipped, again.failed) == (0, len(names) - 1, [])


def test_what_cannot_be_reached_is_one_line(
    s3: dict[str, str], nodes: local_cluster.Nodes, photos: Path, onnx_file: Path
) -> None:
    port = local_cluster.free_port()
    for arguments, code, words in (
        ([str(photos), "--ray", f"127.0.0.1:{port}"], 4, "does not answer: Connection refused"),
        (["s3://nowhere/scans", "--ray", nodes.address], 2, "no such file, folder or bucket"),
        (["s3://museum/empty", "--ray", nodes.address], 2, "no such file, folder or bucket"),
        ([str(photos), "--ray", nodes.address, "--gpus", "1"], 4, "no node has 1 of a GPU"),
    ):
        line = [*arguments, "-o", "s3://museum/x", "-m", str(onnx_file)]
        done = subprocess.run(command(*line), capture_output=True, text=True, timeout=240)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert words in done.stderr


def test_a_bucket_without_rights_is_one_line(photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    with local_cluster.s3_server(free_requests=4) as environment:
        iam = local_cluster.client("iam", environment)
        iam.create_user(UserName="visitor")
        key = iam.create_access_key(UserName="visitor")["AccessKey"]
        visitor = os.environ | environment | {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }  # fmt: skip
        program = (
            "import sys; from img2img.inference.scale import *;"
            "from img2img.inference import TranslateRequest;"
            "request = TranslateRequest(inputs=(sys.argv[1],), out=sys.argv[2]);"
            "list(translate_remote(request, lambda *_: iter(())))"
        )
        for inputs, out in ((photos, "s3://museum/out"), ("s3://museum/scans", tmp_path / "out")):
            done = subprocess.run(
                [sys.executable, "-c", program, str(inputs), str(out)],
                capture_output=True, text=True, env=visitor, timeout=120,
            )  # fmt: skip
            last = done.stderr.splitlines()[-1]
            assert "EnvironmentFault" in last and "access denied" in last, done.stderr


def test_the_how_to_is_followed_word_for_word(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "translate-millions.md").read_text(encoding="utf-8")
    block = page.split("<!-- local-cluster -->")[1].split("```")[1]
    # By the modules, so that it is this environment's.
    program = re.sub(r"^ray ", "python -m ray.scripts.scripts ", block, flags=re.MULTILINE)
    program = re.sub(r"^img2img ", "python -m img2img.cli ", program, flags=re.MULTILINE)
    program = re.sub(r"\bpython ", f"{sys.executable} ", program)
    assert program.count(sys.executable) == 9
    shutil.copytree(ROOT / "examples" / "photos", tmp_path / "examples" / "photos")
    before = rays()
    with open(tmp_path / "log", "w") as log:
        done = subprocess.run(
            ["bash", "-c", program], cwd=tmp_path, stdout=log, stderr=log, timeout=280,
            env=os.environ | {"HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    text = (tmp_path / "log").read_text()
    assert "5 translated into s3://museum/painted" in text, text
    summary = json.loads((tmp_path / "again.jsonl").read_text().splitlines()[-1])
    assert (summary["done"], summary["skipped"]) == (0, 5), (done, text)
    assert rays() - before == set()


def test_no_process_of_ray_is_left(nodes: local_cluster.Nodes, photos: Path, onnx_file: Path,
                                   tmp_path: Path) -> None:  # fmt: skip
    before = rays()
    done = subprocess.run(
        command(str(photos), "-o", str(tmp_path / "out"), "-m", str(onnx_file), "--ray", "local"),
        capture_output=True, text=True, timeout=240,
        env=os.environ | {"RAY_OBJECT_STORE_BYTES": str(local_cluster.STORE)},
    )  # fmt: skip
    assert done.returncode == 1 and "1 failed\n1 actor" in done.stdout, done.stderr
    assert rays() - before == set()


def rays() -> set[int]:
    """Processes of Ray that are no workers of the cluster of these tests."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "/raylet" in title or "gcs_server" in title:
                found.add(int(folder.name))
    return found
