"""Many runs at a time: sweeps over seeds and variations of scenarios, and swarms of random scenarios.

    from qcore.sim import sweep

    result = sweep("chaos", seeds=range(1, 201), vary={"cluster.nodes": [3, 5]}, jobs=2)
    print(result)
    for failure in result.failures:
        print(failure.cause.key, failure.seeds, failure.artifacts)

The runs happen in worker processes (`executors`), on this computer or on a Dask cluster. A run that ends its process or
does not end is a failure of its seed, and the sweep goes on.

This package is an exception to the ban on clocks and processes in `qcore.sim`: it starts simulations, and no simulated
node runs it.
"""
