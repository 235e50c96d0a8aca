"""Reports on disk from before they are published until the platform's receipt has come.

The broker's confirmation is not enough: it may lose what it holds, the platform may die.
"""

from __future__ import annotations

import time
from pathlib import Path

from workers import config
from workers.protocol import limits, messages

#: Reports kept; the oldest gives way.
REPORTS_MAX = 1000
#: A report older than this is of no use to anybody, seconds.
AGE_SECONDS_MAX = 7 * 86_400


class Outbox:
    """A folder with one file per report without a receipt, oldest first. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.remove_drafts(folder)

    def put(self, report: messages.Report) -> Path:
        """Store the report and return its file."""
        path = self.path_of(report)
        config.write_atomically(path, report.model_dump_json().encode())
        return path

    def read(self, path: Path) -> bytes | None:
        """Return the stored body; None when it is gone or cannot be one."""
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            return None
        if 0 < len(body) <= limits.MESSAGE_BYTES_MAX:
            return body
        self.remove(path)
        return None

    def path_of(self, report: messages.Report | messages.ReportName) -> Path:
        """Return the report's file; both parts of its name are checked by the schema."""
        return self._folder / f"{report.assignment}.{report.nonce}.json"

    def remove(self, path: Path) -> None:
        """Forget a report that the platform has, or that is of no use."""
        path.unlink(missing_ok=True)

    def pending(self) -> list[Path]:
        """Return the files without a receipt, oldest first; too old or too many are removed."""
        stamped = sorted((path.stat().st_mtime, path) for path in self._folder.glob("*.json"))
        oldest = time.time() - AGE_SECONDS_MAX
        kept = [path for changed_at, path in stamped if changed_at >= oldest][-REPORTS_MAX:]
        for path in {path for _, path in stamped} - set(kept):
            self.remove(path)
        return kept
