"""Sources of labelled pictures, their preprocessing, and the pipeline to batches."""
