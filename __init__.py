"""mlc: a compression-aware compiler for machine-learning models.

Importing it is light: the rooms are imported when they are used.
"""

__version__ = "0.1.0"
