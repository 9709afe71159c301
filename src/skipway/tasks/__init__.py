"""Tasks: from outputs and targets to a loss and a metric of each sample, and the words for them.

Whatever of this room is imported, all tasks that come with Skipway are registered.
"""

import skipway.tasks.classification
import skipway.tasks.next_token
import skipway.tasks.regression  # noqa: F401
