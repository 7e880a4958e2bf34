"""The memory room: blocks, history, window, compaction, rendering."""
