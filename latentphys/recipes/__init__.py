"""One short file per published system: a named choice of model and objective."""
