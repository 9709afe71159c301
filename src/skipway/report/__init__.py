"""The half that shows: run directories become rows, sentences, charts and one page. Nothing here trains; no torch."""
