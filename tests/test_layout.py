"""What lies where in the checkout is what is installed: complete, nothing beside it, and light to start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from posture.cli import COMMANDS

ROOT = Path(__file__).parents[1]
FOLDERS = {"posture": "posture", "posture.baselines": "baselines", "posture.checks": "checks", "posture.tui": "tui"}
"""The packages that are folders at the top of the checkout."""
FOLDER = str(ROOT / "examples" / "prod-eu" / "2026-10-13")


def modules() -> set[str]:
    """Every module of the checkout, by the name under which it is installed."""
    found = set()
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found.add(".".join((package, *(part for part in parts if part != "__init__"))))
    return found


def data() -> set[str]:
    """Every file of the checkout that is data, by the path under which it is installed."""
    return {
        (Path(package.replace(".", "/")) / file.relative_to(ROOT / folder)).as_posix()
        for package, folder in FOLDERS.items()
        for pattern in ("*.yaml", "*.json", "*.tcss", "py.typed")
        for file in (ROOT / folder).rglob(pattern)
    }


def environment(folder: Path) -> Path:
    """A clean virtual environment: what posture depends on can be imported in it, posture itself cannot."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    here = sysconfig.get_path("purelib")
    # The .pth files of a folder that a .pth file names are not read: the editable posture there stays unknown.
    Path(sysconfig.get_path("purelib", vars={"base": str(folder)}), "dependencies.pth").write_text(
        here, encoding="utf-8"
    )
    return folder


def install(into: Path, *what: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(into / "bin" / "python"),
        "install",
        "--quiet",
        "--no-index",
    ]
    command += ["--no-deps", "--no-build-isolation", "--ignore-installed", *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made of, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in FOLDERS.values():
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, or with an editable install of the copy."""
    folder = environment(tmp_path_factory.mktemp(request.param) / "venv")
    if request.param == "wheel":
        install(folder, str(request.getfixturevalue("wheel")))
    else:
        install(folder, "--editable", str(request.getfixturevalue("source")))
    return folder


def run(installed: Path, cwd: Path, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment from outside the checkout, with no setting of the caller's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("POSTURE_", "PYTHON"))}
    command = [str(installed / "bin" / program), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=300)


def test_every_folder_of_modules_is_listed() -> None:
    """setuptools does not search for subpackages: one that is not listed would silently be missing in the wheel."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]

    assert {name for name in modules() if (ROOT / _path(name) / "__init__.py").exists()} == set(configured["packages"])
    assert configured["package-dir"] == FOLDERS


def _installed(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / _path(module)).is_dir() else f"{path}.py"


def _path(module: str) -> str:
    for package, folder in sorted(FOLDERS.items(), reverse=True):
        if module == package or module.startswith(package + "."):
            return module.replace(package, folder, 1).replace(".", "/")
    raise AssertionError(module)


def test_the_wheel_holds_posture_and_nothing_else(wheel: Path) -> None:
    """Checks, baselines and schemas are inside; nothing of tests, bench, docs or examples is, at no place."""
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"posture"}
    assert data() <= set(names)
    assert {name for name in names if name.endswith(".py")} == {_installed(name) for name in modules()}
    assert sum(name.startswith("posture/checks/rbac/") for name in names) >= 75
    assert sum(name.startswith("posture/checks/escalations/") for name in names) >= 50
    assert not [name for name in names if not name.endswith((".py", ".yaml", ".json", ".tcss", "py.typed"))
                and ".dist-info/" not in name]  # fmt: skip


def test_every_module_can_be_imported(installed: Path, tmp_path: Path) -> None:
    """From outside the checkout every module is found and imported, under `posture` and no other name."""
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"

    done = run(installed, tmp_path, "python", "-c", code, *sorted(modules() - {"posture.__main__"}))

    assert done.returncode == 0, done.stderr
    for other in ("tui", "checks", "baselines", "tests", "bench", "examples", "docs"):
        assert run(installed, tmp_path, "python", "-c", f"import {other}").returncode == 1, other


def test_a_folder_can_be_scanned(installed: Path, tmp_path: Path) -> None:
    """Checks and default roles are found where they were installed."""
    done = run(installed, tmp_path, "posture", "scan", "--from", FOLDER, "--db", "posture.db", "--cluster", "prod-eu")

    assert done.returncode == 0, done.stderr
    assert "Everything may be done in the whole cluster" in done.stdout
    assert "default ClusterRoles as Kubernetes ships them" in done.stderr
    assert (tmp_path / "posture.db").exists()


def test_the_help_lists_every_command(installed: Path, tmp_path: Path) -> None:
    """`posture --help` and `python -m posture --help` say the same."""
    done = run(installed, tmp_path, "posture", "--help")

    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert run(installed, tmp_path, "python", "-m", "posture", "--help").stdout == done.stdout


# What is loaded -----------------------------------------------------------------------------------------------------


def loaded(tmp_path: Path, *args: str) -> set[str]:
    """The modules that are loaded once a command has run."""
    code = (
        "import json, sys; from posture.cli import run; code = run(sys.argv[2:]);"
        "open(sys.argv[1], 'w').write(json.dumps([code, *sys.modules]))"
    )
    told = tmp_path / "modules.json"
    env = os.environ | {"POSTURE_DB": str(tmp_path / "posture.db")}
    command = [sys.executable, "-c", code, str(told), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    code_and_modules: list[Any] = json.loads(told.read_text(encoding="utf-8"))
    assert code_and_modules[0] == 0, done.stderr
    return set(code_and_modules[1:])


@pytest.mark.parametrize(
    "args",
    [("scan", "--from", FOLDER), ("diff", FOLDER, FOLDER), ("who-can", "get", "secrets", "--from", FOLDER)],
    ids=lambda args: args[0],
)
def test_commands_on_folders_load_no_cluster_client_and_no_screen(args: tuple[str, ...], tmp_path: Path) -> None:
    """Without a cluster neither the kubernetes client nor Textual is loaded."""
    found = loaded(tmp_path, *args)

    assert "posture.rbac" in found
    assert not {"kubernetes", "textual", "urllib3", "posture.tui"} & found


def test_help_loads_almost_nothing(tmp_path: Path) -> None:
    """`posture --help` answers from the command line's own module: no room is entered."""
    found = loaded(tmp_path, "--help")

    assert {name for name in found if name.startswith("posture.")} <= {"posture.cli", "posture.errors", "posture.text"}
    assert not {"orjson", "yaml", "sqlite3", "jsonschema", "kubernetes", "sqlite_utils"} & found


def test_nothing_names_the_screen() -> None:
    """No module of the core imports posture.tui, at the top or inside a function: the screen imports the core."""
    core = sorted((ROOT / "posture").rglob("*.py"))
    assert core
    assert [file for file in core if "posture.tui" in file.read_text(encoding="utf-8")] == []
