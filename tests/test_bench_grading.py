"""The benchmark of grading: its arithmetic by hand, and a tiny one from workloads to report."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys

import pandas as pd
import pytest

from egrc.evaluation import bench_grading
from egrc.evaluation.bench_grading import answered, bench, summary, workloads
from egrc.evaluation.pool import Pool


def test_summary_by_hand():
    seconds = [(1.0, 4.0), (2.0, 5.0), (0.5, 10.0)]
    same = {"workload": "w", "answers": 100, "decided": 0.25}
    rows = [same | {"pool": a, "one_thread": b, "processor": 0.3 * a} for a, b in seconds]
    assert summary(pd.DataFrame(rows)) == {
        "w": {
            "answers": 100,
            "decided": 0.25,
            "cpu_ms": 3.0,
            "pool": {"median": 100.0, "low": 50.0, "high": 200.0},
            "one_thread": {"median": 20.0, "low": 10.0, "high": 25.0},
        }
    }


def test_about_half_of_the_answers_are_right_and_each_turn_has_its_own():
    golds = [str(n) for n in range(1000)]
    pairs = answered(golds, random.Random(0))
    assert [gold for _, gold in pairs] == golds
    assert 450 < sum(completion.endswith(rf"\boxed{{{gold}}}.") for completion, gold in pairs) < 550
    for make in workloads(None, 80).values():
        first, again, other = (make(random.Random(seed)) for seed in (0, 0, 1))
        assert first == again != other and len(first) == 80


def test_eight_samples_of_a_problem_share_its_gold():
    pairs = workloads(None, 80)["samples"](random.Random(0))
    assert all(len({gold for _, gold in pairs[i : i + 8]}) == 1 for i in range(0, 80, 8))


@pytest.mark.e2e
def test_a_tiny_benchmark_keeps_its_report(tmp_path, monkeypatch):
    (tmp_path / "aime25").mkdir()
    rows = [{"id": str(n), "problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
    (tmp_path / "aime25" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(bench_grading, "Pool", lambda workers: Pool(workers, limit=20))
    some = {name: make for name, make in workloads(tmp_path, 8).items() if name in ("numbers", "aime25")}
    monkeypatch.setattr(bench_grading, "workloads", lambda folder, n: some)
    monkeypatch.setattr(bench_grading, "_processor_seconds", itertools.count().__next__)  # one second for each pool
    text = bench(tmp_path, turns=1, n=8, workers=1, out=tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["workloads"]) == ["numbers", "aime25"]
    assert report["workloads"]["aime25"]["answers"] == 30
    assert report["workloads"]["aime25"]["decided"] == report["workloads"]["numbers"]["decided"] == 1
    assert all(w["pool"]["median"] > 0 and w["one_thread"]["median"] > 0 for w in report["workloads"].values())
    assert [w["cpu_ms"] for w in report["workloads"].values()] == [1000 / 8, 33.33]
    assert report["gold"] == {"aime25": {"rows": 30, "exceptions": []}}
    assert "aime25" in text and "target 500" in text and "every row (aime25 30): all verify." in text


def test_a_gold_answer_that_does_not_verify_is_named(tmp_path):
    (tmp_path / "math500").mkdir()
    rows = [{"unique_id": name, "problem": name, "answer": answer} for name, answer in (("a", "1"), ("b", r"\text{ }"))]
    (tmp_path / "math500" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = bench_grading.against_itself(tmp_path, workers=1)["math500"]
    assert found["rows"] == 2 and [line.split(":")[0] for line in found["exceptions"]] == ["math500/b"]
    shown = bench_grading._gold({"math500": found})
    assert "these do not verify:\n* `math500/b" in shown


def test_graders_that_differ_are_an_error(monkeypatch):
    monkeypatch.setattr(bench_grading.grading, "grade", lambda completion, gold, limit: None)
    monkeypatch.setattr(bench_grading, "Pool", Nothing)
    with pytest.raises(RuntimeError, match="something in the pool, None without"):
        bench_grading._measured([("a", "b")], 1)


def test_processor_time_is_also_that_of_children():
    work = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"
    before = bench_grading._processor_seconds()
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline()
        assert bench_grading._processor_seconds() - before > 0.2
        child.stdin.close()


class Nothing:
    """A pool that knows no grade."""

    def __init__(self, workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def grade(self, pairs):
        return ["something" for _ in pairs]
