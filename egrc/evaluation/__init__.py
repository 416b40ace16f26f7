"""Answers, put, graded and counted: benchmarks, sampling, grading, intervals."""
