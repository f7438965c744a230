"""Optional libraries: what needs one that is not there says how to get it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["SQLJournal", "middleware.sqlalchemy_store"])
def test_what_needs_sqlalchemy_names_the_extra(name: str) -> None:
    program = f"import sys; sys.modules['sqlalchemy'] = None; import backboneio; backboneio.{name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {name.rpartition('.')[2]} needs SQLAlchemy: "
        "pip install 'backboneio[sqlalchemy]'"
    )
