"""Networks that give windows a likelihood, or nearly one, and how they are trained."""
