"""Where the runs of a sweep happen: in processes of this computer, or on a Dask cluster."""
