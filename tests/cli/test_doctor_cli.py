"""`medqa-tui doctor`, as typed."""

import json
from pathlib import Path

from .conftest import Program


def test_a_machine_that_is_not_set_up(medqa: Program, home: Path) -> None:
    done = medqa("doctor", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["schema_version"], found["ok"]) == (1, False)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks)[:4] == ["settings", "python", "libraries", "package index"]
    assert {name for name, check in checks.items() if check["status"] == "fail"} == {
        "models",
        "corpora",
        "index",
    }
    assert checks["models"]["fix"] == "medqa-tui setup"
    assert checks["bitsandbytes"]["status"] == "ok"
    assert checks["device"]["detail"]
    assert not home.exists()


def test_a_broken_config_is_a_finding_and_no_end(medqa: Program, home: Path) -> None:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text("[retrieval]\nk = 'many'\n")
    done = medqa("doctor", "--plain")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAIL      settings      ")
    assert f"{path}, line 2" in lines[0]
    assert lines[1].strip() == "Fix: Change it with: medqa-tui config set retrieval.k VALUE"
    assert any(line.startswith("ok        torch ") for line in lines)
    assert "to fix" in done.stderr
