"""The state-space model: distributions, transitions, emissions, guides, the exact Kalman filter."""
