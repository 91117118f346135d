"""The checks of CI as verbs: `nox -s lint`, or `nox` for lint, types, docs and tests.

They run in the environment that nox itself is installed in (`pip install -e '.[dev]'`), so that
nothing is installed twice.
"""

import sys

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "docs", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and common mistakes (ruff)."""
    session.run(sys.executable, "-m", "ruff", "format", "--check", ".")
    session.run(sys.executable, "-m", "ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types (mypy, strict)."""
    session.run(sys.executable, "-m", "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The quick tests, or those given: nox -s tests -- tests/test_nets.py."""
    session.run(sys.executable, "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The slow tests: whole trainings, fresh installations."""
    options = ("-n", "auto", "--no-loadscope-reorder", "-m", "slow")
    session.run(sys.executable, "-m", "pytest", *options, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site in site/; a warning, such as a broken link, is an error."""
    environment = {"NO_MKDOCS_2_WARNING": "1"}
    session.run(sys.executable, "-m", "mkdocs", "build", "--strict", env=environment)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source archive, in dist/."""
    session.run(sys.executable, "-m", "build")
