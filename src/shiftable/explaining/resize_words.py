"""Layer 0: what a model does to a photograph before its net sees it, in words."""

from shiftable.models.preprocessing import LETTERBOXES, CropSelection, Preprocessing, Size


def resize_words(fields: Preprocessing, view_size: Size) -> str:
    """The resize and the crop, as a step that samples like any other.

    Args:
        fields: The model's preprocessing.
        view_size: (height, width) in px of what the net is shown.

    Example:
        >>> resize_words(Preprocessing(resize_px=256), (224, 224))
        'any photograph to a short side of 256 px, bilinear, antialiased; then a view of 224×224 px is cut out'
    """
    filtered = "antialiased" if fields.antialias else "not antialiased"
    library = "" if fields.library == "pillow" else f", as {fields.library} resizes"
    how = f"{fields.resampler}, {filtered}{library}"
    view = f"{view_size[0]}×{view_size[1]} px"
    if fields.crop in LETTERBOXES:
        return f"any photograph to fit into {view}, {how}; the rest is padded"
    if isinstance(fields.crop, CropSelection):
        what = (
            "all of any photograph, laid onto grey by its content,"
            if fields.crop.letterbox
            else ("the part of any photograph that is chosen by its content")
        )
        return f"{what} to {view}, {how}"
    side = fields.resize_px
    to = f"a short side of {side} px" if isinstance(side, int) else "{}×{} px, whatever its shape".format(*side)
    return f"any photograph to {to}, {how}; then a view of {view} is cut out"
