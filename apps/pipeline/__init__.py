"""Data set in, checked int8 models out: as a Kubeflow pipeline, here, or as a grid of runs."""
