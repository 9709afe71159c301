"""Tables as a data set: CSV and parquet files, DataFrames, data sets of the Hub with named columns."""
