"""Text as sequences of tokens: what comes next in a corpus, or of which class a text is."""
