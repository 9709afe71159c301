"""Names with settings, fields of records, and the bounds of numbers: what every room's specifications are made of."""
