"""The state folder is its owner's alone: nobody else reads what was served, or holds a lock that everything waits for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

OTHERS = 0o077


def keep_private(folder: Path) -> str:
    """From now on this process makes files for its user alone, and a `folder` that others may enter is closed to them.

    Returns a sentence where that cannot be done, else ''. Only a folder that was open is walked through.
    """
    os.umask(OTHERS)
    try:
        mode = folder.stat().st_mode
        if mode & OTHERS == 0:
            return ""
        folder.chmod(stat.S_IMODE(mode) & ~OTHERS)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = os.path.join(place, name)
                found = os.lstat(path)
                if found.st_mode & OTHERS and not stat.S_ISLNK(found.st_mode):
                    os.chmod(path, stat.S_IMODE(found.st_mode) & ~OTHERS)
    except FileNotFoundError:
        return ""  # made with the first file, or a file that went while we walked
    except OSError as error:
        return (
            f"{folder} is open to others and cannot be closed ({error.strerror}); its owner does it by 'chmod -R go= {folder}'"
        )
    return ""
