"""Charts: rows become Vega-Lite specifications."""
