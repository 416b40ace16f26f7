"""Runs and their records: settings by scale, sweeps, measurements, search, export, `make paper`."""
