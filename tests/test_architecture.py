"""docs/architecture.md is true: its lists of parts, threads and locks are those of the code."""

from __future__ import annotations

import ast
import fnmatch
import pathlib
import re
from collections.abc import Iterator

from .support import ROOT
from .test_imports import HOUSE, PACKAGE, TRANSPORT, arrows_up, edges, modules

TESTS = ROOT / "tests"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
#: What makes a lock. A condition without a lock of its owner's has one of its own.
MAKERS = {"Lock", "RLock", "Condition"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for name, path in modules(PACKAGE).items():
        if not name.startswith("testing"):
            yield name, ast.parse(path.read_text())


def is_call(node: ast.AST | None, *names: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "threading"
        and node.func.attr in names
    )


def locks(module: str, tree: ast.Module) -> Iterator[str]:
    """The locks that a module makes: ``Class.attribute``, or ``module.name``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and is_call(node.value, *MAKERS):
            yield from (f"{module}.{ast.unparse(target)}" for target in node.targets)
    for kind in ast.walk(tree):
        if not isinstance(kind, ast.ClassDef):
            continue
        for node in ast.walk(kind):
            if isinstance(node, ast.Assign) and is_call(node.value, *MAKERS):
                made = node.value
                if is_call(made, "Condition") and made.args:  # type: ignore[attr-defined]
                    continue  # of a lock that has a name already
                for target in map(ast.unparse, node.targets):
                    yield f"{kind.name}.{target.removeprefix('self.')}"


def threads(tree: ast.Module) -> Iterator[str]:
    """The names of the threads that a module makes; a number in one is N."""
    for node in ast.walk(tree):
        if is_call(node, "Thread"):
            names = [word.value for word in node.keywords if word.arg == "name"]  # type: ignore[attr-defined]
            assert names, f"a thread without a name: {ast.unparse(node)}"
            yield re.sub(r"\{.*?\}", "N", ast.unparse(names[0]).lstrip("f").strip("'"))


def column(heading: str) -> set[str]:
    """What the first columns of the tables that begin with that heading name, as code."""
    found = set()
    for table in re.findall(rf"^\| {heading} \|.*\n\|[- |]+\n((?:\|.*\n)+)", TEXT, re.M):
        for row in table.splitlines():
            found |= set(re.findall(r"`([^`]+)`", row.split("|")[1]))
    return found


def listed() -> list[str]:
    """The parts of the package in the order of the list at the top."""
    block = TEXT.split("```\n")[1].split("js/ ")[0]
    lines = [line[2:].split("  ")[0] for line in block.splitlines() if re.match(r"  \S", line)]
    return [name.removesuffix("/").removesuffix(".py") for line in lines for name in line.split()]


def test_the_list_has_the_order_of_the_imports() -> None:
    rank = {name: level for level, names in enumerate(HOUSE) for name in names}
    assert sorted(listed()) == sorted(rank)
    order = [rank[name] for name in listed()]
    assert order == sorted(order)


def test_the_list_names_what_is_in_the_packages() -> None:
    block = TEXT.split("```\n")[1]
    for package in ("journal", "turns", "answers", "stores", "sql", "sync", "socketio"):
        entry = re.search(rf"^  {package}/(.*?)^(  )?\S", block, re.M | re.S)
        assert entry
        named = set(re.findall(r"(\w+)\.py", entry[1]))
        assert named == {path.stem for path in (PACKAGE / package).glob("[!_]*.py")}, package


def test_the_table_of_the_transport_has_the_order_of_its_imports() -> None:
    table = TEXT.split("| layer | modules | owns |")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[2]) for row in table.splitlines()[2:]]
    assert sorted(name for row in rows for name in row) == sorted(
        name for level in TRANSPORT for name in level if name != "__init__"
    )
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, b in edges(PACKAGE / "transport")}
    place = {name: number for number, row in enumerate(rows) for name in row}
    between = {(a, b) for a, b in pairs if a in place and b in place and place[a] != place[b]}
    assert arrows_up(between, rows) == []


def test_the_map_of_the_scripts_has_the_order_of_their_imports() -> None:
    table = TEXT.split("| files | what is there |")[1]
    named = [name for row in table.splitlines() for name in re.findall(r"`(\w+\.js)`", row)]
    scripts = {path.name: path.read_text() for path in (ROOT / "js" / "src").glob("*.js")}
    # The bundler puts io.esm.js in the place of io.js.
    assert sorted(named) == sorted(scripts.keys() - {"io.esm.js"})
    before = [
        (name, other)
        for place, name in enumerate(named)
        for other in re.findall(r"from '\./(.+?)'", scripts[name])
        if other not in named[:place]
    ]
    assert before == []


def test_every_lock_is_in_a_table() -> None:
    made = {lock for module, tree in trees() for lock in locks(module, tree)}
    kinds = {
        node.name
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    named = {
        name for name in column("lock") - {"turns.local"} if re.fullmatch(r"\w+(\.\w+)+", name)
    }
    assert made - named == set()
    # What is named besides is a lock of something that such an object inherits.
    gone = {name for name in named - made if name.split(".")[-2] not in kinds}
    assert gone == set()


def test_every_thread_is_in_the_table() -> None:
    assert {thread for _, tree in trees() for thread in threads(tree)} == column("thread")


def test_a_lock_and_a_thread_are_found() -> None:
    tree = ast.parse(
        "import threading\n"
        "_a = threading.Lock()\n"
        "class B:\n"
        "    def __init__(self):\n"
        "        self.c = threading.RLock()\n"
        "        self.d = threading.Condition(self.c)\n"
        "        self.e = threading.Condition()\n"
        "        threading.Thread(target=f, name=f'worker-{self.n}')\n"
    )
    assert list(locks("m", tree)) == ["m._a", "B.c", "B.e"]
    assert list(threads(tree)) == ["worker-N"]


def untested(table: dict[str, list[str]], root: pathlib.Path, tests: pathlib.Path) -> set[str]:
    """The modules that have no tests of their name, and none that the table names."""
    return {
        name
        for name in (str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.py"))
        if not name.startswith("client/") and not name.endswith("__init__")
        if not list((tests / name).parent.glob(f"test_{pathlib.Path(name).name}*.py"))
        if not any(fnmatch.fnmatch(name, pattern) for pattern in table)
    }


def test_one_glance_tells_where_the_tests_of_a_module_are() -> None:
    """By the name of the module, or by the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("| modules | tests |")[1].split("\n\n")[0]
    cells = [row.split("|")[1:3] for row in text.splitlines()[2:]]
    table = {name: re.findall("`(.+?)`", files) for names, files in cells for name in names.split()}
    table = {name.strip("`"): files for name, files in table.items()}
    assert {file for files in table.values() for file in files if not (TESTS / file).exists()} == (
        set()
    )
    assert {name for name in table if not list(PACKAGE.glob(f"{name}.py"))} == set()
    assert untested(table, PACKAGE, TESTS) == set()
    assert "execution" in untested({}, PACKAGE, TESTS)
    assert "stack" not in untested({}, PACKAGE, TESTS)


def test_the_layout_has_every_folder() -> None:
    """Of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.split("| directory | what is in it |")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `([^`]+)/`", table, re.M))
    made = {"build", "dist"}
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
    top = {name for name in top - made if not name.endswith((".egg-info", "__pycache__"))}
    assert {name for name in named if "/" not in name} == top
    # Built, so perhaps not there yet.
    there = {name for name in named if (ROOT / name).is_dir()}
    assert named - there <= {"backboneio/client"}
