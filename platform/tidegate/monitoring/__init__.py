"""What watches a release: drift thresholds calibrated on its own reference, and the gates of a rollout. No vendor library."""
