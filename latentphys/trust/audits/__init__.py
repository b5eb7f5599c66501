"""Named audits of a fitted model, one short file each: what it follows, and what it ignores."""
