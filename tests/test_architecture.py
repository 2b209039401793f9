"""The rules that keep the package readable, checked on its source."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "limner"
FILES = sorted(PACKAGE.rglob("*.py"))

# who stands on whom: a module imports only what stands lower, or what lies in its own folder
LAYERS: list[set[str]] = [
    {"parts"},
    {"process", "codecs", "world", "canvas"},
    {"models"},
    {"turn", "catalog", "request"},
    {"judges", "making", "data"},
    {"algorithms"},
    {"bench", "train"},
    {"recipes"},
    {"answer"},
    {"batch", "conversation"},
    {"app"},
    {"__init__", "__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
WITHOUT_WORLD = {
    "process",
    "codecs",
    "canvas",
    "models",
    "turn",
    "catalog",
    "request",
}  # they serve any pictures, not only ours
WORLD_MAY_IMPORT = {"numpy", "PIL", "skia"} | sys.stdlib_module_names
# the trained reader: the one file of the world that may use torch; the others import it inside functions
DETECTOR, DETECTOR_MODULE = "world/detect.py", "limner.world.detect"
FAMILY_WORDS = re.compile(r"(?<![a-z])(mmada|show_?o|mindomni|nexus_?gen|echo)(?![a-z])", re.IGNORECASE)
NO_FAMILIES = ("algorithms", "judges", "bench", "train", "process", "codecs", "world", "turn.py", "parts.py")
TAG = re.compile(r"</?(think|answer|image|img)>|<\|[a-z_]+\|>")
TAG_FILES = {"render.py", "tokenizer.py", "config.py"}  # of a family: its templates, its word list, its texts as data
MARKS = "data/marks.py"  # the marks of other people's rows
HEAVY = ("torch", "transformers", "diffusers", "tokenizers", "skia")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """(absolute module name, inside a function?) of everything that a file imports, wherever it does so."""
    found: list[tuple[str, bool]] = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively; write the whole name"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend((name if name in MODULES else str(node.module), inside) for name in whole)
        for child in ast.iter_child_nodes(node):
            walk(child, inside or isinstance(node, ast.FunctionDef))

    walk(tree(path), False)
    return found


def layer_of(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


def files(*beginnings: str) -> list[Path]:
    """The package's files whose names begin with one of these."""
    return [path for path in FILES if name_of(path).startswith(beginnings or "")]


@cache
def texts_and_names(path: Path) -> list[tuple[int, str]]:
    """(line, text) of every string that is no docstring and every identifier."""
    docs = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docs.add(id(first.value))
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found.append((node.lineno, node.value))
        for attribute in ("id", "attr", "arg", "name", "module"):
            value = getattr(node, attribute, None)
            if isinstance(value, str):
                found.append((getattr(node, "lineno", 0), value))
    return found


def test_every_module_has_its_place():
    unplaced = {layer_of(module) for module in MODULES} - HEIGHT.keys()
    assert not unplaced, f"say in LAYERS where these stand: {sorted(unplaced)}"


def test_imports_point_down():
    wrong = []
    for module, path in MODULES.items():
        here = layer_of(module)
        for name, _ in imports(path):
            if name.split(".")[0] == "limner" and name != "limner":
                there = layer_of(name)
                upwards = there != here and HEIGHT[there] >= HEIGHT[here]
                if upwards or (there == "world" and here in WITHOUT_WORLD):
                    wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong


def test_no_module_imports_itself_by_a_circle():
    graph = {}
    for module, path in MODULES.items():
        names = {name for name, _ in imports(path) if name in MODULES}
        graph[module] = names - {module, "limner"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(reversed(error.args[1]))}")


def test_the_world_needs_only_numbers_and_a_drawing_library():
    wrong = []
    for path in files("world/"):
        for name, inside in imports(path):
            top = name.split(".")[0]
            if top == "limner":
                allowed = layer_of(name) in ("world", "parts") and (inside or name != DETECTOR_MODULE)
            elif top in ("torch", "safetensors"):
                allowed = name_of(path) == DETECTOR
            else:
                allowed = top in WORLD_MAY_IMPORT
            if not allowed:
                wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong


def test_a_family_never_imports_another():
    folder = PACKAGE / "models"
    families = {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"} | {"echo"}
    wrong = []
    for path in files("models/"):
        own = path.relative_to(folder).with_suffix("").parts[0]
        for name, _ in imports(path):
            parts = name.split(".")
            if parts[:2] == ["limner", "models"] and len(parts) > 2 and parts[2] in families - {own}:
                wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong


def test_what_serves_every_family_names_none():
    named = [
        f"{name_of(path)}:{line} {text!r}"
        for path in files(*NO_FAMILIES)
        for line, text in texts_and_names(path)
        if FAMILY_WORDS.search(text)
    ]
    assert not named


def test_tags_stand_only_where_a_family_renders():
    tagged = [
        f"{name_of(path)}:{line} {text!r}"
        for path in FILES
        if not (path.parent.parent == PACKAGE / "models" and path.name in TAG_FILES) and name_of(path) != MARKS
        for line, text in texts_and_names(path)
        if TAG.search(text)
    ]
    assert not tagged


def test_importing_has_no_effects():
    loose = []
    for path in FILES:
        for node in tree(path).body:
            statement = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            if statement or isinstance(node, ast.For | ast.While | ast.With):
                loose.append(f"{name_of(path)}:{node.lineno}")
    assert not loose


def test_no_failure_is_swallowed():
    swallowed = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                silent = all(isinstance(line, ast.Pass) for line in node.body)
                if caught == "everything" or (silent and caught in ("Exception", "BaseException")):
                    swallowed.append(f"{name_of(path)}:{node.lineno} {caught}")
    assert not swallowed


def test_files_and_package_stay_small():
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: lines for name, lines in sizes.items() if lines > 500}
    # families, their recipes and the world's content grow with what there is; what they all share does not
    shared = [lines for name, lines in sizes.items() if Path(name).parts[0] not in ("models", "recipes", "world")]
    # verification (policies, search, traces, judges) and preference alignment serve every family: 2,600 lines of it
    # the published benchmarks, each scored by its own rules, runs, judges, alarms and harnesses: 3,900 lines of it
    # the server, its limits and what it tells clients: 1,900 lines of it
    # rows of data from every kind of file, batch jobs, judges over HTTP: 2,400 lines of it
    # conversations, in Python, in the terminal and on the page: 1,500 lines of it
    # training over several processes, its checkpoints, and the gate of group learning: 1,100 lines of it
    # edits as a command, and edits and stories of the world measured: 350 lines of it
    # two readers compared, questions asked after a thought, groups that teach nothing left out: 60 lines of it
    # steppers that share the server's rows, riddles in which a number decides: 60 lines of it
    # what a family makes of a complete picture, in Python and on the server: 10 lines of it
    # verifiers that need no training: a generator's doubts, what a model says, several as one: 240 lines of it
    # a limit of steps on the promising, recorded pictures looked at by another judge, short questions: 80 lines of it
    assert 0 < sum(shared) <= 24_440


def test_no_file_is_a_drawer_for_everything():
    assert not [name_of(path) for path in FILES if path.stem in ("utils", "util", "common", "helpers", "misc")]


@pytest.mark.parametrize("module", ["limner", "limner.parts", "limner.catalog", "limner.world.scene", "limner.app.cli"])
def test_importing_is_light(module):
    command = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], f"import {module} loads {done.stdout}"


def test_tests_mirror_the_package():
    free = {"conformance", "parity"}  # one suite for all families; numbers of the originals
    alone = {"test_architecture", "test_readme"}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder.parts[:1] and folder.parts[0] in free or path.stem in alone:
            continue
        mirrored = PACKAGE / folder
        assert mirrored.is_dir(), f"{path.relative_to(ROOT)} mirrors no folder of the package"
        names = {p.stem for p in mirrored.iterdir() if p.suffix == ".py" or p.is_dir()}
        tested = path.stem.removeprefix("test_")
        matches = any(tested == name or tested.startswith(f"{name}_") for name in names)
        assert matches, f"{path.relative_to(ROOT)} is named after no module in {mirrored.relative_to(ROOT)}"


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    declared = {re.split(r"[<>=~! \[]", name)[0].lower().replace("-", "_") for name in wanted}
    # transformers says which tokenizers it goes with, fastapi which starlette
    called = {"PIL": "pillow", "skia": "skia_python", "yaml": "pyyaml"}
    called |= {"tokenizers": "transformers", "starlette": "fastapi"}
    undeclared = set()
    for path in FILES:
        for name, _ in imports(path):
            top = name.split(".")[0]
            if top not in {"limner"} | sys.stdlib_module_names and called.get(top, top).lower() not in declared:
                undeclared.add(f"{name_of(path)} imports {top}")
    assert not undeclared
