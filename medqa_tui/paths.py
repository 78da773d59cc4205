"""Where things lie on disk: platformdirs, or one folder tree under MEDQA_HOME."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

APP_NAME = "medqa-tui"


@dataclass(frozen=True, slots=True)
class Paths:
    """The five folders of the program. Nothing is created until `ensure` is called."""

    config: Path
    data: Path
    cache: Path
    state: Path
    run: Path

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def adapters(self) -> Path:
        return self.data / "adapters"

    @property
    def corpora(self) -> Path:
        return self.data / "corpora"

    @property
    def indexes(self) -> Path:
        return self.data / "indexes"

    @property
    def active_file(self) -> Path:
        """Names what is installed and in use; written last, by one atomic rename."""
        return self.data / "active.json"

    @property
    def history_db(self) -> Path:
        return self.data / "history.db"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def studies(self) -> Path:
        """Sweeps: a database of trials each, and what this machine keeps of them."""
        return self.data / "studies"

    @property
    def trainings(self) -> Path:
        """What each training tells of itself while it runs, and how it ended."""
        return self.state / "training"


def get_paths() -> Paths:
    """Return the folders in force now; `MEDQA_HOME` overrides all of them."""
    home = os.environ.get("MEDQA_HOME")
    if home:
        root = Path(home).expanduser().absolute()
        return Paths(root / "config", root / "data", root / "cache", root / "state", root / "run")
    import platformdirs

    dirs = platformdirs.PlatformDirs(APP_NAME, appauthor=False)
    with warnings.catch_warnings():
        # Where the system offers no runtime folder, platformdirs' own choice is good enough.
        warnings.simplefilter("ignore")
        runtime = Path(dirs.user_runtime_dir)
    return Paths(
        Path(dirs.user_config_dir),
        Path(dirs.user_data_dir),
        Path(dirs.user_cache_dir),
        Path(dirs.user_state_dir),
        runtime,
    )


def ensure(folder: Path) -> Path:
    """Create `folder` (and its parents) with mode 0700 and return it.

    Raises:
        MedQAError: The folder cannot be created or written.
    """
    from medqa_tui.errors import MedQAError

    try:
        # `parents=True` would give the folders above the default mode.
        for missing in reversed([at for at in (folder, *folder.parents) if not at.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MedQAError(
            "A folder could not be created.",
            f"{folder}: {error.strerror or error}.",
            "Check its permissions, or set MEDQA_HOME to a folder of yours.",
        ) from error
    return folder
