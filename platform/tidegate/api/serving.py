"""For a model's `serving/<model>/service.py`: its typed endpoint."""

from tidegate.serving.runtime.endpoint import Call, Endpoint, Message

__all__ = ["Call", "Endpoint", "Message"]
