"""What `pip install` puts on a machine is the tree, and what `make` installs is pinned."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LINKED = ("grammar", "compiler", "runtime", "models")
PACKAGED = {".py", ".lark", ".ebm", ".typed"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tree() -> dict[str, bytes]:
    """Files that a wheel must hold, by their names in it."""
    files = {}
    for folder in ("ebmlang", *LINKED):
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT)
            linked = folder == "ebmlang" and name.parts[1] in LINKED  # counted in the real folder
            if path.is_file() and path.suffix in PACKAGED and not linked:
                files[name.as_posix() if folder == "ebmlang" else f"ebmlang/{name.as_posix()}"] = (
                    path.read_bytes()
                )
    return files


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what building needs, because setuptools leaves its build folders in the tree."""
    target = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("ebmlang", *LINKED):
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def build(kind: str, source: Path, target: Path) -> Path:
    """Call setuptools as pip does, without fetching anything."""
    target.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


def packaged(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_the_tree(copy: Path, tmp_path: Path) -> None:
    found, expected = packaged(build("wheel", copy, tmp_path / "wheel")), tree()
    assert set(found) == set(expected)
    assert found == expected


def test_a_wheel_made_from_a_source_archive_is_the_same(copy: Path, tmp_path: Path) -> None:
    archive = build("sdist", copy, tmp_path / "sdist")
    # The first versions of Python 3.11 extract without filters.
    filtered: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", **filtered)
    (source,) = (tmp_path / "unpacked").iterdir()
    assert packaged(build("wheel", source, tmp_path / "wheel")) == tree()


def test_a_wheel_can_be_imported_and_leaves_bare_names_alone(copy: Path, tmp_path: Path) -> None:
    wheel = build("wheel", copy, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert {path.name for path in (tmp_path / "site").iterdir() if path.suffix != ".dist-info"} == {"ebmlang"}
    code = (
        "import sys; sys.path.insert(0, 'site'); import ebmlang.grammar, ebmlang.cli as c; print(c.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("site/ebmlang/cli.py")


def test_links_are_relative() -> None:
    for name in LINKED:
        assert (ROOT / "ebmlang" / name).readlink() == Path("..") / name


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if line and line[0] != "#"]
    assert all(found), "every line is NAME==VERSION"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def declared() -> list[Requirement]:
    """Everything that `pip install -e '.[test]'` asks for itself."""
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *extras["data"], *extras["test"]]
    return [Requirement(text) for text in texts if not text.startswith("ebmlang[")]


def test_ranges_hold_the_pins() -> None:
    pinned = pins()
    assert pinned["torch"] == "2.13.0"
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert requirement.specifier, f"{name} has no range"
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]} is outside the range"


def test_everything_installed_is_pinned() -> None:
    pinned = pins()
    left, seen = [canonicalize_name(requirement.name) for requirement in declared()], set[str]()
    while left:
        name = left.pop()
        if name in seen or name.startswith(("nvidia-", "cuda-", "triton")):
            continue  # accelerator builds of torch bring their own libraries
        seen.add(name)
        assert name in pinned, f"{name} is installed without a pin"
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an optional one that is not there
        for text in needed:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(canonicalize_name(requirement.name))
    assert {"torch", "mpmath", "mdurl"} <= seen, "the walk reaches what is needed in turn"
