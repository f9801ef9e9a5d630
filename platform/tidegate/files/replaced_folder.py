"""A folder that is replaced as a whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidegate.domain.errors import Unavailable


@contextmanager
def replaced_folder(target: Path, what: str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    The earlier folder stays as it is until then. Two renames make the change; should the second one fail, the first is undone.
    Raises Unavailable, naming `what`, when the disk refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise Unavailable(f"{what}: cannot write beside {target} ({error.strerror}); free space or fix permissions") from error
    earlier = fresh.with_name(f"{fresh.name}-earlier")
    try:
        fresh.chmod(0o755)
        yield fresh
        if target.exists():
            os.rename(target, earlier)
        try:
            os.rename(fresh, target)
        except OSError:
            if earlier.exists():
                os.rename(earlier, target)
            raise
    except OSError as error:
        raise Unavailable(f"{what}: cannot write {target} ({error}); free space or fix permissions") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
