"""The run directory: what one training leaves behind, and all that the half that shows ever reads. No torch here.

::

    <study>/study.json           config, the cells it asks for, choices made, chosen learning rates, status
    <study>/runs/<id>/           one directory a cell:
        run.json                 identity, config, environment, choices, status, reason, final metrics, digests
        metrics.jsonl            one row an interval
        probes.parquet           one row a layer and moment ("start", "end")
        model.safetensors        weights; the metadata rebuilds the net, its preprocessing and its class names

Everything is written to a side place first and renamed, so a reader never sees half a file and a killed writer leaves
nothing that counts. Several runs that were computed together are committed by one rename (`study.Batch`), so that a
stack of replicas is found whole or not at all.

run.json and study.json hold a digest of their own content; run.json holds those of the files beside it. Whoever reads a
file compares: JSON and whatever is read as a whole with its digest, the others with their size.
"""
