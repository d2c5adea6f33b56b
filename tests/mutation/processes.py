"""Tests in forked processes: which lines each test runs, and whether any of them notices a changed module.

A process that has imported all packages is forked for every question, imports the project anew, with one module's code
replaced in memory, and ends. No file is changed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coverage
import pytest
from core_modules import ROOT, module_of, source
from hypothesis import settings

PYTEST = ("-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark")
MEMORY = 6 * 2**30  # bytes that a mutant may take beyond what is taken before


def prepare(files: Sequence[Path]) -> None:
    """Import what the tests import, and forget what is of this project."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    settings.register_profile("mutation", derandomize=True, database=None, max_examples=10, deadline=None)
    settings.load_profile("mutation")
    if pytest.main([*PYTEST, "--collect-only", "-qq", *map(str, files)]) != 0:
        raise SystemExit("the tests could not be collected")
    own = Path(__file__).parent
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/")
        is_ours = any(path.is_relative_to(ROOT / folder) for folder in ("perceptlib", "tests", "book"))
        if is_ours and path.parent != own and name != "__main__":
            del sys.modules[name]


def forked(task: Callable[[], Any], seconds: float) -> Any:
    """What a task returns in a process of its own; the name of the signal where it was ended by one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        # processor time, so that a busy machine lets no test run out of it
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        try:
            with os.fdopen(writer, "w") as pipe:
                json.dump(task(), pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"ended": "timeout" if os.WTERMSIG(status) in (9, 24) else f"signal {os.WTERMSIG(status)}"}
    return json.loads(answer) if answer else {"ended": "crash"}


def reach(file: Path) -> dict[str, Any]:
    """Tests of a file: processor seconds of each that passes, and the lines of the project that it runs."""
    watch = coverage.Coverage(data_file=None, source=[str(ROOT / "perceptlib")], config_file=False)

    class Recorder:
        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}
            self.others: list[str] = []

        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
            watch.switch_context(item.nodeid)
            started = time.process_time()
            yield
            self.seconds[item.nodeid] = time.process_time() - started
            watch.switch_context("")

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if not report.passed:
                self.others.append(report.nodeid)

    recorder = Recorder()
    watch.start()
    pytest.main([*PYTEST, str(file)], plugins=[recorder])
    watch.stop()
    data = watch.get_data()
    lines: dict[str, dict[str, list[int]]] = {}
    for path in data.measured_files():
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                lines.setdefault(module_of(path), {}).setdefault(context, []).append(line)
    passed = {name: spent for name, spent in recorder.seconds.items() if name not in recorder.others}
    return {"seconds": passed, "lines": lines}


def verdict(module: str, code: str, tests: Sequence[str]) -> dict[str, str]:
    """Whether tests, run in the order given until one fails, kill a module with this code."""
    sys.meta_path.insert(0, _Finder(module, code))
    place = {name: index for index, name in enumerate(tests)}
    failed: list[str] = []

    class Selection:
        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    files = sorted({name.partition("::")[0] for name in tests})
    status = pytest.main([*PYTEST, "-x", *files], plugins=[Selection()])
    if status == pytest.ExitCode.OK:
        return {"ended": "survived"}
    return {"ended": "killed", "by": failed[0] if failed else "an import"}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module of the project, with other code."""

    def __init__(self, module: str, code: str) -> None:
        self.name, self.code, self.place = f"perceptlib.{module}", code, str(source(module))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = _Loader(fullname, self.place, self.code)
        return importlib.util.spec_from_file_location(fullname, self.place, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, text: str) -> None:
        super().__init__(fullname, path)
        self.text = text

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)
