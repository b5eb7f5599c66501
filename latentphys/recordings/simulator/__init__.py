"""A mechanistic cardio-respiratory simulator: physiology first, sensors after."""
