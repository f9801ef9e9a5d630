"""What may go from the state folder, by the project's policy, and what never does."""
