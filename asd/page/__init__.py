"""Pages for a browser: a file each that needs no network, of what is in files of a run."""
