"""A net that takes batches of certain sizes only, given any number of views."""

import torch
from torch import Tensor, nn

from shiftable.models.torch_model import as_scores


class FixedBatch(nn.Module):
    """Splits what is too many for a net, and fills up what is too few with copies of the first view.

    Args:
        net: Takes ``fewest`` to ``most`` views.
        fewest: Views at once.
        most: Views at once; None for no limit.
    """

    def __init__(self, net: nn.Module, fewest: int, most: int | None) -> None:
        super().__init__()
        self.net = net
        self.fewest = fewest
        self.most = most

    def forward(self, inputs: Tensor) -> Tensor:
        """One row of scores per view."""
        parts = torch.split(inputs, self.most) if self.most else (inputs,)
        answers = [self._padded(part) for part in parts]
        return torch.cat(answers) if len(answers) > 1 else answers[0]

    def _padded(self, part: Tensor) -> Tensor:
        missing = self.fewest - len(part)
        if missing <= 0:
            return as_scores(self.net(part))
        whole = torch.cat([part, part[:1].expand(missing, *part.shape[1:])])
        return as_scores(self.net(whole))[: len(part)]
