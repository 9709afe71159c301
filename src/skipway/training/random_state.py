"""The state of all that draws: torch's global generators, from which dropout does, and that of random gate rules."""

from __future__ import annotations

import torch
from torch import Tensor

from skipway.skip.draws import draws_state, set_draws_state


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the CPU's generator, and of the device's and the gate rules' where they have their own."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state(device)
    rules = draws_state()
    return state if rules is None else {**state, "rules": rules}


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `random_state` gave; a device of another kind than the one it was of draws on as it stands."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "device" in state:
        torch.cuda.set_rng_state(state["device"].cpu(), device)
    if "rules" in state:
        set_draws_state(state["rules"].cpu())
