"""Turns traces into tables and pictures. It needs nothing but the traces, of simulated or of real nodes.

    from qcore.analysis.tables import read_tables
    from qcore.analysis.plots import plot_timeline
    from qcore.analysis.figure import save_run_figure

    table = read_tables("run.jsonl")            # leaders over time, commits, operations, faults, ...
    ax = plot_timeline(table)                   # every plot takes and returns axes
    save_run_figure("run.jsonl", "run.png")     # one picture of a run

`records.merge` merges the traces of several real nodes into one. matplotlib and networkx are imported only when a
plot is drawn.
"""
