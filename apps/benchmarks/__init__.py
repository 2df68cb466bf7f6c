"""The measurements behind every claim of speed or size."""
