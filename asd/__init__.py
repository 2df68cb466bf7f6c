"""The library behind the numbered scripts, a room for each stage of the story."""
