"""What runs inside a serving process. Importing it pulls in no control-plane library (no Feast, MLflow, KFP, pandas)."""
