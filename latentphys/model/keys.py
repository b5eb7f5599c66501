"""Modalities as keys of a module: PyTorch allows fewer names than there are sensors."""

from torch import nn

_TAKEN = frozenset(dir(nn.ModuleDict()))


def key_of(modality: str) -> str:
    """The key of a modality's part in an `nn.ModuleDict`, one of its own for every name.

    PyTorch refuses a key that is empty, holds a "." or is a method's name. "%" begins what stands
    for those, and is itself escaped.

    Example:
        >>> key_of("ppg"), key_of("ppg.left"), key_of("type"), key_of("")
        ('ppg', 'ppg%2Eleft', '%type', '%')
    """
    key = modality.replace("%", "%25").replace(".", "%2E")
    return f"%{key}" if key in _TAKEN or not key else key
