"""Short systems of the gallery meet their bars; of long ones, the last results are kept."""

import json

import pytest

from tests.gallery.__main__ import RESULTS
from tests.gallery.figures import GALLERY, System
from tests.gallery.table import SYSTEMS


@pytest.mark.parametrize("system", [s for s in SYSTEMS if not s.long], ids=lambda s: s.name)
def test_bars(system: System) -> None:
    figures = system.measure()
    missed = [f"{f.what}: {f.value:.6g}, bar {f.bar}" for f in figures if not f.met and not f.shortfall]
    assert figures
    assert not missed


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
def test_results_are_kept_and_models_say_how_to_run_them(system: System) -> None:
    text = system.path.read_text(encoding="utf-8")
    assert "\n# ebmlang " in text, "a command stands in the comment before the model"
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))[system.name]
    assert kept["file"] == system.file
    assert kept["reference"] == system.reference
    assert kept["long"] == system.long
    assert kept["figures"]


def test_every_model_of_the_groups_has_figures() -> None:
    groups = [folder.name for folder in GALLERY.iterdir() if folder.is_dir()]
    files = {
        path.relative_to(GALLERY).as_posix() for group in groups for path in (GALLERY / group).glob("*.ebm")
    }
    assert files == {system.file for system in SYSTEMS}


def test_names_are_unique() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
