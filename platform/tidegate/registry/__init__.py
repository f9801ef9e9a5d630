"""From a trained model to a release: training outputs, offline gates, promotion by aliases, and the store of releases."""
