"""The documentation tells the truth. `python -m tests.test_docs` rewrites the CLI reference and the
manual page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import img2img
from tests.man_page import man_page

ROOT = Path(__file__).resolve().parent.parent
MANUAL = ROOT / "docs" / "man" / "img2img.1"
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*.md")])
COMMANDS = (
    "",
    "translate",
    "train",
    "runs",
    "report",
    "export",
    "serve",
    "evaluate",
    "bench",
    "doctor",
    "help",
)
GROUPS = {
    "models": ("list", "show", "import"),
    "data": ("check", "preview", "demo", "pair", "split"),
}
INNER = [w for group, names in GROUPS.items() for w in (group, *(f"{group} {n}" for n in names))]


def cli_reference() -> str:
    parts = ["# Command line\n\nGenerated from the commands themselves; a test compares it.\n"]
    for command in (*COMMANDS, *INNER):
        environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "img2img.cli", *command.split(), "--help"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        parts.append(f"## img2img {command}".rstrip() + f"\n\n```\n{text}\n```\n")
    return "\n".join(parts) + EXIT_CODES


EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | all done |
| 1 | finished, but some inputs failed (listed), or the doctor found a problem |
| 2 | wrong use or configuration |
| 3 | model or checkpoint refused |
| 4 | environment: disk full, device absent, package missing |
| 5 | training diverged, or collapsed with `--on-collapse stop`; an export differs from its source, or training would refuse checked data |
| 70 | a defect of img2img; `--debug` shows the traceback |
| 130, 143 | interrupted by Ctrl-C, terminated |

Results are printed to stdout, everything else to stderr. `--json` prints one object per line.
"""


def test_the_cli_reference_is_that_of_the_commands() -> None:
    assert REFERENCE.read_text() == cli_reference(), "run: python -m tests.test_docs"


def manual() -> str:
    rows = re.findall(r"^\| ([\d, ]+) \| (.+) \|$", EXIT_CODES, re.M)
    return man_page((codes, meaning.replace("`", "")) for codes, meaning in rows)


def test_the_manual_page_is_that_of_the_commands() -> None:
    assert MANUAL.read_text() == manual(), "run: python -m tests.test_docs"


def test_the_manual_page_names_every_command_and_option() -> None:
    """As its reader sees it: roff finds nothing to complain of, and nothing is lost."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-P-cbou", "-ww", "-rLL=200n", str(MANUAL)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    seen = done.stdout
    for command in (*COMMANDS, *INNER):
        assert f"img2img {command}".upper().strip() in seen
    reference = re.sub(r"Install completion.*", "", REFERENCE.read_text())
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", reference)) <= set(
        re.findall(r"--[a-z][\w-]+", seen)
    )
    assert "img2img translate photos -o out" in seen and "EXIT STATUS" in seen


def test_every_command_is_in_the_reference_and_the_help() -> None:
    from img2img.cli.app import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [*commands] == [*(name for name in COMMANDS if name), *GROUPS]
    readme = (ROOT / "README.md").read_text()
    assert all(f"img2img {name}" in readme for name in commands if name != "help")
    for name, names in GROUPS.items():
        assert [*commands[name].commands] == [*names]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_in_the_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_changelog_knows_the_version() -> None:
    assert f"## {img2img.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_exit_codes_are_those_of_the_errors() -> None:
    from img2img import errors

    reported = {
        int(n) for row in re.findall(r"^\| ([\d, ]+) \|", EXIT_CODES, re.M) for n in row.split(",")
    }
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert {kind.exit_code for kind in kinds} <= reported
    assert all(kind.__name__ in str(errors.__doc__) for kind in kinds)


def test_settings_named_in_the_how_to_exist() -> None:
    from img2img.methods import Pix2PixConfig
    from img2img.training import TrainConfig

    text = (ROOT / "docs" / "how-to" / "train-pix2pix.md").read_text()
    table = text.split("| setting |")[1].split("\n\n")[0]
    known = TrainConfig.model_fields | Pix2PixConfig.model_fields
    names = re.findall(
        r"`([a-z_0-9]+)`", "\n".join(r.split("|")[1] for r in table.splitlines()[2:])
    )
    assert len(names) > 10 and all(name in known for name in names)


if __name__ == "__main__":
    REFERENCE.write_text(cli_reference())
    MANUAL.write_text(manual())
