"""The house's import order, and what `import latentphys` costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import latentphys

PACKAGE = Path(latentphys.__file__).parent
ROOMS = (
    "recordings",
    "preparation",
    "model",
    "learning",
    "recipes",
    "inference",
    "trust",
    "plotting",
    "fitted",
    "api",
    "demo",
    "cli",
)
ROOF = (*ROOMS, "__init__", "__main__")
# package -> rooms where it may be imported
BOUNDS = {
    "wfdb": ("recordings", "preparation"),
    "mne": ("recordings", "preparation"),
    "pyro": ("model", "learning"),
}
# Methods that build or take records in another module, which itself needs the class.
DOORS = {"latentphys.recordings.record": ("from_mne", "to_mne", "from_long", "write")}
HEAVY = ("wfdb", "mne", "sklearn", "scipy.signal", "matplotlib", "pandas", "pooch", "requests")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """(imported module, statement); `from a import b` counts as `a.b` where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}: write it in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if is_module(whole) else str(node.module)), node


def is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


class _Shut(ast.NodeTransformer):
    """Takes the named functions out of a tree."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return None if node.name in self.names else self.generic_visit(node)


def first_party(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    return ((m, node) for m, node in imports(tree) if m.split(".")[0] == "latentphys")


def parse(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _Shut(DOORS.get(name_of(path), ())).visit(tree)
    return tree


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_room_imports_only_from_itself_and_the_rooms_before(path: Path) -> None:
    here = ROOF.index(room_of(name_of(path)))
    above = [
        f"line {node.lineno}: {module}"
        for module, node in first_party(parse(path))
        if ROOF.index(room_of(module)) > here
    ]
    assert not above, f"{name_of(path)} imports from a later room: {above}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_late_imports_of_our_own_and_none_through_a_package(path: Path) -> None:
    tree = parse(path)
    late, through = [], []
    for outer in ast.walk(tree):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late += [module for module, _ in first_party(outer)]
    for module, _ in first_party(tree):
        place = PACKAGE.parent.joinpath(*module.split("."))
        if place.is_dir() and place != PACKAGE:
            through.append(module)
    assert not late, f"late imports: {late}"
    assert not through, f"imported through a package, name the defining module: {through}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_foreign_packages_stay_in_their_rooms(path: Path) -> None:
    module, tree = name_of(path), parse(path)
    room = room_of(module)
    used = {name.split(".")[0] for name, _ in imports(tree)}
    strayed = [package for package, rooms in BOUNDS.items() if package in used - {room}]
    strayed = [package for package in strayed if room not in BOUNDS[package]]
    assert not strayed, f"{module} imports {strayed}"
    if room == "recordings":
        assert "torch" not in used, "torch starts at preparation/batch.py"
    if room in ("model", "learning", "recipes"):
        assert "xarray" not in used, "labelled arrays stop at preparation"
    top = {name for node in tree.body for name, _ in imports_of_statement(node)}
    heavy = [h for h in HEAVY if any(name == h or name.startswith(h + ".") for name in top)]
    assert not heavy, f"{module} imports {heavy} at the top; import it where it is needed"


def imports_of_statement(node: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module), node
        yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def test_no_import_cycles() -> None:
    graph = {
        name_of(path): {m for m, _ in first_party(parse(path)) if m != "latentphys"}
        for path in modules()
        if path != PACKAGE / "__init__.py"  # its imports are for type checkers alone
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module in done:
            return
        for other in sorted(graph.get(module, ())):
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_every_room_has_its_place_in_the_order() -> None:
    found = {room_of(name_of(path)) for path in modules()}
    assert found <= set(ROOF), f"rooms without a place in the order: {found - set(ROOF)}"


def test_rooms_hold_only_a_docstring_in_their_init() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        body = parse(path).body
        assert len(body) == 1, f"{path} holds more than a docstring"
        assert ast.get_docstring(parse(path)), f"{path} has no docstring"


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light() -> None:
    loaded = modules_after("import latentphys")
    assert "latentphys" in loaded
    assert not loaded & {"numpy", "xarray", "torch", "pyro", "wfdb", "matplotlib", "pandas"}


def test_reading_needs_no_torch() -> None:
    loaded = modules_after("import latentphys as lp\nlp.read, lp.Record, lp.Cohort")
    assert "latentphys.recordings.reading" in loaded
    assert not loaded & {"torch", "pyro", "wfdb", "mne", "sklearn", "matplotlib"}


def test_public_names() -> None:
    for name in latentphys.__all__:
        assert getattr(latentphys, name) is not None
    assert set(latentphys.__all__) <= set(dir(latentphys))
    with pytest.raises(AttributeError, match="has no attribute 'raed'"):
        latentphys.raed  # noqa: B018
