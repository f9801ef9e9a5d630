"""For the definition of a dataset, such as `features/online_retail.py`."""

from tidegate.data.dataset import Column, Csv, Dataset, Rule

__all__ = ["Column", "Csv", "Dataset", "Rule"]
