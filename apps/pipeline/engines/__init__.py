"""Where a grid's cells run: a module each, with `run(grid, cells)`, which yields as they end."""
