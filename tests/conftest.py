"""What all tests share: in CI (EGRC_NO_SKIP=1) a test that did not run is a test that failed."""

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

settings.register_profile("shared", deadline=None)  # a machine that others use, too, is slow at times
settings.load_profile("shared")

LONG = ("test_notebooks", "test_readme", "test_paper", "test_trainer")
"""Files that take long: they come first, so that no core waits for one of them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that names its reason; an expected failure is no skip."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("EGRC_NO_SKIP") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"EGRC_NO_SKIP=1 forbids skipping: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.fixture(scope="module")
def shared_numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Numbers of the records in data/ are worked out once for all tests that use this, as in a `make paper`.

    Not for tests with other records, or with functions of egrc replaced.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-numbers"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGRC_SHARED", str(folder))
        yield
