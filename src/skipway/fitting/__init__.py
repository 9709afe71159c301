"""From data and nets to trained nets with their curves and signals: one training, alone or in a study."""
