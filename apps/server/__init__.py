"""The inference service: recordings come in, verdicts go out. See README.md."""
