"""An MLPerf Tiny anomaly-detection submission: evaluation set, device, runner, tree."""
