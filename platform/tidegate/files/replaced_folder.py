"""A folder, or several files of one, that are replaced as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tidegate.domain.errors import Unavailable

EARLIER = ".earlier"


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


@contextmanager
def put_in_place(fresh: Path, target: Path, names: Sequence[str], what: str) -> Iterator[None]:
    """Move what `fresh` has of `names` to their places in `target`; what it has not is removed there. An error in the block
    brings back what was there before, so that all of it counts, or none; `put_back` does so after a process that was killed
    in it. Raises Unavailable, naming `what`."""
    earlier, moves = target / EARLIER, list[tuple[Path, Path]]()
    put_back(target)
    try:
        try:
            earlier.mkdir()
            for each in [pair for name in names for pair in ((target / name, earlier / name), (fresh / name, target / name))]:
                if each[0].exists():
                    os.rename(*each)
                    moves.append(each)
        except OSError as error:
            raise Unavailable(f"{what}: cannot write {target} ({error}); free space or fix permissions") from error
        yield
    except BaseException:
        for source, to in reversed(moves):
            os.rename(to, source)
        raise
    finally:
        shutil.rmtree(earlier, ignore_errors=True)


def put_back(target: Path) -> None:
    """Bring back what a `put_in_place` that was killed had moved away."""
    for path in sorted((target / EARLIER).glob("*")):
        place = target / path.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(path, place)
    shutil.rmtree(target / EARLIER, ignore_errors=True)
