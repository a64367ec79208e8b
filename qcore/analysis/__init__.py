"""Traces to tables and pictures. Reads traces only, of simulated and of real nodes alike.

    from qcore.analysis.tables import read_tables
    from qcore.analysis.plots import plot_timeline
    from qcore.analysis.figure import save_run_figure

    table = read_tables("run.jsonl")            # who led when, commits, operations, faults, ...
    ax = plot_timeline(table)                   # every plot takes and returns axes
    save_run_figure("run.jsonl", "run.png")     # one picture of a run

`records.merge` makes one trace of those that several real nodes wrote. matplotlib and networkx are imported
only when something is drawn.
"""
