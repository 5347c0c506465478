"""Pictures on the disk to batches; the built-in towns; the public data sets."""
