"""The inference service and its page."""
