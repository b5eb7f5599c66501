"""From a fitted model to labelled results: posterior, imputation, forecasts, embeddings."""
