"""Translation: stage-2 tables, the pages they are in, and who walks them beside the PEs."""
