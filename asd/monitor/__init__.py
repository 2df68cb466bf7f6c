"""A trained machine listened to without an end: `python -m asd.monitor`, see `__main__`."""
