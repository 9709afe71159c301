"""The verdict: rows become claims with an error rate, and claims become sentences."""
