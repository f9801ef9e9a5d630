from tidegate.former_names import find_former_names

__version__ = "0.1.0"

find_former_names()
