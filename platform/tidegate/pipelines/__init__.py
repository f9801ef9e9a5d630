"""Training: from ingested data and point-in-time features to an evaluated model, as steps that read and write folders."""
