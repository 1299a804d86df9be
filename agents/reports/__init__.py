"""Reports on finished runs: curves, statistics, figures and one page."""
