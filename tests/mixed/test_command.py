"""`ebmlang marginal` with real unknowns, and when it is interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmlang.cli import main
from ebmlang.summing import Summing

MODEL = """model m(n: int) {
  observed x : real[n]
  latent z : real[n]
  latent s : bool
  energy fit = ||x - z||^2 + where(s, 1, -1) * z[0] + 0.5 * x[0] * z[0]^2
  marginalize z, s
}"""


def files(folder: Path) -> tuple[Path, Path, Path]:
    model, data = folder / "m.ebm", folder / "x.npz"
    model.write_text(MODEL)
    np.savez(data, x=np.array([[1.0, 2.0], [0.5, 0.0], [-4.0, 1.0]]))
    return model, data, folder / "out.npz"


def test_moments_are_written_and_infinite_rows_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, out = files(tmp_path)
    words = ["marginal", str(model), "--data", str(data), "-o", str(out), "--dtype", "float64"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["infinite"], shown["impossible"]) == (3, 1, 0)
    stored = np.load(out)
    assert stored["marginal.z"].shape == stored["deviation.z"].shape == (3, 2)
    assert stored["covariance.z"].shape == (3, 2, 2)
    assert stored["marginal.s"].shape == (3, 2)
    np.testing.assert_allclose(stored["deviation.z"][:2, 1], np.sqrt(0.5), rtol=1e-12)
    assert np.isposinf(stored["log_z"][2])
    assert shown["moments"]["z"]["mean"] == pytest.approx(float(np.nanmean(stored["marginal.z"])), rel=1e-9)
    assert main([*words, "--force", "--strict"]) == 3
    text = capsys.readouterr().out
    assert "1 of 3 rows: infinite: the energy curves downwards along z[0]" in text


def test_ctrl_c_keeps_the_chunks_that_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, out = files(tmp_path)
    whole = Summing.chunks

    def chunks(self: Summing) -> Iterator[Any]:
        monkeypatch.setattr(type(self.run), "chunk_size", lambda _: 1)
        for number, found in enumerate(whole(self)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Summing, "chunks", chunks)
    assert main(["marginal", str(model), "--data", str(data), "-o", str(out)]) == 130
    assert capsys.readouterr().err.endswith("interrupted: 2 of 3 rows are finished\n")
    assert np.load(out)["log_z"].shape == (2,)
