"""The library behind the numbered scripts: flat modules, each one stage of the story."""
