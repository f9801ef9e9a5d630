"""The ledger's rules: how entries are chained, what a signed head covers, how tampering is found. Files are an adapter's."""
