"""Small Protocols between the use cases and the vendors. Columns travel as polars frames and NumPy arrays."""
