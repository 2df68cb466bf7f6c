"""The numbered scripts as a pipeline, and grids of them on one machine or many."""
