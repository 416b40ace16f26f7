"""Arrows run one way: core <- evaluation <- methods <- worlds <- experiments <- analysis <- figures <- command line.

All imports are read, those inside functions and for type checking, too.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import egrc

PACKAGE = Path(egrc.__file__).parent
LAYERS = ("core", "evaluation", "methods", "worlds", "experiments", "analysis", "figures", "paper", "__main__")
DEFAULTS = {
    ("egrc.settings", "egrc.methods.egrc"),  # the paper's own recipe, for a trainer that was given none
    ("egrc.trainer", "egrc.evaluation.pool"),  # math-verify's grader, likewise
}
"""The two arrows from the core outwards."""


def modules() -> dict[str, Path]:
    names = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


MODULES = modules()


def imports(file: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name in MODULES and name != "egrc"}


def layer(module: str) -> int:
    part = module.split(".")[1] if "." in module else "core"
    return LAYERS.index(part) if part in LAYERS else 0


GRAPH = {name: imports(file) - {name} for name, file in MODULES.items()}


def test_no_arrow_runs_outwards():
    outwards = {(a, b) for a, names in GRAPH.items() for b in names if layer(b) > layer(a)}
    assert outwards - DEFAULTS == set()
    assert outwards >= DEFAULTS, "an exception that is none any more"


def test_there_is_no_circle():
    """Packages that only name their members are left out, as are the two defaults."""
    named = {"egrc.methods", "egrc.worlds.pocket", "egrc.paper"}
    inits = {name for name, file in MODULES.items() if file.name == "__init__.py"} - named
    graph = {a: {b for b in names - inits if (a, b) not in DEFAULTS} for a, names in GRAPH.items()}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("method", sorted(p.stem for p in (PACKAGE / "methods").glob("*.py") if p.stem[0] != "_"))
def test_a_method_reaches_the_core_and_other_methods_only(method):
    allowed = {"core", "methods", "evaluation"} if method.startswith("tokensqueeze") else {"core", "methods"}
    assert {LAYERS[layer(name)] for name in GRAPH[f"egrc.methods.{method}"]} <= allowed
