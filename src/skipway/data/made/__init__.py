"""Data that are made: tasks of which it is known how deep a net must be.

Whatever of this room is imported, all of them are registered as sources.
"""

import skipway.data.made.ring_transfer  # noqa: F401
