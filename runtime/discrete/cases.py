"""Drawing the cases of entries from their probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_cases(logits: Tensor, luck: Tensor, otherwise: Tensor) -> Tensor:
    """Cases in proportion to exp(logits [..., K]), by uniform numbers [...]; `otherwise` [...] where every
    case is impossible."""
    top = logits.amax(-1, keepdim=True)
    weights = torch.exp(logits - torch.where(torch.isfinite(top), top, 0.0)).cumsum(-1)
    total = weights[..., -1]
    place = (weights <= (luck.to(weights.dtype) * total)[..., None]).sum(-1)
    # A number next to 1 may round up to the total, past the last case that is possible.
    last = weights.shape[-1] - (weights == total[..., None]).sum(-1)
    return torch.where(total > 0, torch.minimum(place, last), otherwise)
