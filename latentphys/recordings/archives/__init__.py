"""Public archives: what their sets hold, fetching them verified, and reading what was fetched."""
