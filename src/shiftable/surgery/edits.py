"""The noun of surgery: what is to become of one site."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from shiftable.errors import InputError, unknown
from shiftable.layers.low_pass import LowPass

Remedy: TypeAlias = Literal["blur", "dense", "polyphase"]
"""What the stride can't carry is filtered away first; every position is kept; the strongest phase is kept."""


@dataclass(frozen=True)
class Edit:
    """What is to become of a site.

    Args:
        site: Its ``Site.name``.
        remedy: How it is to be carried out.
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``; of ``"blur"`` alone.
        taps: The filter's length at stride 2, see ``LowPass``; for ``"polyphase"`` that of the blur before, none by
            default.
        padding: What the filter sees beyond a map's edge, one of ``low_pass.PADDINGS``; of ``"blur"`` alone.
        match: Whether a gain and a shift for every channel belong to it, which `match_moments` sets. Of ``"blur"``
            alone.

    Raises:
        InputError: For unknown names, no taps, or a match of another remedy.

    Example:
        >>> Edit.from_json(Edit("features.2", taps=5).to_json())
        Edit(site='features.2', remedy='blur', filter='binomial', taps=5, padding='reflect', match=False)
    """

    site: str
    remedy: Remedy = "blur"
    filter: str = "binomial"
    taps: int | None = None
    padding: str = "reflect"
    match: bool = False

    def __post_init__(self) -> None:
        if self.remedy not in get_args(Remedy):
            raise unknown("remedy", self.remedy, get_args(Remedy))
        _ = self.low_pass  # refuses what is no filter
        if self.match and self.remedy != "blur":
            raise InputError(f"{self.remedy} has no moments to match", where=self.site, todo="leave match out")

    @property
    def low_pass(self) -> LowPass:
        """The filter."""
        return LowPass(self.filter, self.taps, self.padding)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: object, where: object = "an edit") -> "Edit":
        """What `to_json` gave; what is left out is as usual.

        Args:
            found: Plain JSON values.
            where: Named in errors.

        Raises:
            InputError: If it is anything else.
        """
        if not isinstance(found, dict) or not isinstance(found.get("site"), str):
            raise InputError("names no site", where=where, todo='give {"site": "features.2", "remedy": "blur"}')
        for name in found:
            if name not in {field.name for field in fields(cls)}:
                raise unknown("field of an edit", str(name), [field.name for field in fields(cls)])
        return cls(**found)
