"""Files and functions stay short enough to read: 400 lines a file, 80 a function, the loop 120; and
few annotations of parameters and returns say `Any`.

`LONG_FILES` and `LONG_FUNCTIONS` are what is still longer, with the length it must not exceed.
The lists only shrink: an entry that is no longer needed fails the test too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE, FUNCTION, LOOP = 400, 80, 120
ANY = 25
TRAIN = "img2img/training/loop.py:train"

LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}


def python_files(root: Path) -> Iterator[tuple[str, str]]:
    """Name below `root` and text of every Python file of the library and the command line."""
    for folder in ("img2img", "cli"):
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Qualified name and number of lines of every function, from its first decorator to its end."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                    yield name, (child.end_lineno or child.lineno) - first + 1
            yield from visit(child, name)

    yield from visit(ast.parse(text), "")


def over(root: Path) -> tuple[dict[str, int], dict[str, int]]:
    """What is longer than the limits below `root`: files, and functions as `file:name`."""
    files: dict[str, int] = {}
    long: dict[str, int] = {}
    for path, text in python_files(root):
        if (lines := len(text.splitlines())) > FILE:
            files[path] = lines
        for name, length in functions(text):
            key = f"{path}:{name}"
            if length > (LOOP if key == TRAIN else FUNCTION):
                long[key] = max(length, long.get(key, 0))
    return files, long


def complaints(found: dict[str, int], known: dict[str, int]) -> list[str]:
    """What is longer than it may be, and exceptions that are no longer needed, one line each."""
    grown = [
        f"{key}: {length} lines; divide it"
        for key, length in found.items()
        if length > known.get(key, 0)
    ]
    done = [f"{key}: short enough now; remove its exception" for key in known if key not in found]
    return grown + done


def test_no_file_is_too_long() -> None:
    assert complaints(over(ROOT)[0], LONG_FILES) == []


def test_no_function_is_too_long() -> None:
    assert complaints(over(ROOT)[1], LONG_FUNCTIONS) == []


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "img2img" / "training").mkdir(parents=True)
    body = "    pass\n"
    method = "    @property\n    def {}(self):\n" + "        pass\n"
    fits, too_long = (method.format(n) + "        pass\n" * k for n, k in (("fits", 77), ("f", 78)))
    (tmp_path / "cli" / "a.py").write_text("class A:\n" + fits + too_long)
    (tmp_path / "cli" / "b.py").write_text("x = 1\n" * 401)
    (tmp_path / "cli" / "c.py").write_text("x = 1\n" * 400)
    loop = f"def train():\n{body * 119}def other():\n{body * 80}"
    (tmp_path / "img2img" / "training" / "loop.py").write_text(loop)
    files, long = over(tmp_path)
    assert files == {"cli/b.py": 401}
    assert long == {"cli/a.py:A.f": 81, "img2img/training/loop.py:other": 81}
    (tmp_path / "img2img" / "training" / "loop.py").write_text(f"def train():\n{body * 120}")
    assert over(tmp_path)[1] == {"cli/a.py:A.f": 81, TRAIN: 121}


def test_the_exceptions_only_shrink() -> None:
    assert complaints({"a": 500}, {"a": 500}) == []
    assert complaints({"a": 501}, {"a": 500}) == ["a: 501 lines; divide it"]
    assert complaints({}, {"a": 500}) == ["a: short enough now; remove its exception"]


def _says_any(annotation: ast.AST) -> bool:
    """Whether the annotation is `Any`, or has it anywhere within (`list[Any]`, `Any | None`), but
    for the values of a table by name, `dict[str, Any]` or `Mapping[str, Any]`, which is what JSON,
    TOML and `state_dict` give."""
    match annotation:
        case ast.Name(id="Any") | ast.Attribute(attr="Any"):
            return True
        case ast.Constant(value=str(text)):  # a name in quotes, or a word of a Literal
            return text.isidentifier() and text == "Any"
        case ast.Subscript(
            value=ast.Name(id="dict" | "Mapping"),
            slice=ast.Tuple(elts=[ast.Name(id="str"), ast.Name(id="Any")]),
        ):
            return False
    return any(map(_says_any, ast.iter_child_nodes(annotation)))


def untyped(root: Path) -> list[str]:
    """Every parameter and return below `root` whose annotation says `Any`, as `file:line name`."""
    found = []
    for path, text in python_files(root):
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [child for child in ast.walk(node.args) if isinstance(child, ast.arg)]
            rows = [(arg.arg, arg.annotation) for arg in given] + [("return", node.returns)]
            found += [
                f"{path}:{annotation.lineno} {node.name} {name}"
                for name, annotation in rows
                if annotation is not None and _says_any(annotation)
            ]
    return found


def test_few_signatures_say_any() -> None:
    """At most 25 parameters and returns of img2img/ and cli/ say `Any`, counted as in `_says_any`:
    `list[Any]` and the like count too."""
    found = untyped(ROOT)
    assert len(found) <= ANY, "\n".join(found)


def test_what_says_any_is_found(tmp_path: Path) -> None:
    (tmp_path / "img2img").mkdir()
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "a.py").write_text(
        "def counted(a: Any, *b: list[Any], c: Any | None = None, **d: 'Any') -> tuple[Any, int]: ...\n"
        "async def also(a: Mapping[Any, str], b: dict[str, list[Any]]) -> typing.Any: ...\n"
        "def not_counted(a: dict[str, Any], b: Literal['Any one'], c=0) -> Mapping[str, Any]:\n"
        "    x: Any = a\n"
    )
    assert [row.split(" ", 1)[1] for row in untyped(tmp_path)] == [
        *(f"counted {name}" for name in ("a", "b", "c", "d", "return")),
        *(f"also {name}" for name in ("a", "b", "return")),
    ]
