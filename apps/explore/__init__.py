"""Looking at recordings: what they are, what is alike, and what is wrong with the machines."""
