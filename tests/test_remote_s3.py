"""Training from and into an S3 server, a process of its own, by the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import local_cluster
from img2img.model_format.checkpoint import load_state
from tests.conftest import Cli
from tests.test_training import same

if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
    pytest.skip("moto or s3fs is not installed", allow_module_level=True)

pytestmark = pytest.mark.slow
WORDS = ["--preset", "tiny", "--steps", "12", "--set", "generator.width=4", "--set", "generator.depth=3",
         "--set", "discriminator.width=4", "--device", "cpu", "--threads", "1",
         "--set", "save_every=4", "--set", "log_every=1",
         "--set", "schedule=constant"]  # fmt: skip


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with local_cluster.s3_server() as environment:
        yield environment


def upload(s3: dict[str, str], folder: Path, prefix: str) -> None:
    there = local_cluster.client("s3", s3)
    for path in folder.rglob("*.png"):
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        there.put_object(Bucket="museum", Key=key, Body=path.read_bytes())


def keys(s3: dict[str, str], prefix: str) -> set[str]:
    listed = local_cluster.client("s3", s3).list_objects_v2(Bucket="museum", Prefix=prefix + "/")
    return {row["Key"][len(prefix) + 1 :] for row in listed.get("Contents", ())}


def test_ctrl_c_publishes_the_state_and_removes_the_mark(
    s3: dict[str, str], pairs: Path, tmp_path: Path
) -> None:
    upload(s3, pairs, "pairs")
    line = ["train", "pix2pix", "s3://museum/pairs", "-o", "s3://museum/runs/one", *WORDS]
    first = s3 | {"XDG_CACHE_HOME": str(tmp_path / "first")}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "img2img.cli", *line, "--steps", "100000"],
            env=os.environ | first | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for _ in range(1200):
            if process.poll() is not None or any("state-" in k for k in keys(s3, "runs/one")):
                break
            time.sleep(0.1)
        there = keys(s3, "runs/one")
        assert "running.json" in there, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, (tmp_path / "log").read_text()
    finally:
        process.kill()
    there = keys(s3, "runs/one")
    assert "running.json" not in there and any(name.startswith("state-") for name in there)


def test_another_machine_resumes_and_ends_as_one_would(
    s3: dict[str, str], pairs: Path, tmp_path: Path, cli: Cli
) -> None:
    upload(s3, pairs, "pairs")
    assert cli("train", "pix2pix", pairs, "-o", "whole", *WORDS).returncode == 0
    line = ["train", "pix2pix", "s3://museum/pairs", "-o", "s3://museum/runs/two", *WORDS]
    for machine, steps in (("first", "4"), ("second", "12")):
        cache = {"XDG_CACHE_HOME": str(tmp_path / machine)}
        done = cli(*line, "--steps", steps, env=s3 | cache)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "s3://museum/runs/two/model.safetensors"
    assert "s3://museum/pairs: 8 files, 8 of them fetched now" in done.stderr
    assert "resumed at step 4" in done.stderr
    there = local_cluster.client("s3", s3)
    body = there.get_object(Bucket="museum", Key="runs/two/state-00000012.i2i")["Body"].read()
    (tmp_path / "state").write_bytes(body)
    ends = [load_state(tmp_path / p) for p in ("state", "whole/state-00000012.i2i")]
    assert same(ends[0]["nets"], ends[1]["nets"])

    # One object changes, of the same size; one is removed; one is added.
    local_cluster.client("s3", s3).delete_object(Bucket="museum", Key="pairs/train/0.png")
    upload(s3, pairs / "val", "pairs/train")  # 0.png and 1.png again, with other contents
    done = cli("data", "check", "s3://museum/pairs", env=s3 | cache)
    assert done.returncode == 0 and "s3://museum/pairs: " in done.stdout, done.stderr
    copy = next((tmp_path / "second" / "img2img" / "remote").glob("data-*/pairs"))
    for name in ("0.png", "1.png"):
        assert (copy / "train" / name).read_bytes() == (pairs / "val" / name).read_bytes()


def test_refusals_are_one_line(s3: dict[str, str], pairs: Path, tmp_path: Path, cli: Cli) -> None:
    upload(s3, pairs, "pairs")
    port = local_cluster.free_port()
    away = s3 | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    row = {"mark": "x", "host": "elsewhere", "process": 7, "time": time.time() + 3600}
    local_cluster.client("s3", s3).put_object(
        Bucket="museum", Key="runs/held/running.json", Body=json.dumps(row).encode()
    )
    rows = (
        ("s3://nowhere/data", "run", s3, 2, "no such file, folder or bucket"),
        ("s3://museum/empty", "run", s3, 2, "no such file, folder or bucket"),
        (str(pairs), "s3://nowhere/run", s3, 2, "no such"),
        (str(pairs), "s3://museum/runs/held", s3, 4, "process 7 of elsewhere is training into it"),
        ("s3://museum/pairs", "run", away, 4, "does not answer"),
    )
    for data, out, environment, code, words in rows:
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = cli("train", "pix2pix", data, "-o", out, *WORDS, env=environment | cache)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert words in done.stderr, done.stderr
        assert not (tmp_path / "run").exists()


def test_a_bucket_without_rights_is_one_line(pairs: Path, tmp_path: Path, cli: Cli) -> None:
    with local_cluster.s3_server(free_requests=4) as environment:
        iam = local_cluster.client("iam", environment)
        iam.create_user(UserName="visitor")
        key = iam.create_access_key(UserName="visitor")["AccessKey"]
        visitor = environment | {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        for data, out in (("s3://museum/pairs", "run"), (str(pairs), "s3://museum/runs/one")):
            done = cli("train", "pix2pix", data, "-o", out, *WORDS, env=visitor)
            assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
            assert "access denied" in done.stderr, done.stderr
