"""Completion in every shell that typer knows: what Tab proposes, as the shell's script asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

SHELLS = ("bash", "zsh", "fish", "pwsh", "powershell")


def asked(shell: str, words: str) -> dict[str, str]:
    """The environment in which a shell's script calls the command for `words`, typed so far."""
    last = words.rpartition(" ")[2]
    more = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        "fish": {"_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        "pwsh": {"_TYPER_COMPLETE_WORD_TO_COMPLETE": last},
        "powershell": {"_TYPER_COMPLETE_WORD_TO_COMPLETE": last},
    }.get(shell, {})
    return {"_IMG2IMG_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words} | more


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "proposed", "other"),
    [
        ("img2img mod", "models", "doctor"),
        ("img2img models im", "import", "list"),
        ("img2img translate --runner o", "onnxruntime", "torch"),
        ("img2img translate -m pain", "painting", "drawing"),
        ("img2img models import x.pth --norm b", "batch", "instance"),
    ],
)
def test_tab_proposes_what_fits(
    cli: Cli, shell: str, words: str, proposed: str, other: str
) -> None:
    done = cli(env=asked(shell, words))
    assert done.returncode == 0 and done.stderr == ""
    assert proposed in done.stdout and other not in done.stdout
    assert (f"{proposed}:::" in done.stdout) is shell.startswith("p")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_calls_the_command(cli: Cli, shell: str) -> None:
    script = cli(env={"_IMG2IMG_COMPLETE": f"source_{shell}"}).stdout
    assert "_IMG2IMG_COMPLETE" in script and "img2img" in script
    registers = {"bash": "complete -o default", "zsh": "compdef", "fish": "complete --command"}
    assert registers.get(shell, "Register-ArgumentCompleter -Native -CommandName img2img") in script


# What is run after the shell has read the script, and prints what Tab proposes there.
TYPED = {
    "bash": "COMP_WORDS=(img2img export painting --io u); COMP_CWORD=4; _img2img_completion img2img;"
    ' echo "${COMPREPLY[*]}"',
    "fish": "complete --do-complete 'img2img export painting --io u'",
}


@pytest.mark.parametrize("program", TYPED)
def test_the_script_works_in_its_shell(cli: Cli, program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    script = cli(env={"_IMG2IMG_COMPLETE": f"source_{program}"}).stdout
    command = tmp_path / "img2img"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m img2img.cli "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        [program, *(["--norc"] if program == "bash" else ["--no-config"]), "-c", f"{script}\n{TYPED[program]}"],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout == "uint8\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script_for_the_command(cli: Cli) -> None:
    """What Tab does needs a terminal there; that the command is registered does not."""
    script = cli(env={"_IMG2IMG_COMPLETE": "source_zsh"}).stdout
    typed = f"autoload -Uz compinit; compinit -D\n{script}\nprint $_comps[img2img]"
    done = subprocess.run(["zsh", "-f", "-c", typed], capture_output=True, text=True)
    assert done.stdout == "_img2img_completion\n", done.stderr


@pytest.mark.parametrize("program", ["pwsh", "fish", "zsh"])
def test_the_script_is_valid_in_its_shell(cli: Cli, program: str, tmp_path: Path) -> None:
    """Where the shell is installed: it reads the script without a complaint."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    script = tmp_path / "script"
    script.write_text(cli(env={"_IMG2IMG_COMPLETE": f"source_{program}"}).stdout)
    check = {
        "pwsh": ["-NoProfile", "-Command", f"[scriptblock]::Create((Get-Content -Raw {script}))"],
        "fish": ["--no-execute", str(script)],
        "zsh": ["-n", str(script)],
    }[program]
    done = subprocess.run([program, *check], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
