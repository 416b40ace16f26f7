"""What is measured beyond the runs themselves; a module that is slow is a measurement (see `analysis.measure`)."""
