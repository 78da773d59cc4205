"""The real starter profile, set up once for the whole session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A loaded machine takes minutes for what an idle one does in half of one.
SETUP_TIMEOUT = 1800


@pytest.fixture(scope="session")
def starter_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the starter profile in use; MEDQA_TEST_HOME names one to set up or reuse."""
    given = os.environ.get("MEDQA_TEST_HOME")
    home = Path(given).absolute() if given else tmp_path_factory.mktemp("starter") / "home"
    done = subprocess.run(
        [sys.executable, "-m", "medqa_tui", "setup", "--yes"],
        env={**os.environ, "MEDQA_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SETUP_TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home
