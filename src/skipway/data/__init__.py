"""The data room: a name or a path becomes splits of uint8 tensors, and splits become batches on the device."""
