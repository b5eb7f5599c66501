"""Whether to believe the model: scores, honest baselines, evaluation, calibration, audits."""
