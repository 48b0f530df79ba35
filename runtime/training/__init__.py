"""Finding parameters: rows in batches, their loss, the steps of an optimiser, the record of a run."""
