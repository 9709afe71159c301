"""The equation: gates, shortcuts, their placement, the block, rows of blocks. torch alone.

Whatever of this room is imported, all rules that come with Skipway are registered.
"""

import skipway.skip.gates
import skipway.skip.shortcuts  # noqa: F401
