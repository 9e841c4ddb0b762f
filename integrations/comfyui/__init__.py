# Part of Laurel, Apache-2.0.
"""Nodes for ComfyUI that score pictures through a running `laurel serve --score`, rank them, keep the best and filter."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
