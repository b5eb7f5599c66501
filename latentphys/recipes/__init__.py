"""One short file a published system: a named choice of model, objective and preparation."""
