"""What is learnt from labelled rows: classifiers and thresholds of a release, and how good they are."""
