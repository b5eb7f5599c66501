"""Labelled results in, Matplotlib axes out; nothing is computed here."""
