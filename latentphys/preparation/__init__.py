"""From recordings to what a model sees: preprocessing, windows, batches."""
