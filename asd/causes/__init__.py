"""What is wrong with a machine: a classifier of causes, as it is stored and asked."""
