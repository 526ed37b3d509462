"""What a number is worth: folds, metrics, intervals, tests, calibration."""
