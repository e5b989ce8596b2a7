"""What docs/hosts.md says was run, is a test."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
GUIDE = TESTS.parents[1] / "docs" / "hosts.md"


def test_every_row_of_the_guide_names_a_test_or_that_it_was_not_run() -> None:
    section = GUIDE.read_text().split("## Python")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    sources = {file.name: file.read_text() for file in TESTS.glob("test_*.py")}
    assert len(rows) > 20
    for row in rows:
        last = row.rstrip(" |").rsplit("|", 1)[-1]
        if row.startswith(("| host |", "| server |")) or "not run" in last or last.strip() == "the same":
            continue
        named = re.findall(r"`(test_\w+(?:\.py)?)`", last)
        assert named, row
        for test in named:
            known = test in sources or any(f"def {test}(" in text for text in sources.values())
            assert known, f"{test} is no test: {row}"
