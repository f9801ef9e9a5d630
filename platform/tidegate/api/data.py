"""For the definition of a data set, such as `features/online_retail.py`."""

from tidegate.data.ingest import IngestDefinition, Rule
from tidegate.data.source_files import Column

__all__ = ["Column", "IngestDefinition", "Rule"]
