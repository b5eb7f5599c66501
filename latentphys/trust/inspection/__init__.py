"""Inspection: what each number of the state does, and where its transition rests and turns."""
