"""Seconds until a data set is open: for the first time, with a fresh cache, and again; each in a fresh process.

    python benchmarks/first_load.py [--source cifar10]

What is timed is `load` alone: the interpreter's start and the import of torch are not counted, the imports of whatever
decodes are. The second load reads no image again: it imports no decoder, and the source is moved away while it runs if
it is a folder of parquet files... 
"""
