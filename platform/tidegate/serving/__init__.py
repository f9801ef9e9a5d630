"""What answers predictions, and what reads its inference logs afterwards. `runtime` is kept light; see there."""
