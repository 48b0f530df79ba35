"""Settings and fixtures that all tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# pytest-xdist uses the cores already; set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run: a failure seen once is seen again. No deadline: nothing here is timed.
settings.register_profile(
    "ebmlang", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ebmlang")

Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        default=False,
        help="write the expected outputs anew instead of comparing with them",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(path, text)` compares text with a file; a missing file fails, `--update-golden` writes it."""
    update = bool(request.config.getoption("--update-golden"))

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        if not path.exists():
            pytest.fail(f"{path} does not exist; look at the output, then run with --update-golden\n\n{text}")
        # read_bytes, because universal newlines would hide a stray carriage return
        assert text == path.read_bytes().decode("utf-8"), f"{path} differs; --update-golden writes it anew"

    return compare
