"""Python modules made from source that was read once: what was hashed, is what runs.

Python's own import is no way to load definitions or a release's code. It takes a module's byte code from `__pycache__` beside
the source, unseen, when its header says that it fits, and whatever lies on the path under a name; no digest covers either.
Here files are read first, `Sources.digest` covers them, and modules are compiled from those bytes alone:

- `module` runs one under a name of its own, so that releases in one process share nothing. What it imports is taken from the
  same sources where they have it, also later and from within functions, and from what is installed otherwise.
- `importable` serves all of them under their plain names for the length of a block, for tools that import by name.

Limit: code that asks `importlib` by itself, or changes `sys.path`, is on its own.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import linecache
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tidegate.domain.digests import digest_of
from tidegate.domain.errors import InvalidInput
from tidegate.files.digests import IGNORED_NAMES


class Sources:
    """Python files by their POSIX path below `root`. `label` begins the names of modules and must differ between sources."""

    def __init__(self, label: str, files: Mapping[str, bytes], root: Path) -> None:
        self.label, self.files, self.root = label, dict(files), root
        self._modules: dict[str, ModuleType] = {}
        self._lock = threading.RLock()
        self._builtins = {**vars(builtins), "__import__": self._import}

    @classmethod
    def of(cls, folder: Path) -> Sources:
        """All Python files below `folder` as they are now."""
        return cls._read(folder, (path for path in folder.rglob("*.py") if IGNORED_NAMES.isdisjoint(path.parts)))

    @classmethod
    def beside(cls, file: Path) -> Sources:
        """A definition's file and the Python files in its folder, as they are now."""
        return cls._read(file.parent, file.parent.glob("*.py"))

    @classmethod
    def _read(cls, folder: Path, paths: Iterable[Path]) -> Sources:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths) if path.is_file()}
        return cls(f"tidegate_sources_{digest_of([str(folder), _digests(files)])[:16]}", files, folder)

    @property
    def digest(self) -> str:
        """One digest of names and contents, independent of where they lie."""
        return digest_of(_digests(self.files))

    @property
    def loaded_digest(self) -> str:
        """One digest of the files that modules were made of so far."""
        loaded = {file for name in self._modules if (file := self.find(name))}
        return digest_of(_digests({file: self.files[file] for file in sorted(loaded)}))

    def module(self, file: str) -> ModuleType:
        """The module in `file`, run once; raises FileNotFoundError, and whatever the code raises."""
        if file not in self.files or not file.endswith(".py"):
            raise FileNotFoundError(f"there is no file {self.root / file}")
        return self._load(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."))

    @contextmanager
    def importable(self) -> Iterator[None]:
        """For the length of the block, `import NAME` anywhere in this process takes these sources first, each run anew.

        Raises InvalidInput for a file that has the name of a module which is installed: others would get it in its place.
        """
        for file in self.files:
            self._refuse_shadow(file)
        finder = _Finder(self)
        names = [name for file in self.files if (name := _dotted(file))]
        hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)

    def _refuse_shadow(self, file: str) -> None:
        top = file.partition("/")[0].removesuffix(".py")
        spec = None if top in sys.stdlib_module_names else PathFinder.find_spec(top)
        origin = spec.origin if spec else None
        elsewhere = origin is not None and not Path(origin).is_relative_to(self.root)
        if top in sys.stdlib_module_names or elsewhere:
            raise InvalidInput(f"{self.root / file} has the name of the installed module '{top}'; rename it")

    def find(self, name: str) -> str | None:
        """The file of module `name`; '' for a folder without `__init__.py`, None where there is none."""
        path = name.replace(".", "/")
        found = next((file for file in (f"{path}/__init__.py", f"{path}.py") if file in self.files), None)
        return "" if found is None and any(file.startswith(f"{path}/") for file in self.files) else found

    def code(self, file: str) -> CodeType:
        path, content = str(self.root / file), self.files[file]
        # what asks for a function's source (Kubeflow's components, Feast's functions) gets these lines, not the file's of then
        linecache.cache[path] = (len(content), None, content.decode(errors="replace").splitlines(keepends=True), path)
        return compile(content, path, "exec", dont_inherit=True)

    def _load(self, name: str) -> ModuleType:
        with self._lock:
            if name in self._modules:
                return self._modules[name]
            parent = self._load(name.rpartition(".")[0]) if "." in name else None
            file = self.find(name)
            if file is None:
                raise ModuleNotFoundError(f"No module named {name!r} in {self.root}", name=name)
            module = ModuleType(f"{self.label}.{name}")
            package = file == "" or file.endswith("/__init__.py")
            module.__package__ = module.__name__ if package else module.__name__.rpartition(".")[0]
            if package:
                module.__path__ = []
            module.__dict__["__builtins__"] = self._builtins
            self._modules[name] = sys.modules[module.__name__] = module  # annotations are resolved through it
            try:
                if file:
                    module.__file__ = str(self.root / file)
                    exec(self.code(file), module.__dict__)  # noqa: S102 - what this module is for
            except BaseException:
                del self._modules[name], sys.modules[module.__name__]
                raise
            if parent is not None:
                setattr(parent, name.rpartition(".")[2], module)
            return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` as the modules see it."""
        if level:
            package = str((globals or {}).get("__package__", "")).removeprefix(self.label)
            name = importlib.util.resolve_name("." * level + name, f"_{package}").removeprefix("_").removeprefix(".")
        elif self.find(name.partition(".")[0]) is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self._load(name) if name else self._root()
        for each in fromlist or ():
            within = f"{name}.{each}" if name else each
            if not hasattr(module, each) and self.find(within) is not None:
                setattr(module, each, self._load(within))
        return module if fromlist else self._load(name.partition(".")[0])

    def _root(self) -> ModuleType:
        """What `from . import NAME` at the top of the folder means."""
        return self._modules.setdefault("", ModuleType(self.label))


class _Finder(MetaPathFinder, Loader):
    """Modules of sources under their plain names."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        file = self._sources.find(fullname)
        if file is None:
            return None
        if not file:
            return ModuleSpec(fullname, self, is_package=True)
        spec = ModuleSpec(fullname, self, origin=str(self._sources.root / file), is_package=file.endswith("/__init__.py"))
        spec.has_location = True  # `__file__`, by which definitions find what lies beside them
        return spec

    def exec_module(self, module: ModuleType) -> None:
        if file := self._sources.find(module.__name__):
            exec(self._sources.code(file), module.__dict__)  # noqa: S102 - what this module is for


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
