"""One file a published system: what its paper claims, tried here."""
