"""Patches that are cut where the picture says, so that they move along with it: polyphase anchoring."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.errors import unknown
from shiftable.layers.blur_conv import ConvPadding
from shiftable.layers.filtering import laid_out_like, with_batch
from shiftable.layers.polyphase import norms, phases, strongest


def anchored(image: Tensor, stride: Sequence[int], phase: Tensor) -> Tensor:
    """Each image rolled back, so that its given phase becomes the first.

    What then divides it into cells of the stride (patches, windows of attention, a strided convolution whose kernel is
    its stride or whose padding is circular) cuts the same cells, however the image was shifted in a circle.

    Args:
        image: (image, channel, y, x).
        stride: (y, x).
        phase: (image), as from `strongest`.
    """
    one = torch.arange(image.shape[0], device=image.device)
    y, x = (
        first[:, None] + torch.arange(size, device=image.device)
        for first, size in zip((phase // stride[1], phase % stride[1]), image.shape[2:], strict=True)
    )
    y, x = (torch.where(each < size, each, each - size) for each, size in zip((y, x), image.shape[2:], strict=True))
    return laid_out_like(image, image[one[:, None, None], :, y[:, :, None], x[:, None, :]].movedim(-1, 1))


class AnchoredConv2d(nn.Conv2d):
    """A patch embedding that cuts its patches where the picture says: shifts by any number of pixels survive.

    The picture is rolled in a circle to its strongest phase, then cut into patches as ever. Same weights, same state
    dict. With the tokens in another order by whole patches only, what follows is consistent if it adds no absolute
    positions. By ``"pixels"`` the phase of the largest pixels is taken, for next to nothing (Ding, Soselia,
    Armstrong, Su & Huang, "Reviving shift equivariance in vision transformers", 2023, polyphase anchoring); by
    ``"tokens"`` the one whose tokens have the most energy, for as many embeddings as a patch has pixels (Rojas-Gomez,
    Lim, Do & Yeh, "Making vision transformers truly shift-equivariant", CVPR 2024, section 4, A-token).

    Args:
        in_channels: As in ``torch.nn.Conv2d``.
        out_channels: Likewise.
        kernel_size: The patch.
        stride: None: the patch. A larger kernel than stride needs ``padding_mode="circular"`` to be consistent.
        padding: As in ``torch.nn.Conv2d``.
        bias: Likewise.
        padding_mode: Likewise.
        device: Likewise.
        dtype: Likewise.
        by: What is compared, ``"pixels"`` or ``"tokens"``.
        norm: By which norm.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``, y and x multiples of the stride.

    Raises:
        InputError: For other sizes, or an unknown ``by``.

    Example:
        >>> embed = AnchoredConv2d(3, 8, 4)
        >>> image = torch.rand(1, 3, 16, 16)
        >>> torch.allclose(embed(image).sum(dim=(2, 3)), embed(image.roll((1, 2), (2, 3))).sum(dim=(2, 3)), atol=1e-5)
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        *,
        bias: bool = True,
        padding_mode: ConvPadding = "zeros",
        device: Any = None,
        dtype: Any = None,
        by: str = "pixels",
        norm: float = 2.0,
    ) -> None:
        if by not in ("pixels", "tokens"):
            raise unknown("measure", by, ["pixels", "tokens"])
        super().__init__(
            in_channels, out_channels, kernel_size, kernel_size if stride is None else stride, padding,
            bias=bias, padding_mode=padding_mode, device=device, dtype=dtype,
        )  # fmt: skip
        self.by, self.norm = by, norm

    def phase(self, image: Tensor) -> Tensor:
        """To which phase the picture is rolled.

        Args:
            image: (image, channel, y, x), or without the first.

        Returns:
            (image).
        """
        image = with_batch(image, 2)[0]
        if self.by == "pixels":
            return strongest(image, self.stride, self.norm)
        phases(image, self.stride)  # refuses what has no equal phases
        sizes = []
        with torch.no_grad():
            for y in range(self.stride[0]):
                for x in range(self.stride[1]):
                    tokens = super().forward(image.roll((-y, -x), (2, 3)))
                    sizes.append(norms(tokens, (1, 1), self.norm))
        return torch.cat(sizes, dim=1).argmax(dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """The tokens of the patches.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image, single = with_batch(image, 2)
        answer = super().forward(anchored(image, self.stride, self.phase(image)))
        return answer[0] if single else answer
