"""The paper's experiments and open questions, each a function of its rows. The menu is `STUDIES` in ``menu.py``."""

from shiftable.studies.study import Study

__all__ = ["Study"]
